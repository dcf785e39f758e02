// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/config.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Which layers see a window of keys only.
enum class windows { never, every_layer, by_layer };

// What transformers takes a family for where its config.json says nothing, and what it always is.
struct family {
  family_names names;
  char const* act_key = "hidden_act";
  activation act = activation::silu;
  bool tied = false;
  bool shares_heads = false;      // num_key_value_heads must be given: transformers' own value is not that of the attention heads
  std::int64_t head_dim = 0;      // 0: hidden / heads
  std::int64_t max_positions = 0;
  double eps = 1e-6, theta = 10000;
  windows window = windows::never;
  std::int64_t default_window = 0;   // 0: none
  std::int64_t window_pattern = 0;   // every so-manieth layer sees everything, where layer_types is missing
  bool window_switch = false;        // use_sliding_window has to be true
  bool attention_bias = false, mlp_bias = false;  // the keys are read
  bool qkv_bias = false;             // always there
  bool gemma = false;                // norms stored less 1, embedding scaled by √hidden
  bool soft_caps = false;            // keys and transformers' values of Gemma 2
  bool query_scalar = false, output_norms = false, qk_norms = false, fused = false, local_rope = false, rope_switches = false;
};

constexpr std::array<family, 9> families{{
    {.names = {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification"}, .max_positions = 2048, .attention_bias = true, .mlp_bias = true},
    {.names = {"mistral", "MistralForCausalLM", "MistralForSequenceClassification"}, .shares_heads = true, .max_positions = 131072,
     .window = windows::every_layer, .default_window = 4096},
    {.names = {"smollm3", "SmolLM3ForCausalLM", "SmolLM3ForSequenceClassification"}, .tied = true, .shares_heads = true, .max_positions = 32768,
     .theta = 2e6, .window = windows::by_layer, .window_switch = true, .attention_bias = true, .mlp_bias = true, .rope_switches = true},
    {.names = {"gemma", "GemmaForCausalLM", "GemmaForSequenceClassification"}, .act = activation::gelu_tanh, .tied = true, .shares_heads = true,
     .head_dim = 256, .max_positions = 8192, .attention_bias = true, .gemma = true},
    {.names = {"gemma2", "Gemma2ForCausalLM", "Gemma2ForSequenceClassification"}, .act_key = "hidden_activation", .act = activation::gelu_tanh,
     .tied = true, .shares_heads = true, .head_dim = 256, .max_positions = 8192, .window = windows::by_layer, .default_window = 4096,
     .window_pattern = 2, .attention_bias = true, .gemma = true, .soft_caps = true, .query_scalar = true, .output_norms = true},
    {.names = {"gemma3_text", "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification"}, .act_key = "hidden_activation",
     .act = activation::gelu_tanh, .tied = true, .shares_heads = true, .head_dim = 256, .max_positions = 131072, .theta = 1e6,
     .window = windows::by_layer, .default_window = 4096, .window_pattern = 6, .attention_bias = true, .gemma = true, .query_scalar = true,
     .output_norms = true, .qk_norms = true, .local_rope = true},
    {.names = {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"}, .shares_heads = true, .max_positions = 32768,
     .window = windows::by_layer, .default_window = 4096, .window_switch = true, .qkv_bias = true},
    {.names = {"qwen3", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"}, .shares_heads = true, .head_dim = 128, .max_positions = 32768,
     .window = windows::by_layer, .default_window = 4096, .window_switch = true, .attention_bias = true, .qk_norms = true},
    {.names = {"phi3", "Phi3ForCausalLM", "Phi3ForSequenceClassification"}, .max_positions = 4096, .eps = 1e-5,
     .window = windows::every_layer, .fused = true},
}};

std::string supported(std::string_view family_names::*which) {
  std::string list;
  for (family const& f : families) list += (list.empty() ? "" : ", ") + std::string(f.names.*which);
  return list;
}

class config_reader {
 public:
  config_reader(json const& config, std::string const& where) : config_(config), where_(where), family_(find()) {}

  [[nodiscard]] family_names names() const { return family_.names; }

  [[nodiscard]] transformer_config read() const {
    refuse_what_is_not_supported();
    transformer_config c;
    c.vocabulary = positive("vocab_size");
    c.hidden = positive("hidden_size");
    c.intermediate = positive("intermediate_size");
    c.layers = positive("num_hidden_layers", 10'000);
    c.heads = positive("num_attention_heads");
    if (family_.shares_heads && !config_.contains("num_key_value_heads")) fail("config has no num_key_value_heads");
    c.kv_heads = positive_or("num_key_value_heads", c.heads);
    c.head_dim = positive_or("head_dim", family_.head_dim > 0 ? family_.head_dim : c.hidden / c.heads);
    c.max_positions = positive_or("max_position_embeddings", family_.max_positions);
    c.rms_norm_eps = number_or(config_, "rms_norm_eps", family_.eps);
    c.tied_embeddings = flag_or("tie_word_embeddings", family_.tied);
    c.scalar_head = scores_sequences();
    c.lm_head = !c.scalar_head;
    c.act = act();
    c.norm_offset = family_.gemma ? 1 : 0;
    c.embedding_scale = family_.gemma ? std::sqrt(static_cast<double>(c.hidden)) : 1;
    if (family_.query_scalar) c.query_scalar = positive_number("query_pre_attn_scalar", 256);
    if (family_.soft_caps) c.attention_soft_cap = soft_cap("attn_logit_softcapping", 50);
    if (family_.soft_caps || family_.local_rope) c.logit_soft_cap = soft_cap("final_logit_softcapping", family_.soft_caps ? 30 : 0);
    c.o_bias = family_.attention_bias && flag_or("attention_bias", false);
    c.qkv_bias = c.o_bias || family_.qkv_bias;
    c.mlp_bias = family_.mlp_bias && flag_or("mlp_bias", false);
    c.qk_norms = family_.qk_norms;
    c.output_norms = family_.output_norms;
    c.fused = family_.fused;
    read_layers(c);
    read_ropes(c);
    check(c);
    return c;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const { throw error(where_ + ": " + what); }

  static bool has(json const& object, char const* key) { return object.contains(key) && !object[key].is_null(); }

  [[nodiscard]] family const& find() const {
    if (!config_.is_object()) fail("config.json is not a JSON object");
    bool const named = has(config_, "architectures") && config_["architectures"].is_array() && !config_["architectures"].empty() &&
                       config_["architectures"][0].is_string();
    std::string const name = named ? config_["architectures"][0].get<std::string>() : "";
    std::string const type = config_.value("model_type", "");
    for (family const& f : families)
      if (named ? name == f.names.language_model || name == f.names.classifier : type == f.names.type) return f;
    if (named)
      fail("architecture " + name + " is not supported; supported: " + supported(&family_names::language_model) +
           ", and sequence classification with one label");
    fail("model_type '" + type + "' is not supported; supported: " + supported(&family_names::type));
  }

  // A value of an enumeration, by its name.
  template <named_enum E>
  [[nodiscard]] E known(std::string const& key, json const& name) const {
    auto const text = name.get<std::string>();
    auto const value = from_name<E>(text);
    if (!value) fail("config: " + key + " = " + text + " is not supported; supported: " + all_names<E>());
    return *value;
  }

  [[nodiscard]] std::int64_t positive(char const* key, std::int64_t most = 1'000'000'000) const {
    if (!has(config_, key)) fail(std::string("config has no ") + key + "; is this a model folder?");
    if (!config_[key].is_number_integer()) fail(std::string("config: ") + key + " is not an integer");
    auto const value = config_[key].get<std::int64_t>();
    if (value <= 0 || value > most) fail(std::string("config: ") + key + " = " + std::to_string(value) + " makes no sense");
    return value;
  }
  [[nodiscard]] std::int64_t positive_or(char const* key, std::int64_t fallback) const {
    return has(config_, key) ? positive(key) : fallback;
  }
  [[nodiscard]] double number_or(json const& object, char const* key, double fallback) const {
    if (!has(object, key)) return fallback;
    if (!object[key].is_number()) fail(std::string("config: ") + key + " is not a number");
    return object[key].get<double>();
  }
  [[nodiscard]] double positive_number(char const* key, double fallback) const { return positive_number(config_, key, fallback); }
  [[nodiscard]] double positive_number(json const& object, char const* key, double fallback) const {
    double const value = number_or(object, key, fallback);
    if (!(value > 0) || !std::isfinite(value)) fail(std::string("config: ") + key + " must be positive");
    return value;
  }
  // null turns a cap off; a missing key is the family's value
  [[nodiscard]] double soft_cap(char const* key, double fallback) const {
    if (!config_.contains(key)) return fallback;
    return config_[key].is_null() ? 0 : positive_number(key, 0);
  }
  [[nodiscard]] bool flag_or(char const* key, bool fallback) const {
    if (!has(config_, key)) return fallback;
    if (!config_[key].is_boolean()) fail(std::string("config: ") + key + " is neither true nor false");
    return config_[key].get<bool>();
  }

  void refuse_what_is_not_supported() const {
    if (has(config_, "quantization_config"))
      fail("quantization_config: quantised weights are not supported in a Hugging Face folder; use the unquantised model or a GGUF file");
    if (flag_or("use_bidirectional_attention", false)) fail("use_bidirectional_attention is not supported; only causal attention is");
    if (family_.local_rope && has(config_, "attn_logit_softcapping"))
      fail("attn_logit_softcapping is not supported for " + std::string(family_.names.type) + ", as transformers ignores it there");
    for (auto const& [key, read] : {std::pair{"attention_bias", family_.attention_bias}, std::pair{"mlp_bias", family_.mlp_bias}})
      if (!read && flag_or(key, false)) fail(std::string(key) + " is not supported for " + std::string(family_.names.type));
  }

  // A reward model: transformers counts the labels by their names, two where it says nothing.
  [[nodiscard]] bool scores_sequences() const {
    if (!has(config_, "architectures") || config_["architectures"][0] != family_.names.classifier) return false;
    std::size_t const labels = has(config_, "id2label") ? config_["id2label"].size() : static_cast<std::size_t>(positive_or("num_labels", 2));
    if (labels != 1) fail("a classifier with " + std::to_string(labels) + " labels is no reward model; one label is needed");
    return true;
  }

  [[nodiscard]] activation act() const {
    if (!has(config_, family_.act_key)) return family_.act;
    auto const act = known<activation>(family_.act_key, config_[family_.act_key]);
    // The first Gemma checkpoints say gelu and mean its approximation.
    return act == activation::gelu && family_.gemma && !family_.output_norms ? activation::gelu_tanh : act;
  }

  void read_layers(transformer_config& c) const {
    bool const on = !family_.window_switch || flag_or("use_sliding_window", false);
    bool const off = !on || (config_.contains("sliding_window") && config_["sliding_window"].is_null());
    std::int64_t const window = off ? 0 : positive_or("sliding_window", family_.default_window);
    c.attention.resize(static_cast<std::size_t>(c.layers));
    if (family_.rope_switches) read_rope_switches(c);
    for (std::int64_t i = 0; i < c.layers; ++i) {
      layer_settings& layer = c.attention[static_cast<std::size_t>(i)];
      if (family_.window == windows::never || (family_.window == windows::by_layer && !slides(c, i, window))) continue;
      layer.window = window;
      if (family_.local_rope) layer.rope = rotary::local;
    }
  }

  // Which layers turn: no_rope_layers says 1 for those that do.
  void read_rope_switches(transformer_config& c) const {
    std::int64_t const interval = positive_or("no_rope_layer_interval", 4);
    bool const listed = has(config_, "no_rope_layers");
    if (listed && config_["no_rope_layers"].size() < c.attention.size()) fail("config: no_rope_layers has fewer entries than the model has layers");
    for (std::size_t i = 0; i < c.attention.size(); ++i) {
      bool const turns = listed ? config_["no_rope_layers"][i].get<int>() != 0 : (static_cast<std::int64_t>(i) + 1) % interval != 0;
      c.attention[i].rope = turns ? rotary::global : rotary::none;
    }
  }

  [[nodiscard]] bool slides(transformer_config const& c, std::int64_t i, std::int64_t window) const {
    bool slides = false;
    if (has(config_, "layer_types")) {
      if (config_["layer_types"].size() < c.attention.size()) fail("config: layer_types has fewer entries than the model has layers");
      slides = known<attention_kind>("layer_types", config_["layer_types"][static_cast<std::size_t>(i)]) == attention_kind::sliding;
    } else if (family_.window_pattern > 0) {
      slides = (i + 1) % positive_or("sliding_window_pattern", family_.window_pattern) != 0;
    } else if (window > 0) {
      slides = family_.rope_switches ? c.layer(i).rope == rotary::none : static_cast<double>(i) >= number_or(config_, "max_window_layers", 28);
    }
    if (slides && window == 0) fail("config: layer_types asks for sliding attention, but sliding_window is off");
    return slides;
  }

  void read_ropes(transformer_config& c) const {
    char const* const group = has(config_, "rope_scaling") ? "rope_scaling" : "rope_parameters";
    json const settings = has(config_, group) ? config_[group] : json::object();
    if (!settings.is_object()) fail(std::string("config: ") + group + " is not an object");
    double const theta = number_or(config_, "rope_theta", family_.theta);
    if (!family_.local_rope) {
      if (settings.contains("full_attention")) fail(std::string("config: ") + group + " by layer type is not supported for " + std::string(family_.names.type));
      c.rope = rope(c, settings, group, theta);
      return;
    }
    json const nested = has(config_, "rope_parameters") ? config_["rope_parameters"] : json::object();
    if (!nested.empty() && !nested.contains("full_attention")) fail("config: rope_parameters has no full_attention");
    json global = nested.value("full_attention", json::object());
    if (has(config_, "rope_scaling")) global.update(config_["rope_scaling"]);
    c.rope = rope(c, global, "rope_parameters", theta);
    c.local_rope = rope(c, nested.value("sliding_attention", json::object()), "rope_parameters", number_or(config_, "rope_local_base_freq", 10000));
  }

  [[nodiscard]] rope_type type_of_rope(json const& settings, std::string const& group) const {
    json const given = settings.value("rope_type", settings.value("type", json(name_of(rope_type::plain))));
    // The first Phi-3 checkpoints call it by other names.
    for (char const* const old : {"su", "yarn"})
      if (family_.fused && given == old) return rope_type::longrope;
    return known<rope_type>(group + ": rope_type", given);
  }

  [[nodiscard]] rope_settings rope(transformer_config const& c, json const& settings, std::string const& group, double theta) const {
    rope_settings rope;
    rope.theta = positive_number(settings, "rope_theta", theta);
    rope.type = type_of_rope(settings, group);
    rope.share = number_or(settings, "partial_rotary_factor", number_or(config_, "partial_rotary_factor", 1));
    if (!(rope.share > 0 && rope.share <= 1)) fail("config: partial_rotary_factor makes no sense");
    if (rope.share != 1 && !family_.fused) fail("config: partial_rotary_factor is not supported for " + std::string(family_.names.type));
    if (rope.type == rope_type::plain) return rope;
    auto const length = static_cast<double>(c.max_positions);
    double original = number_or(config_, "original_max_position_embeddings", number_or(settings, "original_max_position_embeddings", length));
    if (family_.fused) original = number_or(config_, "original_max_position_embeddings", static_cast<double>(family_.max_positions));
    if (!(original >= 1 && original <= 1e9)) fail("config: original_max_position_embeddings makes no sense");
    rope.original_length = static_cast<std::int64_t>(rope.type == rope_type::dynamic ? length : original);
    if (!has(settings, "factor") && rope.type != rope_type::longrope && rope.type != rope_type::yarn) fail("config: " + group + " has no factor");
    rope.factor = positive_number(settings, "factor", length / original);
    rope.low_frequency_factor = positive_number(settings, "low_freq_factor", rope.low_frequency_factor);
    rope.high_frequency_factor = positive_number(settings, "high_freq_factor", rope.high_frequency_factor);
    rope.beta_fast = positive_number(settings, "beta_fast", rope.beta_fast);
    rope.beta_slow = positive_number(settings, "beta_slow", rope.beta_slow);
    rope.truncate = settings.value("truncate", true);
    if (rope.type == rope_type::yarn) rope.attention_factor = positive_number(settings, "attention_factor", yarn_attention(settings, rope.factor));
    if (rope.type == rope_type::longrope) {
      double const grown = rope.factor > 1 ? std::sqrt(1 + std::log(rope.factor) / std::log(original)) : 1;
      rope.attention_factor = positive_number(settings, "attention_factor", grown);
      rope.short_factors = factors(c, rope, settings, "short_factor");
      rope.long_factors = factors(c, rope, settings, "long_factor");
    }
    return rope;
  }

  // How much longer contexts sharpen attention: arXiv 2309.00071, equation 22.
  [[nodiscard]] double yarn_attention(json const& settings, double factor) const {
    auto const grown = [&](double m) { return factor > 1 ? 0.1 * m * std::log(factor) + 1 : 1; };
    double const m = number_or(settings, "mscale", 0), all = number_or(settings, "mscale_all_dim", 0);
    return m != 0 && all != 0 ? grown(m) / grown(all) : grown(1);
  }

  [[nodiscard]] std::vector<double> factors(transformer_config const& c, rope_settings const& rope, json const& settings, char const* key) const {
    if (!has(settings, key)) fail(std::string("config: longrope has no ") + key);
    auto all = settings[key].get<std::vector<double>>();
    auto const expected = static_cast<std::size_t>(rope.share * static_cast<double>(c.head_dim)) / 2;
    if (all.size() != expected)
      fail(std::string("config: ") + key + " has " + std::to_string(all.size()) + " numbers, the rotated part of a head needs " + std::to_string(expected));
    for (double const f : all)
      if (!(f > 0)) fail(std::string("config: ") + key + " must be positive");
    return all;
  }

  void check(transformer_config const& c) const {
    // Each number by itself is bounded; so is what they make together, before anything is multiplied in integers.
    double const hidden = static_cast<double>(c.hidden), heads = static_cast<double>(c.heads + c.kv_heads) * static_cast<double>(c.head_dim);
    double const size = 2 * static_cast<double>(c.vocabulary) * hidden +
                        static_cast<double>(c.layers) * hidden * (2 * heads + 3 * static_cast<double>(c.intermediate));
    if (size > 1e15) fail("config: a model of more than 10^15 parameters makes no sense");
    if (c.heads % c.kv_heads != 0)
      fail("config: " + std::to_string(c.heads) + " attention heads can't share " + std::to_string(c.kv_heads) + " key-value heads evenly");
    auto const turning = static_cast<std::int64_t>(c.rope.share * static_cast<double>(c.head_dim));
    if (turning % 2 != 0 || c.head_dim % 2 != 0 || turning < 2 || turning > c.head_dim)
      fail("config: head_dim = " + std::to_string(c.head_dim) + " with " + std::to_string(turning) +
           " rotated coordinates; rotary embedding needs an even number of them");
  }

  json const& config_;
  std::string const& where_;
  family const& family_;
};

template <class Read>
auto reading(json const& config, std::string const& where, Read&& read) {
  try {
    return read(config_reader(config, where));
  } catch (json::exception const& e) {
    throw error(where + ": config has a value of the wrong kind (" + e.what() + ")");
  }
}

}  // namespace

double transformer_config::score_scale() const { return 1 / std::sqrt(query_scalar > 0 ? query_scalar : static_cast<double>(head_dim)); }

std::int64_t transformer_config::generation_positions() const {
  std::int64_t positions = max_positions;
  for (rope_settings const* r : {&rope, &local_rope})
    if (r->type == rope_type::longrope || r->type == rope_type::dynamic) positions = std::min(positions, r->original_length);
  return positions;
}

family_names family_of(json const& config, std::string const& where) {
  return reading(config, where, [](config_reader const& read) { return read.names(); });
}

json reward_config(json config, std::string const& where) {
  family_names const names = family_of(config, where);
  config["architectures"] = {names.classifier};
  config["model_type"] = names.type;
  config["id2label"] = {{"0", "LABEL_0"}};
  config["label2id"] = {{"LABEL_0", 0}};
  config.erase("num_labels");
  return config;
}

transformer_config read_config(json const& config, std::string const& where) {
  return reading(config, where, [](config_reader const& read) { return read.read(); });
}

}  // namespace kedge::llm
