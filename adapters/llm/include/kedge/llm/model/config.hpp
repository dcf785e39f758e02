// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// How a rotary embedding is stretched to longer contexts; names of config.json.
enum class rope_type { plain, linear, dynamic, llama3, yarn, longrope };

constexpr auto names(rope_type) {
  using enum rope_type;
  return std::array<named<rope_type>, 6>{
      {{plain, "default"}, {linear, "linear"}, {dynamic, "dynamic"}, {llama3, "llama3"}, {yarn, "yarn"}, {longrope, "longrope"}}};
}

/// Rotary position embedding: pairs of a head's coordinates turn by position times 1/θ^(2i/d), changed as `type` says.
struct rope_settings {
  double theta = 10000;
  rope_type type = rope_type::plain;
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;  ///< llama3
  std::int64_t original_length = 8192;  ///< positions before the scaling; dynamic and longrope change beyond them, by the sequence's length
  double beta_fast = 32, beta_slow = 1;             ///< yarn: rotations at the ends of the ramp
  bool truncate = true;                             ///< yarn: the ramp's ends are whole numbers
  double attention_factor = 1;                      ///< cosines and sines are multiplied by it (yarn, longrope)
  double share = 1;                                 ///< of a head's coordinates that turn, the first ones
  bool interleaved = false;                         ///< neighbours are a pair, instead of coordinates half of those that turn apart
  double query_growth = 0;                          ///< queries at position p are multiplied by 1 + growth · log(1 + ⌊p / original_length⌋)
  std::vector<double> short_factors, long_factors;  ///< longrope: divisors of the frequencies, [d/2]

  bool operator==(rope_settings const&) const = default;
};

/// Which rotary embedding a layer has.
enum class rotary { none, global, local };

/// What may differ from layer to layer.
struct layer_settings {
  std::int64_t window = 0;  ///< keys that a query sees, its own included; 0: all before it
  rotary rope = rotary::global;
  bool dense = false;  ///< its MLP is one, where other layers have experts

  bool operator==(layer_settings const&) const = default;
};

/// The nonlinearity of the MLP; names of config.json. relu2 is max(0, x)².
enum class activation { silu, gelu, gelu_tanh, relu2 };

constexpr auto names(activation) {
  using enum activation;
  return std::array<named<activation>, 5>{
      {{silu, "silu"}, {gelu, "gelu"}, {gelu_tanh, "gelu_pytorch_tanh"}, {silu, "swish"}, {relu2, "relu2"}}};
}

/// Norms of queries and keys before they turn: none, head by head, or over all heads at once.
enum class query_key_norms { none, by_head, over_heads };

/// What a norm divides by: the root of the mean square, or the standard deviation, after the mean is taken away.
enum class norm_kind { rms, layer };

/// Norms of a layer, by their names in a checkpoint; one without a name isn't there. Those before attention and MLP normalise what
/// these read, those after them what they add to the residual stream.
struct layer_norms {
  std::string_view before_attention = "input_layernorm", after_attention = "";
  std::string_view before_mlp = "post_attention_layernorm", after_mlp = "";

  bool operator==(layer_norms const&) const = default;
};

/// The MLP's maps, by their names in a checkpoint.
struct mlp_names {
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";

  bool operator==(mlp_names const&) const = default;
};

/// Which keys a layer sees, where config.json lists it layer by layer.
enum class attention_kind { full, sliding };

constexpr auto names(attention_kind) {
  return std::array<named<attention_kind>, 2>{{{attention_kind::full, "full_attention"}, {attention_kind::sliding, "sliding_attention"}}};
}

/// How a layer's experts are called in a checkpoint.
enum class expert_names {
  gate_up_down,  ///< mlp.gate, mlp.experts.0.gate_proj, up_proj, down_proj, …
  w1_w3_w2,      ///< block_sparse_moe.gate, block_sparse_moe.experts.0.w1, w3, w2, …
  stacked,       ///< block_sparse_moe.router.layer, input_linear [E, 2 I, H], output_linear [E, H, I]
  transposed,    ///< mlp.router, mlp.experts.gate_up_proj [E, H, 2 I], gate and up by turns, down_proj [E, I, H]
};

/// A mixture of experts in place of the MLP: a token goes to the `chosen` experts whose logits h W_rᵀ are largest, and gets the sum of
/// what they make of it, times their probabilities.
struct expert_settings {
  std::int64_t count = 0;         ///< 0: there are none, and the MLP is one
  std::int64_t chosen = 0;
  std::int64_t intermediate = 0;  ///< numbers within an expert
  bool normalised = true;         ///< the probabilities of those chosen sum to one
  expert_names names = expert_names::gate_up_down;
  bool biases = false;            ///< of the router's map and the experts'
  double limit = 0;               ///< > 0: an expert is down((u + 1) g σ(sharpness g)), g = min(gate x, limit), u = up x within ± limit
  double sharpness = 1;
  double aux_loss = 0;            ///< router_aux_loss_coef: weight of the loss that evens out how often experts are chosen

  bool operator==(expert_settings const&) const = default;
};

/// A decoder-only transformer: the description that drives the one model, whatever its family.
struct transformer_config {
  std::int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t max_positions = 0;
  double rms_norm_eps = 1e-5;
  bool tied_embeddings = false;
  bool lm_head = true;       ///< predicts tokens; tied to the embedding or not
  bool scalar_head = false;  ///< one number a position: a reward, or a value ("score.weight", as sequence classification has it)
  rope_settings rope, local_rope;
  std::vector<layer_settings> attention;  ///< [layers]; empty: all keys and the global embedding everywhere

  activation act = activation::silu;
  double norm_offset = 0;         ///< added to the weights of norms: 1 in Gemma, which stores them so much less
  double embedding_scale = 1;     ///< of the hidden states that enter the first layer
  double residual_scale = 1;      ///< of what attention and MLP add to the residual stream
  double logit_scale = 1;         ///< logits are multiplied by it
  double attention_scale = 0;     ///< of products of queries and keys; 0: as query_scalar says
  double query_scalar = 0;        ///< attention scores are divided by its root; 0: by that of head_dim
  double attention_soft_cap = 0;  ///< scores s become cap · tanh(s / cap); 0: no cap
  double logit_soft_cap = 0;      ///< the same for logits
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  query_key_norms qk_norms = query_key_norms::none;
  layer_norms norms;
  mlp_names mlp;
  norm_kind norm = norm_kind::rms;
  bool norm_bias = false;     ///< added after a norm's weight
  bool sinks = false;         ///< a head's attention may go to nothing: e^sink joins the sum that scores' exponentials are divided by
  bool parallel = false;      ///< attention and MLP read the same, and both are added to it
  bool gated = true;          ///< the MLP is down(act(gate x) ∘ up x), else down(act(up x))
  bool fused_qkv = false, fused_gate_up = false;  ///< stored as qkv_proj, gate_up_proj
  expert_settings experts;

  [[nodiscard]] layer_settings layer(std::int64_t i) const { return attention.empty() ? layer_settings{} : attention[static_cast<std::size_t>(i)]; }
  /// Whether a layer has experts in place of an MLP.
  [[nodiscard]] bool has_experts(std::int64_t i) const { return experts.count > 0 && !layer(i).dense; }
  /// What products of queries and keys are multiplied by.
  [[nodiscard]] double score_scale() const;
  /// Positions within which the angle of a position does not depend on the sequence's length: as far as generation goes.
  [[nodiscard]] std::int64_t generation_positions() const;

  bool operator==(transformer_config const&) const = default;
};

/// Reads config.json of a family that kedge knows (docs/families.md), in old and new spelling (rope_theta + rope_scaling,
/// rope_parameters). What a file leaves out is what transformers takes.
/// throws  error naming `where` and the key, if something is missing, senseless or not supported
[[nodiscard]] transformer_config read_config(nlohmann::ordered_json const& config, std::string const& where);

class checkpoint;

/// The same of a checkpoint, whose tensors may say more: a head of its own beside the flag that ties it to the embedding counts, as in
/// transformers 5.
[[nodiscard]] transformer_config read_config(checkpoint const& source);

/// transformers' name for a family and its classes.
struct family_names {
  std::string_view type, language_model;
  std::string_view classifier{};  ///< empty: transformers has none
  std::string_view model{};       ///< the body alone, where it is not the language model's name with Model for ForCausalLM

  [[nodiscard]] std::string body() const;
};

/// Of the family that a config.json belongs to.
/// throws  error naming `where` if kedge does not know it
[[nodiscard]] family_names family_of(nlohmann::ordered_json const& config, std::string const& where);

/// Whether a config.json is that of a model with more than text, whose text model is what kedge reads and trains: text_config
/// describes it, and its tensors have a prefix.
[[nodiscard]] bool wraps_text_model(nlohmann::ordered_json const& config);

/// config.json of a model as that of a reward model with the same body: sequence classification with one label.
/// throws  error naming `where` if kedge does not know its family, or transformers has no such class for it
[[nodiscard]] nlohmann::ordered_json reward_config(nlohmann::ordered_json config, std::string const& where);

/// A parameter tensor: Hugging Face's name, and its shape.
struct parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  int growing = -1;  ///< the dimension that rounds may make larger: an adapter's rank

  bool operator==(parameter const&) const = default;
};

/// All parameters in the order of a pack: embedding; the layers' tensors, layer by layer; final norm; the LM head, where there is
/// one and it is not tied to the embedding; the scalar head, where there is one.
[[nodiscard]] std::vector<parameter> parameters_of(transformer_config const& config);

/// Number of parameters.
[[nodiscard]] std::int64_t parameter_count(transformer_config const& config);

}  // namespace kedge::llm
