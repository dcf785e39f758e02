// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/model/config.hpp>

#include "config_values.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Models around a text model: kedge trains what is inside.
struct wrapper {
  std::string_view type, architecture;
  std::string_view inner;  // the text model's type where text_config doesn't say
};
constexpr wrapper wrappers[] = {{"gemma3", "Gemma3ForConditionalGeneration", "gemma3_text"},
                                {"mistral3", "Mistral3ForConditionalGeneration", "mistral"}};

wrapper const* wrapper_of(json const& config) {
  if (!config.is_object()) return nullptr;
  json const type = config.value("model_type", json());
  auto const found = std::find_if(std::begin(wrappers), std::end(wrappers), [&](wrapper const& w) { return type == w.type; });
  return found == std::end(wrappers) ? nullptr : found;
}

// The text model's own config.json, as it would stand alone.
json unwrapped(json const& config, std::string const& where) {
  wrapper const* const outer = wrapper_of(config);
  if (outer == nullptr) return config;
  json inner = config.value("text_config", json::object());
  if (!inner.is_object()) throw error(where + ": config: text_config is not an object");
  if (!config_values::has(inner, "model_type")) inner["model_type"] = outer->inner;
  inner.erase("architectures");
  // Whether the head is tied says the model around it, which ties it where nothing is said.
  inner["tie_word_embeddings"] = config_values::has(config, "tie_word_embeddings") ? config["tie_word_embeddings"] : json(true);
  for (char const* key : {"dtype", "torch_dtype", "quantization_config"})
    if (config_values::has(config, key) && !config_values::has(inner, key)) inner[key] = config[key];
  return inner;
}

class config_reader {
 public:
  config_reader(json const& config, std::string const& where) : values_(config, where), family_(find()) {}

  [[nodiscard]] family_names names() const { return family_.names; }

  [[nodiscard]] transformer_config read() const {
    refuse_what_is_not_supported();
    transformer_config c;
    read_sizes(c);
    c.rms_norm_eps = values_.number_or(family_.eps_key, family_.eps);
    c.tied_embeddings = values_.flag_or("tie_word_embeddings", family_.tied);
    c.scalar_head = scores_sequences();
    c.lm_head = !c.scalar_head;
    c.act = act();
    read_scales(c);
    read_experts(c);
    c.o_bias = bias("attention_bias", family_.attention_bias);
    c.qkv_bias = c.o_bias || family_.qkv_bias || (family_.qkv_bias_key != nullptr && values_.flag_or(family_.qkv_bias_key, false));
    if (family_.output_bias != bias_key::as_attention) c.o_bias = bias("attention_out_bias", family_.output_bias);
    c.mlp_bias = bias("mlp_bias", family_.mlp_bias);
    if (family_.bias_everywhere != nullptr && values_.flag_or(family_.bias_everywhere, family_.biased_everywhere)) c.qkv_bias = c.o_bias = c.mlp_bias = true;
    c.qk_norms = family_.qk_norms;
    c.norms = family_.norms;
    c.mlp = family_.mlp;
    c.norm = family_.norm;
    c.norm_bias = family_.norm_bias;
    c.sinks = family_.sinks;
    c.parallel = family_.parallel || (family_.parallel_key != nullptr && values_.flag_or(family_.parallel_key, false));
    if (c.parallel) c.norms.before_mlp = "";
    c.gated = family_.gated;
    c.fused_qkv = family_.fused_qkv;
    c.fused_gate_up = family_.fused_gate_up;
    read_layers(c);
    read_ropes(values_, family_, c);
    check(c);
    return c;
  }

 private:
  // The class that wrote the folder; "" where config.json doesn't say.
  [[nodiscard]] std::string architecture() const {
    if (!values_.has("architectures")) return {};
    json const& named = values_["architectures"];
    if (named.is_string()) return named.get<std::string>();
    return named.is_array() && !named.empty() ? named[0].get<std::string>() : std::string();
  }

  // transformers goes by model_type. A class of another family beside it is a contradiction that nobody can resolve.
  [[nodiscard]] family const& find() const {
    if (!values_.all().is_object()) values_.fail("config.json is not a JSON object");
    std::string const type = values_.has("model_type") ? values_["model_type"].get<std::string>() : "", name = architecture();
    for (family const* const f : families()) {
      bool const wrote =
          !name.empty() && (name == f->names.language_model || name == f->names.classifier || name == f->names.body());
      if (type == f->names.type) {
        if (wrote || name.empty()) return *f;
        values_.fail("config: model_type is " + type + ", but the architecture " + name + " is not that of such a model");
      }
      if (type.empty() && wrote) return *f;
    }
    if (type.empty() && name.empty()) values_.fail("config has no model_type; is this a model folder?");
    std::string const given =
        type.empty() ? "architecture " + name : "model_type " + type + (name.empty() ? "" : " (" + name + ")");
    values_.fail(given + " is not supported; supported: " + family_list(&family_names::type) +
                 ", and the text models of Gemma3ForConditionalGeneration and Mistral3ForConditionalGeneration");
  }

  void read_sizes(transformer_config& c) const {
    family_sizes const& usual = family_.sizes;
    c.vocabulary = values_.positive_or("vocab_size", usual.vocabulary);
    c.hidden = values_.positive_or("hidden_size", usual.hidden);
    c.intermediate = values_.positive_or("intermediate_size", usual.intermediate);
    c.layers = values_.positive_or("num_hidden_layers", usual.layers, 10'000);
    c.heads = values_.positive_or("num_attention_heads", usual.heads);
    std::int64_t const shared = usual.kv_heads > 0 && !values_.says_null("num_key_value_heads") ? usual.kv_heads : c.heads;
    c.kv_heads = values_.positive_or("num_key_value_heads", shared);
    c.head_dim = values_.positive_or("head_dim", usual.head_dim > 0 ? usual.head_dim : c.hidden / c.heads);
    c.max_positions = values_.positive_or("max_position_embeddings", usual.positions);
  }

  void read_experts(transformer_config& c) const {
    family_experts const& usual = family_.experts;
    if (usual.count == 0) return;
    // transformers takes either name, and writes the second since release 5.
    c.experts.count = values_.positive_or("num_experts", values_.positive_or("num_local_experts", usual.count, 100'000), 100'000);
    c.experts.chosen = values_.positive_or("num_experts_per_tok", usual.chosen);
    c.experts.intermediate = values_.positive_or(usual.size_key, usual.intermediate > 0 ? usual.intermediate : c.intermediate);
    c.experts.normalised = usual.normalises_by_key ? values_.flag_or("norm_topk_prob", usual.normalised) : usual.normalised;
    c.experts.names = usual.names;
    c.experts.biases = usual.biases;
    if (usual.clamped) {
      c.experts.limit = values_.positive_number("swiglu_limit", 7);
      c.experts.sharpness = values_.positive_number("swiglu_alpha", 1.702);
    }
    c.experts.aux_loss = values_.number_or("router_aux_loss_coef", usual.aux_loss);
    if (!std::isfinite(c.experts.aux_loss) || c.experts.aux_loss < 0) values_.fail("config: router_aux_loss_coef makes no sense");
    if (c.experts.chosen > c.experts.count)
      values_.fail("config: num_experts_per_tok = " + std::to_string(c.experts.chosen) + ", but there are " + std::to_string(c.experts.count) + " experts");
    // Numbers cut off, and noise in the router, would be computed otherwise.
    if (values_.has("clip_qkv")) values_.fail("clip_qkv is not supported");
    if (values_.number_or("router_jitter_noise", 0) != 0) values_.fail("router_jitter_noise is not supported; set it to 0");
  }

  // Layers between those with experts that have an MLP: those listed, and all but every so-manieth.
  [[nodiscard]] bool dense(std::int64_t i) const {
    if (!family_.experts.dense_layers) return false;
    if (values_.has("mlp_only_layers"))
      for (json const& layer : values_["mlp_only_layers"])
        if (layer.get<std::int64_t>() == i) return true;
    return (i + 1) % values_.positive_or("decoder_sparse_step", 1) != 0;
  }

  void read_scales(transformer_config& c) const {
    c.norm_offset = family_.gemma || family_.norms_less_one ? 1 : 0;
    c.embedding_scale = family_.gemma ? std::sqrt(static_cast<double>(c.hidden)) : 1;
    if (family_.query_scalar) c.query_scalar = values_.positive_number("query_pre_attn_scalar", 256);
    if (family_.attention_caps) c.attention_soft_cap = soft_cap("attn_logit_softcapping", family_.attention_cap);
    if (family_.logit_caps) c.logit_soft_cap = soft_cap("final_logit_softcapping", family_.logit_cap);
    if (family_.logit_scale > 0) c.logit_scale = values_.positive_number("logit_scale", family_.logit_scale);
    if (!family_.multipliers) return;
    c.embedding_scale = values_.positive_number("embedding_multiplier", 1);
    c.residual_scale = values_.positive_number("residual_multiplier", 1);
    c.attention_scale = values_.positive_number("attention_multiplier", 1);
    c.logit_scale = 1 / values_.positive_number("logits_scaling", 1);
  }

  [[nodiscard]] bool bias(char const* key, bias_key how) const {
    bool const there = values_.flag_or(key, how == bias_key::on);
    if (there && how == bias_key::never)
      values_.fail(std::string(key) + " is not supported for " + std::string(family_.names.type));
    return there;
  }

  // null turns a cap off; a missing key is the family's value
  [[nodiscard]] double soft_cap(char const* key, double fallback) const {
    if (values_.says_null(key)) return 0;
    return values_.has(key) ? values_.positive_number(key, fallback) : fallback;
  }

  void refuse_what_is_not_supported() const {
    for (char const* const key : {"use_qk_norm", "qk_layernorm"})
      if (values_.flag_or(key, false)) values_.fail(std::string(key) + " is not supported");
    if (values_.has("quantization_config") && !(family_.experts.names == expert_names::transposed && values_["quantization_config"].value("quant_method", "") == "mxfp4"))
      values_.fail(
          "quantization_config: quantised weights are not supported in a Hugging Face folder; use the unquantised model or a "
          "GGUF file");
    if (values_.flag_or("use_bidirectional_attention", false))
      values_.fail("use_bidirectional_attention is not supported; only causal attention is");
    if (family_.logit_caps && !family_.attention_caps && values_.has("attn_logit_softcapping"))
      values_.fail("attn_logit_softcapping is not supported for " + std::string(family_.names.type) +
                   ", as transformers ignores it there");
  }

  // A reward model: transformers counts the labels by their names, two where it says nothing.
  [[nodiscard]] bool scores_sequences() const {
    if (family_.names.classifier.empty() || architecture() != family_.names.classifier) return false;
    std::size_t const labels =
        values_.has("id2label") ? values_["id2label"].size() : static_cast<std::size_t>(values_.positive_or("num_labels", 2));
    if (labels != 1)
      values_.fail("a classifier with " + std::to_string(labels) + " labels is no reward model; one label is needed");
    return true;
  }

  [[nodiscard]] activation act() const {
    if (!values_.has(family_.act_key)) return family_.act;
    auto const act = values_.known<activation>(family_.act_key, values_[family_.act_key]);
    // The first Gemma checkpoints say gelu and mean its approximation.
    return act == activation::gelu && family_.old_gelu ? activation::gelu_tanh : act;
  }

  void read_layers(transformer_config& c) const {
    bool const on = !family_.window_switch || values_.flag_or("use_sliding_window", false);
    bool const off = !on || values_.says_null("sliding_window");
    std::int64_t const window = off ? 0 : values_.positive_or("sliding_window", family_.default_window);
    c.attention.resize(static_cast<std::size_t>(c.layers));
    if (family_.rope_switches) read_rope_switches(c);
    for (std::int64_t i = 0; i < c.layers; ++i) {
      layer_settings& layer = c.attention[static_cast<std::size_t>(i)];
      layer.dense = dense(i);
      if (family_.window == windows::never) continue;
      if (slides(c, i, window)) {
        layer.window = window;
        if (family_.local_rope) layer.rope = rotary::local;
      } else if (family_.still_globally && window > 0) {
        layer.rope = rotary::none;
      }
    }
  }

  // Which layers turn: no_rope_layers says 1 for those that do.
  void read_rope_switches(transformer_config& c) const {
    std::int64_t const interval = values_.positive_or("no_rope_layer_interval", 4);
    bool const listed = values_.has("no_rope_layers");
    if (listed && values_["no_rope_layers"].size() < c.attention.size())
      values_.fail("config: no_rope_layers has fewer entries than the model has layers");
    for (std::size_t i = 0; i < c.attention.size(); ++i) {
      bool const turns =
          listed ? values_["no_rope_layers"][i].get<int>() != 0 : (static_cast<std::int64_t>(i) + 1) % interval != 0;
      c.attention[i].rope = turns ? rotary::global : rotary::none;
    }
  }

  [[nodiscard]] bool slides(transformer_config const& c, std::int64_t i, std::int64_t window) const {
    bool const slides = slides_where_it_could(c, i, window > 0);
    if (slides && window == 0 && family_.window != windows::every_layer)
      values_.fail("config: layer_types asks for sliding attention, but sliding_window is off");
    return slides;
  }

  [[nodiscard]] bool slides_where_it_could(transformer_config const& c, std::int64_t i, bool there_is_a_window) const {
    if (family_.lists_layers && values_.has("layer_types")) {
      if (values_["layer_types"].size() < c.attention.size())
        values_.fail("config: layer_types has fewer entries than the model has layers");
      return values_.known<attention_kind>("layer_types", values_["layer_types"][static_cast<std::size_t>(i)]) ==
             attention_kind::sliding;
    }
    switch (family_.window) {
      case windows::never:
        return false;
      case windows::every_layer:
        return true;
      case windows::all_but_every:
        return (i + 1) % values_.positive_or("sliding_window_pattern", family_.window_period) != 0;
      case windows::all_but_first_of_every:
        return i % values_.positive_or("sliding_window_pattern", family_.window_period) != 0;
      case windows::from_layer:
        return there_is_a_window && static_cast<double>(i) >= values_.number_or("max_window_layers", 28);
      case windows::where_still:
        return there_is_a_window && c.layer(i).rope == rotary::none;
    }
    return false;
  }

  void check(transformer_config const& c) const {
    // Each number by itself is bounded; so is what they make together, before anything is multiplied in integers.
    double const hidden = static_cast<double>(c.hidden),
                 heads = static_cast<double>(c.heads + c.kv_heads) * static_cast<double>(c.head_dim);
    double const size = 2 * static_cast<double>(c.vocabulary) * hidden +
                        static_cast<double>(c.layers) * hidden *
                            (2 * heads + 3 * std::max(static_cast<double>(c.intermediate), static_cast<double>(c.experts.count) * static_cast<double>(c.experts.intermediate)));
    if (size > 1e15) values_.fail("config: a model of more than 10^15 parameters makes no sense");
    if (c.heads % c.kv_heads != 0)
      values_.fail("config: " + std::to_string(c.heads) + " attention heads can't share " + std::to_string(c.kv_heads) +
                   " key-value heads evenly");
    auto const turning = static_cast<std::int64_t>(c.rope.share * static_cast<double>(c.head_dim));
    if (turning % 2 != 0 || c.head_dim % 2 != 0 || turning < 2 || turning > c.head_dim)
      values_.fail("config: head_dim = " + std::to_string(c.head_dim) + " with " + std::to_string(turning) +
                   " rotated coordinates; rotary embedding needs an even number of them");
  }

  config_values values_;
  family const& family_;
};

template <class Read>
auto reading(json const& config, std::string const& where, Read&& read) {
  try {
    json const inner = unwrapped(config, where);
    return read(config_reader(inner, where));
  } catch (json::exception const& e) {
    throw error(where + ": config has a value of the wrong kind (" + reason_of(e) + ")");
  }
}

}  // namespace

double transformer_config::score_scale() const {
  if (attention_scale > 0) return attention_scale;
  return 1 / std::sqrt(query_scalar > 0 ? query_scalar : static_cast<double>(head_dim));
}

std::int64_t transformer_config::generation_positions() const {
  std::int64_t positions = max_positions;
  for (rope_settings const* r : {&rope, &local_rope})
    if (r->type == rope_type::longrope || r->type == rope_type::dynamic) positions = std::min(positions, r->original_length);
  return positions;
}

std::string family_names::body() const {
  if (!model.empty()) return std::string(model);
  return std::string(language_model.substr(0, language_model.size() - std::string_view("ForCausalLM").size())) + "Model";
}

family_names family_of(json const& config, std::string const& where) {
  return reading(config, where, [](config_reader const& read) { return read.names(); });
}

bool wraps_text_model(json const& config) { return wrapper_of(config) != nullptr; }

json reward_config(json config, std::string const& where) {
  family_names const names = family_of(config, where);
  if (names.classifier.empty())
    throw error(where + ": transformers has no sequence classification for " + std::string(names.type) +
                ", so that it could not open a reward model of it");
  config = unwrapped(config, where);
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
