// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/config.hpp>

// A family of models is one file of this folder, and one line of all.cpp: what
// transformers takes where its config.json says nothing, what its layers always
// are, and what GGUF calls all that. Of the rooms, families stand beside base:
// formats read them, and so does the model.

namespace kedge::llm {

/// Which layers see a window of keys only, where config.json doesn't list them.
enum class windows {
  never,  ///< the family has none
  every_layer,
  all_but_every,  ///< every so-manieth layer sees everything (window_period)
  all_but_first_of_every,  ///< the first of so many
  from_layer,     ///< those from max_window_layers on
  where_still,    ///< those whose queries and keys don't turn
};

/// Metadata of a GGUF file; keys without the architecture's name in front.
class gguf_keys {
 public:
  virtual ~gguf_keys() = default;
  [[nodiscard]] virtual std::optional<std::int64_t> integer(std::string_view key) const = 0;
  [[nodiscard]] virtual std::optional<double> real(std::string_view key) const = 0;
  [[nodiscard]] virtual bool has_tensor(std::string_view name) const = 0;
};

/// A part of a layer, or of the model: its name in GGUF ("attn_q"), and in Hugging Face ("self_attn.q_proj").
using gguf_part = std::pair<std::string_view, std::string_view>;

/// How a GGUF file states a model of the family.
struct gguf_facts {
  std::string_view architecture{};     ///< general.architecture; empty: such files are another family's
  bool paired_rows = false;            ///< query and key rows are stored in rotary pairs
  bool norms_plus_one = false;         ///< weights of norms are stored with 1 added
  bool two_ropes = false;              ///< layers with a window turn by rope.freq_base_swa
  bool long_factors = false;           ///< divisors of short and of long sequences are tensors
  bool states_windows = false;         ///< of keys, which llama.cpp honours
  bool written = false;                ///< kedge export writes such files too
  std::span<gguf_part const> parts{};  ///< where they differ from the usual ones
  /// Adds what only this family's config.json has, or takes away what it hasn't.
  void (*complete)(gguf_keys const& file, nlohmann::ordered_json& config) = nullptr;
};

/// Sizes that config.json may leave out.
struct family_sizes {
  std::int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0;
  std::int64_t kv_heads = 0;  ///< 0: as many as heads
  std::int64_t head_dim = 0;  ///< 0: hidden / heads
  std::int64_t positions = 0;
};

/// What a family makes of a key that turns biases on: attention_bias, attention_out_bias, mlp_bias.
enum class bias_key {
  never,         ///< it must not be true
  off,           ///< none where the key is missing
  on,            ///< there where the key is missing
  as_attention,  ///< of attention's output: as attention_bias
};

/// Experts in place of the MLP.
struct family_experts {
  std::int64_t count = 0, chosen = 0;  ///< where the keys are missing; a count of 0: the family has none
  char const* size_key = "intermediate_size";
  std::int64_t intermediate = 0;   ///< where size_key is missing; 0: the family's usual intermediate size
  bool normalised = true;          ///< norm_topk_prob, where it is missing; or always
  bool normalises_by_key = false;  ///< norm_topk_prob is read
  bool dense_layers = false;       ///< mlp_only_layers and decoder_sparse_step are read
  bool biases = false;
  bool clamped = false;            ///< swiglu_limit and swiglu_alpha are read
  double aux_loss = 0.001;         ///< router_aux_loss_coef, where it is missing
  expert_names names = expert_names::gate_up_down;
};

/// What transformers takes a family for where its config.json says nothing, and what it always is.
struct family {
  family_names names;
  gguf_facts gguf{};

  // Values of keys that config.json leaves out.
  family_sizes sizes;
  char const* act_key = "hidden_act";
  activation act = activation::silu;
  bool tied = false;
  double eps = 1e-6, theta = 10000;

  // Windows.
  windows window = windows::never;
  bool lists_layers = false;        ///< layer_types is read
  std::int64_t default_window = 0;  ///< 0: none
  std::int64_t window_period = 0;   ///< sliding_window_pattern, where it is missing
  bool window_switch = false;       ///< use_sliding_window has to be true

  // Rotation.
  bool local_rope = false;  ///< layers with a window turn by an angle of their own
  double local_theta = 10000;
  bool rope_switches = false;   ///< no_rope_layers says which layers turn
  bool still_globally = false;  ///< with a window in some layers, those without don't turn
  bool interleaved_rope = false;
  double rotary_share = 0;  ///< partial_rotary_factor, where it is missing; 0: the key isn't read
  /// The first checkpoints call longrope su or yarn; the length it was trained for stands outside rope_parameters.
  bool own_longrope = false;
  bool query_growth = false;            ///< rope_parameters' llama_4_scaling_beta is read
  char const* rope_defaults = nullptr;  ///< rope_parameters where there are none, JSON

  // What the layers are.
  bias_key attention_bias = bias_key::never, mlp_bias = bias_key::never;
  bias_key output_bias = bias_key::never;   ///< of attention's output
  bool qkv_bias = false;                    ///< always there
  char const* bias_everywhere = nullptr;    ///< the key that turns all biases on, of attention and MLP
  bool biased_everywhere = false;           ///< its value, where it is missing
  char const* qkv_bias_key = nullptr;       ///< the key that turns those of queries, keys and values alone on
  bool norms_less_one = false;              ///< norms are stored less 1
  bool gemma = false;                       ///< norms stored less 1, embedding scaled by √hidden
  bool old_gelu = false;                    ///< the first checkpoints say gelu and mean its approximation
  bool multipliers = false;                 ///< embedding_multiplier, residual_multiplier, attention_multiplier, logits_scaling
  double attention_cap = 0, logit_cap = 0;  ///< values of attn_logit_softcapping and final_logit_softcapping
  bool attention_caps = false, logit_caps = false;  ///< the keys are read
  bool query_scalar = false;
  query_key_norms qk_norms = query_key_norms::none;
  layer_norms norms{};
  mlp_names mlp{};
  norm_kind norm = norm_kind::rms;
  char const* eps_key = "rms_norm_eps";
  bool norm_bias = false, sinks = false;
  bool parallel = false;
  char const* parallel_key = nullptr;  ///< the key that makes attention and MLP parallel, and leaves out the MLP's norm
  double logit_scale = 0;  ///< of logits, by the key logit_scale; 0: the key isn't read
  bool gated = true, fused_qkv = false, fused_gate_up = false;
  family_experts experts{};
};

/// All families.
[[nodiscard]] std::span<family const* const> families();

/// "LlamaForCausalLM, MistralForCausalLM, …": one of the names of all.
[[nodiscard]] std::string family_list(std::string_view family_names::* which);

}  // namespace kedge::llm
