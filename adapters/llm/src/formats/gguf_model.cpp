// SPDX-License-Identifier: Apache-2.0
#include <algorithm>    // all_of, any_of, max_element, min
#include <array>        // array
#include <cmath>        // abs, isfinite, log, pow, sqrt
#include <map>          // map
#include <numbers>      // pi
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/base/error.hpp>

#include "../model/families/family.hpp"
#include "gguf_to_hf.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

[[noreturn]] void fail(gguf_file const& file, std::string const& why) {
  throw error(in_quotes(file.path().string()) + ": " + why);
}

family const& family_of(gguf_file const& file) {
  auto const architecture = file.string("general.architecture");
  if (!architecture) fail(file, "the GGUF metadata name no architecture (general.architecture); fetch another file");
  // Mixtral's files are those of Llama, with experts.
  bool const experts = file.integer(std::string{*architecture} + ".expert_count").value_or(0) > 0;
  std::string known;
  family const* without = nullptr;
  for (family const* const f : families()) {
    if (f->gguf.architecture.empty()) continue;
    if (f->gguf.architecture == *architecture && (f->experts.count > 0) == experts) return *f;
    if (f->gguf.architecture == *architecture) without = f;
    if (known.find(f->gguf.architecture) == std::string::npos) known += (known.empty() ? "" : ", ") + std::string(f->gguf.architecture);
  }
  if (without != nullptr)
    fail(file, "the architecture " + in_quotes(*architecture) + (experts ? " has no experts in kedge, but the metadata key " : " needs experts, but the metadata key ") +
                   in_quotes(std::string{*architecture} + ".expert_count") + (experts ? " says that there are some" : " says of none") + "; use another model");
  fail(file, "the architecture " + in_quotes(*architecture) + " is not supported; kedge reads GGUF files of the architectures " + known);
}

std::string key_of(gguf_file const& file, std::string_view key) {
  return std::string{*file.string("general.architecture")} + "." + std::string{key};
}

/// An integer, or one for every layer, if they are the same.
std::optional<std::int64_t> one_integer(gguf_file const& file, std::string const& key) {
  auto const* const value = file.find(key);
  if (value == nullptr || !std::holds_alternative<gguf_array>(*value)) return file.integer(key);
  auto const each = std::get<gguf_array>(*value).integers();
  if (each.empty() || !std::all_of(each.begin(), each.end(), [&](std::int64_t n) { return n == each.front(); }))
    fail(file, "the GGUF metadata key " + in_quotes(key) + " differs from layer to layer, which is not supported");
  return each.front();
}

std::int64_t required(gguf_file const& file, std::string_view key) {
  auto const value = one_integer(file, key_of(file, key));
  if (!value) fail(file, "the GGUF metadata lack " + in_quotes(key_of(file, key)) + "; fetch another file");
  if (*value <= 0 || *value > (std::int64_t{1} << 40U))
    fail(file, "the GGUF metadata key " + in_quotes(key_of(file, key)) + " is " + std::to_string(*value));
  return *value;
}

std::int64_t or_else(gguf_file const& file, std::string_view key, std::int64_t fallback) {
  return file.find(key_of(file, key)) == nullptr ? fallback : required(file, key);
}

std::int64_t query_heads(gguf_file const& file) { return required(file, "attention.head_count"); }
std::int64_t key_heads(gguf_file const& file) { return or_else(file, "attention.head_count_kv", query_heads(file)); }

bool there_is(gguf_file const& file, std::string_view name) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [&](auto const& t) { return t.name == name; });
}

constexpr std::array<gguf_part, 17> usual_parts{{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};

/// The part's name in Hugging Face, "" if unknown.
std::string_view part_name(family const& model, std::string_view part) {
  for (auto const names : {model.gguf.parts, std::span<gguf_part const>(usual_parts)})
    for (auto const& [theirs, ours] : names)
      if (theirs == part) return ours;
  return {};
}

struct gguf_name {
  std::string layer;        // "12", "" outside the layers
  std::string_view part;    // "attn_q"
  std::string_view suffix;  // ".weight"
};

std::optional<gguf_name> split_name(std::string_view name) {
  gguf_name out;
  if (name.starts_with("blk.")) {
    name.remove_prefix(4);
    auto const dot = name.find('.');
    if (dot == 0 || dot == std::string_view::npos) return std::nullopt;
    out.layer = std::string{name.substr(0, dot)};
    if (!std::all_of(out.layer.begin(), out.layer.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
    name.remove_prefix(dot + 1);
  }
  auto const dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  out.part = name.substr(0, dot);
  out.suffix = name.substr(dot);
  if (out.suffix != ".weight" && out.suffix != ".bias") return std::nullopt;
  return out;
}

/// Llama 3's frequency scaling as config.json states it; the three constants are the same in every model that uses it.
struct llama3_scaling {
  double factor = 1;
  static constexpr double low = 1, high = 4, original = 8192;

  /// What a frequency is divided by: 1 for short waves, `factor` for long ones, a blend between them.
  double operator()(double frequency) const {
    double const wave = 2 * std::numbers::pi / frequency;
    if (wave < original / high) return 1;
    if (wave > original / low) return factor;
    double const smooth = (original / wave - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  }
};

/// The numbers of a tensor that divide the rotary frequencies; none where the file has no such tensor.
std::vector<float> frequency_divisors(gguf_file const& file, std::string_view name) {
  auto const found = std::find_if(file.tensors().begin(), file.tensors().end(), [&](auto const& t) { return t.name == name; });
  if (found == file.tensors().end()) return {};
  if (found->bytes.empty())
    fail(file, "the rotary frequencies are stored as " + gguf_type_name(found->type) + ", which is not supported");
  std::vector<float> stored(found->elements());
  dequantise(found->type, found->bytes, stored);
  if (!std::all_of(stored.begin(), stored.end(), [](float d) { return d > 0 && std::isfinite(d); }))
    fail(file, "a number that divides the rotary frequencies (tensor " + in_quotes(name) + ") is not positive; the file is damaged");
  return stored;
}

/// Divisors as `longrope` states them: those of short sequences, and those of sequences longer than `original`.
void put_long_rope(std::vector<float> const& shorter, std::vector<float> const& longer, std::int64_t original, json& rope) {
  rope["rope_type"] = "longrope";
  rope["short_factor"] = std::vector<double>(shorter.begin(), shorter.end());
  rope["long_factor"] = std::vector<double>(longer.begin(), longer.end());
  rope["original_max_position_embeddings"] = original;
}

/// Adds the scaling that a GGUF file of a Llama states as a divisor for each rotary frequency: Llama 3's by its name, any other one
/// by its divisors.
void put_frequency_scaling(gguf_file const& file, std::vector<float> const& divisors, double theta, json& rope) {
  llama3_scaling const scaling{static_cast<double>(*std::max_element(divisors.begin(), divisors.end()))};
  bool known = true;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    double const expected = scaling(std::pow(theta, -static_cast<double>(i) / static_cast<double>(divisors.size())));
    known = known && std::abs(divisors[i] - expected) <= 1e-3 * expected;
  }
  if (!known) {
    put_long_rope(divisors, divisors, required(file, "context_length"), rope);
    rope["factor"] = 1.0;
    rope["attention_factor"] = 1.0;
  } else if (scaling.factor != 1) {
    rope["rope_type"] = "llama3";
    rope["factor"] = scaling.factor;
    rope["high_freq_factor"] = llama3_scaling::high;
    rope["low_freq_factor"] = llama3_scaling::low;
    rope["original_max_position_embeddings"] = static_cast<std::int64_t>(llama3_scaling::original);
  }
}

/// Phi-3's divisors for short and long sequences. How much attention is sharpened follows from the lengths, as in transformers.
void put_phi_scaling(gguf_file const& file, json& rope) {
  std::int64_t const head = required(file, "embedding_length") / query_heads(file);
  if (head < 1) fail(file, "the model has more attention heads than hidden numbers; the file is damaged");
  rope["partial_rotary_factor"] = static_cast<double>(or_else(file, "rope.dimension_count", head)) / static_cast<double>(head);
  auto const shorter = frequency_divisors(file, "rope_factors_short.weight"), longer = frequency_divisors(file, "rope_factors_long.weight");
  if (shorter.size() != longer.size()) fail(file, "the rotary frequencies of short and of long sequences differ in number; the file is damaged");
  if (longer.empty()) return;
  std::int64_t const original = required(file, "rope.scaling.original_context_length");
  put_long_rope(shorter, longer, original, rope);
  double const longest = static_cast<double>(required(file, "context_length")) / static_cast<double>(original);
  double const usual = longest > 1 ? std::sqrt(1 + std::log(longest) / std::log(static_cast<double>(original))) : 1;
  auto const stated = file.real(key_of(file, "rope.scaling.attn_factor"));
  if (stated && std::abs(*stated - usual) > 1e-4 * usual) rope["attention_factor"] = *stated;
}

/// rope_parameters, with the scalings that GGUF can state.
json rope_of(gguf_file const& file, gguf_facts const& facts) {
  double const theta = file.real(key_of(file, "rope.freq_base")).value_or(10000.0);
  json rope = {{"rope_theta", theta}, {"rope_type", "default"}};
  // As llama.cpp: a factor without a type is linear scaling, an old key counts where the new one is missing, and 0 is none.
  auto const type = file.string(key_of(file, "rope.scaling.type")).value_or("linear");
  auto factor = file.real(key_of(file, "rope.scaling.factor"));
  if (!factor) factor = file.real(key_of(file, "rope.scale_linear"));
  if (type != "none" && factor && *factor != 1.0 && *factor != 0.0) {
    if (!(*factor > 0) || !std::isfinite(*factor)) fail(file, "its rotary scaling has a factor that is not positive");
    if (type != "linear" && type != "yarn") fail(file, "rotary scaling of type " + in_quotes(type) + " is not supported");
    rope["rope_type"] = std::string{type};
    rope["factor"] = *factor;
    if (auto const original = file.integer(key_of(file, "rope.scaling.original_context_length")))
      rope["original_max_position_embeddings"] = *original;
    for (auto const& [name, key] : {gguf_part{"beta_fast", "rope.scaling.yarn_beta_fast"}, gguf_part{"beta_slow", "rope.scaling.yarn_beta_slow"},
                                    gguf_part{"attention_factor", "rope.scaling.yarn_attn_factor"}})
      if (auto const value = file.real(key_of(file, key)); value && type == "yarn") rope[std::string{name}] = *value;
  }
  if (facts.long_factors) put_phi_scaling(file, rope);
  if (auto const divisors = frequency_divisors(file, "rope_freqs.weight"); !divisors.empty()) put_frequency_scaling(file, divisors, theta, rope);
  if (!facts.two_ropes) return rope;
  double const local = file.real(key_of(file, "rope.freq_base_swa")).value_or(10000.0);
  return {{"full_attention", rope}, {"sliding_attention", {{"rope_theta", local}, {"rope_type", "default"}}}};
}

void put_token_ids(gguf_file const& file, json& config) {
  static constexpr std::array<gguf_part, 4> ids{{{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                                 {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                                 {"pad_token_id", "tokenizer.ggml.padding_token_id"},
                                                 {"unk_token_id", "tokenizer.ggml.unknown_token_id"}}};
  for (auto const& [name, key] : ids)
    if (auto const id = file.integer(key)) config[std::string{name}] = *id;
}

std::int64_t vocabulary_size(gguf_file const& file) {
  if (auto const size = file.integer(key_of(file, "vocab_size"))) return *size;
  if (auto const* tokens = file.array("tokenizer.ggml.tokens")) return static_cast<std::int64_t>(tokens->size);
  fail(file, "the GGUF metadata state no vocabulary size; fetch another file");
}

void put_experts(gguf_file const& file, family_experts const& experts, json& config) {
  config["num_local_experts"] = required(file, "expert_count");
  config["num_experts_per_tok"] = required(file, "expert_used_count");
  if (std::string_view{experts.size_key} != "intermediate_size") config[experts.size_key] = required(file, "expert_feed_forward_length");
}

/// The metadata as a family reads them.
class keys_of_family final : public gguf_keys {
 public:
  explicit keys_of_family(gguf_file const& file) : file_(file) {}
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const override { return file_.integer(key_of(file_, key)); }
  [[nodiscard]] std::optional<double> real(std::string_view key) const override { return file_.real(key_of(file_, key)); }
  [[nodiscard]] bool has_tensor(std::string_view name) const override { return there_is(file_, name); }

 private:
  gguf_file const& file_;
};

}  // namespace

std::optional<gguf_spelling> spell(gguf_file const& file, gguf_tensor const& tensor) {
  family const& model = family_of(file);
  auto const name = split_name(tensor.name);
  // Stated in config.json.
  if (name && (name->part == "rope_freqs" || (model.gguf.long_factors && name->part.starts_with("rope_factors_")))) return std::nullopt;
  auto const part = name ? part_name(model, name->part) : std::string_view{};
  bool const outer = part.starts_with("model.") || part == "lm_head";
  if (part.empty() || outer != name->layer.empty())
    fail(file, "tensor " + in_quotes(tensor.name) + " is not known for the architecture " + std::string{model.gguf.architecture} +
                   "; kedge cannot tell what it is for");

  gguf_spelling out;
  out.experts = name->part.ends_with("_exps");
  out.turned = out.experts && model.experts.names == expert_names::transposed;
  std::string_view suffix = name->suffix;
  if (part == "self_attn.sinks" || (out.turned && suffix == ".weight")) suffix = {};
  if (out.turned && suffix == ".bias") suffix = "_bias";
  out.name = (outer ? std::string{} : "model.layers." + name->layer + ".") + std::string{part} + std::string{suffix};
  if (model.gguf.paired_rows && name->part == "attn_q") out.paired_heads = query_heads(file);
  if (model.gguf.paired_rows && name->part == "attn_k") out.paired_heads = key_heads(file);
  if (out.paired_heads > 0 && (tensor.shape.empty() || tensor.shape.front() % (2 * out.paired_heads) != 0))
    fail(file, "tensor " + in_quotes(tensor.name) + " does not divide into " + std::to_string(out.paired_heads) + " heads");
  if (model.gguf.norms_plus_one && tensor.name.ends_with("norm.weight")) out.shift = -1.0F;
  return out;
}

namespace {

family const& family_of_type(std::string_view model_type) {
  std::string known;
  for (family const* const f : families()) {
    if (!f->gguf.written) continue;
    if (f->names.type == (model_type == "mistral" ? "llama" : model_type)) return *f;
    known += (known.empty() ? "" : ", ") + std::string{f->names.type};
  }
  throw error("GGUF files of the family " + in_quotes(model_type) + " can't be written; kedge writes those of mistral, " + known);
}

}  // namespace

gguf_architecture architecture_of(std::string_view model_type) {
  family const& model = family_of_type(model_type);
  return {model.gguf.architecture, model.gguf.states_windows, model.multipliers};
}

gguf_place place_of(std::string_view model_type, std::string_view tensor) {
  family const& model = family_of_type(model_type);
  std::string_view rest = tensor;
  std::string layer;
  if (rest.starts_with("model.layers.")) {
    rest.remove_prefix(std::string_view{"model.layers."}.size());
    layer = "blk." + std::string{rest.substr(0, rest.find('.'))} + ".";
    rest.remove_prefix(std::min(rest.size(), rest.find('.') + 1));
  }
  std::size_t const dot = std::min(rest.rfind('.'), rest.size());
  for (auto const& [theirs, ours] : usual_parts) {
    bool const outer = ours.starts_with("model.") || ours == "lm_head";
    if (part_name(model, theirs) != rest.substr(0, dot) || outer != layer.empty()) continue;
    if (model.norms.after_attention.empty() && theirs == "post_attention_norm") continue;
    gguf_place out{layer + std::string{theirs} + std::string{rest.substr(dot)}};
    out.query = model.gguf.paired_rows && theirs == "attn_q";
    out.key = model.gguf.paired_rows && theirs == "attn_k";
    if (model.gguf.norms_plus_one && out.name.ends_with("norm.weight")) out.shift = 1.0F;
    return out;
  }
  throw error("tensor " + in_quotes(tensor) + " has no name in GGUF files of the family " + std::string{model_type});
}

json config_from(gguf_file const& file) {
  family const& model = family_of(file);
  json config = json::object();
  config["architectures"] = {std::string{model.names.language_model}};
  config["attention_dropout"] = 0.0;
  config["dtype"] = "float32";
  std::int64_t const hidden = required(file, "embedding_length");
  std::int64_t const heads = query_heads(file);
  std::int64_t const head =
      or_else(file, "attention.key_length",
              model.gguf.paired_rows ? or_else(file, "rope.dimension_count", hidden / heads) : hidden / heads);
  config["head_dim"] = head;
  config["hidden_act"] = "silu";
  config["hidden_size"] = hidden;
  config["initializer_range"] = 0.02;
  config["intermediate_size"] = required(file, "feed_forward_length");
  config["max_position_embeddings"] = required(file, "context_length");
  config["model_type"] = std::string{model.names.type};
  config["num_attention_heads"] = heads;
  config["num_hidden_layers"] = required(file, "block_count");
  config["num_key_value_heads"] = key_heads(file);
  auto const epsilon = file.real(key_of(file, "attention.layer_norm_rms_epsilon"));
  if (!epsilon) fail(file, "the GGUF metadata lack " + in_quotes(key_of(file, "attention.layer_norm_rms_epsilon")));
  config["rms_norm_eps"] = *epsilon;
  config["rope_parameters"] = rope_of(file, model.gguf);
  config["tie_word_embeddings"] = !there_is(file, "output.weight");
  config["use_cache"] = true;
  config["vocab_size"] = vocabulary_size(file);
  if (model.experts.count > 0) put_experts(file, model.experts, config);
  put_token_ids(file, config);
  if (model.gguf.complete != nullptr) model.gguf.complete(keys_of_family(file), config);
  json sorted = json::object();  // transformers writes the keys in this order
  std::map<std::string, json> keys;
  for (auto const& [key, value] : config.items()) keys.emplace(key, value);
  for (auto const& [key, value] : keys) sorted[key] = value;
  return sorted;
}

}  // namespace kedge::llm
