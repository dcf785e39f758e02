// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <kedge/llm/model/config.hpp>

#include "config_values.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

class config_reader {
 public:
  config_reader(json const& config, std::string const& where) : values_(config, where), family_(find()) {}

  [[nodiscard]] family_names names() const { return family_.names; }

  [[nodiscard]] transformer_config read() const {
    refuse_what_is_not_supported();
    transformer_config c;
    c.vocabulary = values_.positive("vocab_size");
    c.hidden = values_.positive("hidden_size");
    c.intermediate = values_.positive("intermediate_size");
    c.layers = values_.positive("num_hidden_layers", 10'000);
    c.heads = values_.positive("num_attention_heads");
    if (family_.shares_heads && !values_.all().contains("num_key_value_heads"))
      values_.fail("config has no num_key_value_heads");
    c.kv_heads = values_.positive_or("num_key_value_heads", c.heads);
    c.head_dim = values_.positive_or("head_dim", family_.head_dim > 0 ? family_.head_dim : c.hidden / c.heads);
    c.max_positions = values_.positive_or("max_position_embeddings", family_.max_positions);
    c.rms_norm_eps = values_.number_or("rms_norm_eps", family_.eps);
    c.tied_embeddings = values_.flag_or("tie_word_embeddings", family_.tied);
    c.scalar_head = scores_sequences();
    c.lm_head = !c.scalar_head;
    c.act = act();
    c.norm_offset = family_.gemma ? 1 : 0;
    c.embedding_scale = family_.gemma ? std::sqrt(static_cast<double>(c.hidden)) : 1;
    if (family_.query_scalar) c.query_scalar = values_.positive_number("query_pre_attn_scalar", 256);
    if (family_.attention_caps) c.attention_soft_cap = soft_cap("attn_logit_softcapping", family_.attention_cap);
    if (family_.logit_caps) c.logit_soft_cap = soft_cap("final_logit_softcapping", family_.logit_cap);
    c.o_bias = family_.attention_bias && values_.flag_or("attention_bias", false);
    c.qkv_bias = c.o_bias || family_.qkv_bias;
    c.mlp_bias = family_.mlp_bias && values_.flag_or("mlp_bias", false);
    c.qk_norms = family_.qk_norms;
    c.output_norms = family_.output_norms;
    c.fused = family_.fused;
    read_layers(c);
    read_ropes(values_, family_, c);
    check(c);
    return c;
  }

 private:
  [[nodiscard]] family const& find() const {
    if (!values_.all().is_object()) values_.fail("config.json is not a JSON object");
    bool const named = values_.has("architectures") && values_["architectures"].is_array() &&
                       !values_["architectures"].empty() && values_["architectures"][0].is_string();
    std::string const name = named ? values_["architectures"][0].get<std::string>() : "";
    std::string const type = values_.all().value("model_type", "");
    for (family const* const f : families())
      if (named ? name == f->names.language_model || name == f->names.classifier : type == f->names.type) return *f;
    if (named)
      values_.fail("architecture " + name + " is not supported; supported: " + family_list(&family_names::language_model) +
                   ", and sequence classification with one label");
    values_.fail("model_type '" + type + "' is not supported; supported: " + family_list(&family_names::type));
  }

  // null turns a cap off; a missing key is the family's value
  [[nodiscard]] double soft_cap(char const* key, double fallback) const {
    if (values_.says_null(key)) return 0;
    return values_.has(key) ? values_.positive_number(key, fallback) : fallback;
  }

  void refuse_what_is_not_supported() const {
    if (values_.has("quantization_config"))
      values_.fail(
          "quantization_config: quantised weights are not supported in a Hugging Face folder; use the unquantised model or a "
          "GGUF file");
    if (values_.flag_or("use_bidirectional_attention", false))
      values_.fail("use_bidirectional_attention is not supported; only causal attention is");
    if (family_.logit_caps && !family_.attention_caps && values_.has("attn_logit_softcapping"))
      values_.fail("attn_logit_softcapping is not supported for " + std::string(family_.names.type) +
                   ", as transformers ignores it there");
    for (auto const& [key, read] :
         {std::pair{"attention_bias", family_.attention_bias}, std::pair{"mlp_bias", family_.mlp_bias}})
      if (!read && values_.flag_or(key, false))
        values_.fail(std::string(key) + " is not supported for " + std::string(family_.names.type));
  }

  // A reward model: transformers counts the labels by their names, two where it says nothing.
  [[nodiscard]] bool scores_sequences() const {
    if (!values_.has("architectures") || values_["architectures"][0] != family_.names.classifier) return false;
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
      if (family_.window == windows::never || !slides(c, i, window)) continue;
      layer.window = window;
      if (family_.local_rope) layer.rope = rotary::local;
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
                        static_cast<double>(c.layers) * hidden * (2 * heads + 3 * static_cast<double>(c.intermediate));
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
    return read(config_reader(config, where));
  } catch (json::exception const& e) {
    throw error(where + ": config has a value of the wrong kind (" + e.what() + ")");
  }
}

}  // namespace

double transformer_config::score_scale() const {
  return 1 / std::sqrt(query_scalar > 0 ? query_scalar : static_cast<double>(head_dim));
}

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
