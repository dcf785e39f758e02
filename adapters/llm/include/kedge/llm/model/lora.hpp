// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// A fresh adapter as PEFT draws it: A uniform within ±1/√in, B zero, so that the model starts as its base. A seed fixes it.
/// returns  tensors in the order of causal_lm::parameters, fp32 on the host, but for a scalar head, which would be the last
[[nodiscard]] pack initial_adapter(causal_lm const& model, std::uint64_t seed);

/// W ← W + scale · B A for every map that the adapter changes, in place.
/// theta: all parameters, in the order of parameters_of; adapter: in the order of causal_lm::parameters
void merge_adapter(causal_lm const& model, pack& theta, pack const& adapter);

/// The adapter whose product is (1+α) B A − α B′A′, written over (A′, B′): extrapolation of what the adapter adds to the weights,
/// which is not that of A and B apart: ((1+α) B − α B′)((1+α) A − α A′) has cross terms that no model ever had, and depends on how a
/// product is split into its factors, of which there are infinitely many. The exact result has up to the sum of both ranks.
/// With α = 0 it is (A, B) bit for bit; a product of zeros adds no rank.
void extrapolate_product(pack const& now, double alpha, pack& before);

/// Factors of a rank above that of any product of their shapes become the product itself and a unit matrix: the same adapter up to
/// rounding, in no more memory than the map and that matrix.
void bound_rank(pack& adapter);

/// True where the folder holds an adapter (adapter_config.json), alone or beside a model, which then is its base, as in transformers.
[[nodiscard]] bool is_adapter(std::filesystem::path const& folder);

/// An adapter as PEFT writes it.
struct adapter_files {
  std::filesystem::path base;  ///< base_model_name_or_path
  lora_settings settings;
  std::filesystem::path folder;
  bool reward = false;  ///< of a reward model, whose score it holds as well (task_type SEQ_CLS)
};

/// Reads adapter_config.json.
/// throws  error naming the folder and the key of what is missing or not supported (DoRA, biases, patterns, other modules to save)
[[nodiscard]] adapter_files read_adapter_config(std::filesystem::path const& folder);

/// Reads adapter_model.safetensors for a model with the adapter's settings.
/// throws  error naming a tensor that is missing, of another shape or unknown
[[nodiscard]] pack read_adapter(adapter_files const& files, causal_lm const& model);

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them, and tokenizer and template of `source`.
void write_adapter(std::filesystem::path const& folder, checkpoint const& source, causal_lm const& model, pack const& adapter, dtype type);

/// Opens an adapter's base: `base`, or what the adapter names, from here or from the adapter's folder. That of a reward model's adapter
/// is described as a reward model, whatever it is itself.
/// throws  error naming the adapter and the base if there is no such model
[[nodiscard]] checkpoint open_base(adapter_files const& files, std::filesystem::path const& base = {});

/// All parameters of an adapter's base with the adapter merged into them.
/// source: the base, opened
[[nodiscard]] pack load_merged(checkpoint const& source, transformer_config const& config, adapter_files const& files);

}  // namespace kedge::llm
