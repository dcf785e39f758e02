// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// Rotary position embedding: inverse frequencies 1/θ^(2i/d), changed as `type` says.
struct rope_settings {
  double theta = 10000;
  std::string type = "default";  ///< default | linear | llama3
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;  ///< llama3
  std::int64_t original_length = 8192;                         ///< llama3
};

/// A decoder-only transformer: the description that drives the one model.
struct transformer_config {
  std::int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t max_positions = 0;
  double rms_norm_eps = 1e-5;
  bool tied_embeddings = false;
  bool lm_head = true;       ///< predicts tokens; tied to the embedding or not
  bool scalar_head = false;  ///< one number a position: a reward, or a value ("score.weight", as sequence classification has it)
  rope_settings rope;
};

/// Reads config.json in old and new spelling (rope_theta + rope_scaling, rope_parameters).
/// throws  error naming `where` and the key, if something is missing, senseless or not supported
[[nodiscard]] transformer_config read_config(nlohmann::ordered_json const& config, std::string const& where);

/// A parameter tensor: Hugging Face's name, and its shape.
struct parameter {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// All parameters in the order of a pack: embedding; per layer input norm, q, k, v, o, post-attention norm, gate, up, down;
/// final norm; the LM head, where there is one and it is not tied to the embedding; the scalar head, where there is one.
[[nodiscard]] std::vector<parameter> parameters_of(transformer_config const& config);

/// Number of parameters.
[[nodiscard]] std::int64_t parameter_count(transformer_config const& config);

}  // namespace kedge::llm
