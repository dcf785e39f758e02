// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/config.hpp>

#include <kedge/llm/files/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

struct config_reader {
  json const& config;
  std::string const& where;

  [[noreturn]] void fail(std::string const& what) const { throw error(where + ": " + what); }

  [[nodiscard]] bool has(json const& object, char const* key) const { return object.contains(key) && !object[key].is_null(); }

  [[nodiscard]] std::int64_t positive(char const* key) const {
    if (!has(config, key)) fail(std::string("config has no ") + key + "; is this a model folder?");
    if (!config[key].is_number_integer()) fail(std::string("config: ") + key + " is not an integer");
    auto const value = config[key].get<std::int64_t>();
    if (value <= 0 || value > 1'000'000'000) fail(std::string("config: ") + key + " = " + std::to_string(value) + " makes no sense");
    return value;
  }
  [[nodiscard]] std::int64_t positive_or(char const* key, std::int64_t fallback) const {
    return has(config, key) ? positive(key) : fallback;
  }
  [[nodiscard]] double number_or(json const& object, char const* key, double fallback) const {
    if (!has(object, key)) return fallback;
    if (!object[key].is_number()) fail(std::string("config: ") + key + " is not a number");
    return object[key].get<double>();
  }
  [[nodiscard]] bool flag(char const* key) const { return has(config, key) && config[key].is_boolean() && config[key].get<bool>(); }

  void refuse_what_is_not_supported() const {
    if (has(config, "architectures")) {
      std::string const name = config["architectures"].empty() ? "" : config["architectures"][0].get<std::string>();
      if (name != "LlamaForCausalLM" && name != "LlamaForSequenceClassification")
        fail("architecture " + name + " is not supported; supported: LlamaForCausalLM, LlamaForSequenceClassification with one label");
    } else if (config.value("model_type", "") != "llama") {
      fail("model type '" + config.value("model_type", "") + "' is not supported; supported: llama");
    }
    if (std::string const act = config.value("hidden_act", "silu"); act != "silu")
      fail("activation " + act + " is not supported; supported: silu");
    for (char const* key : {"attention_bias", "mlp_bias"})
      if (flag(key)) fail(std::string(key) + " is not supported");
    if (has(config, "quantization_config"))
      fail("quantised weights are not supported in a Hugging Face folder; use the unquantised model or a GGUF file");
  }

  // A reward model: transformers counts the labels by their names, two where it says nothing.
  [[nodiscard]] bool scores_sequences() const {
    if (!has(config, "architectures") || config["architectures"][0] != "LlamaForSequenceClassification") return false;
    std::size_t const labels = has(config, "id2label") ? config["id2label"].size() : static_cast<std::size_t>(positive_or("num_labels", 2));
    if (labels != 1) fail("a classifier with " + std::to_string(labels) + " labels is no reward model; one label is needed");
    return true;
  }

  [[nodiscard]] rope_settings rope() const {
    rope_settings rope;
    rope.theta = number_or(config, "rope_theta", rope.theta);
    char const* const group = has(config, "rope_parameters") ? "rope_parameters" : has(config, "rope_scaling") ? "rope_scaling" : nullptr;
    if (!group) return rope;
    json const& settings = config[group];
    if (!settings.is_object()) fail(std::string("config: ") + group + " is not an object");
    rope.theta = number_or(settings, "rope_theta", rope.theta);
    rope.type = settings.value("rope_type", settings.value("type", "default"));
    if (rope.type != "default" && rope.type != "linear" && rope.type != "llama3")
      fail("rope type " + rope.type + " is not supported; supported: default, linear, llama3");
    rope.factor = number_or(settings, "factor", rope.factor);
    rope.low_frequency_factor = number_or(settings, "low_freq_factor", rope.low_frequency_factor);
    rope.high_frequency_factor = number_or(settings, "high_freq_factor", rope.high_frequency_factor);
    rope.original_length = static_cast<std::int64_t>(number_or(settings, "original_max_position_embeddings", 8192));
    return rope;
  }
};

}  // namespace

transformer_config read_config(json const& config, std::string const& where) {
  config_reader const read{config, where};
  if (!config.is_object()) read.fail("config.json is not a JSON object");
  try {
    read.refuse_what_is_not_supported();
    transformer_config c;
    c.vocabulary = read.positive("vocab_size");
    c.hidden = read.positive("hidden_size");
    c.intermediate = read.positive("intermediate_size");
    c.layers = read.positive("num_hidden_layers");
    c.heads = read.positive("num_attention_heads");
    c.kv_heads = read.positive_or("num_key_value_heads", c.heads);
    c.head_dim = read.positive_or("head_dim", c.hidden / c.heads);
    c.max_positions = read.positive_or("max_position_embeddings", 2048);
    c.rms_norm_eps = read.number_or(config, "rms_norm_eps", 1e-6);
    c.tied_embeddings = read.flag("tie_word_embeddings");
    c.scalar_head = read.scores_sequences();
    c.lm_head = !c.scalar_head;
    c.rope = read.rope();
    if (c.heads % c.kv_heads != 0)
      read.fail("config: " + std::to_string(c.heads) + " attention heads can't share " + std::to_string(c.kv_heads) + " key-value heads evenly");
    if (c.head_dim % 2 != 0) read.fail("config: head_dim = " + std::to_string(c.head_dim) + " is odd; rotary embedding needs an even one");
    return c;
  } catch (json::exception const& e) {
    read.fail(std::string("config has a value of the wrong kind (") + e.what() + ")");
  }
}

std::vector<parameter> parameters_of(transformer_config const& c) {
  std::vector<parameter> all;
  all.push_back({"model.embed_tokens.weight", {c.vocabulary, c.hidden}});
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    std::string const layer = "model.layers." + std::to_string(i) + ".";
    all.push_back({layer + "input_layernorm.weight", {c.hidden}});
    all.push_back({layer + "self_attn.q_proj.weight", {q, c.hidden}});
    all.push_back({layer + "self_attn.k_proj.weight", {kv, c.hidden}});
    all.push_back({layer + "self_attn.v_proj.weight", {kv, c.hidden}});
    all.push_back({layer + "self_attn.o_proj.weight", {c.hidden, q}});
    all.push_back({layer + "post_attention_layernorm.weight", {c.hidden}});
    all.push_back({layer + "mlp.gate_proj.weight", {c.intermediate, c.hidden}});
    all.push_back({layer + "mlp.up_proj.weight", {c.intermediate, c.hidden}});
    all.push_back({layer + "mlp.down_proj.weight", {c.hidden, c.intermediate}});
  }
  all.push_back({"model.norm.weight", {c.hidden}});
  if (c.lm_head && !c.tied_embeddings) all.push_back({"lm_head.weight", {c.vocabulary, c.hidden}});
  if (c.scalar_head) all.push_back({"score.weight", {1, c.hidden}});
  return all;
}

std::int64_t parameter_count(transformer_config const& config) {
  std::int64_t count = 0;
  for (parameter const& p : parameters_of(config)) {
    std::int64_t size = 1;
    for (std::int64_t const d : p.shape) size *= d;
    count += size;
  }
  return count;
}

}  // namespace kedge::llm
