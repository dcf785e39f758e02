// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/inspect.hpp>

#include <algorithm>
#include <fstream>
#include <map>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/device_plan.hpp>
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "base_plan.hpp"
#include "stored_tensors.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Adds what `look` throws to the problems.
template <class Look>
void probe(json& problems, Look&& look) {
  try {
    look();
  } catch (std::exception const& e) {
    problems.push_back(e.what());
  }
}

// Tensors outside the layers, and those of the first layer, and of the first with experts where others have none: all are like these.
json shapes_of(transformer_config const& c) {
  std::int64_t other = 0;
  while (other < c.layers && c.has_experts(other) == c.has_experts(0)) ++other;
  std::string const first = "model.layers.0.", unlike = "model.layers." + std::to_string(other) + ".";
  json shapes = json::object();
  for (parameter const& p : parameters_of(c))
    if (!p.name.starts_with("model.layers.") || p.name.starts_with(first) || p.name.starts_with(unlike)) shapes[p.name] = p.shape;
  return shapes;
}

void describe_model(json const& config, transformer_config const& c, std::string const& where, described_run const& run, std::vector<double> const& gpus,
                    json& about) {
  about["family"] = family_of(config, where).type;
  about["parameters"] = parameter_count(c);
  about["layers"] = c.layers;
  about["hidden_size"] = c.hidden;
  about["intermediate_size"] = c.intermediate;
  if (c.experts.count > 0)
    about["experts"] = {{"count", c.experts.count}, {"for_each_token", c.experts.chosen}, {"intermediate_size", c.experts.intermediate}};
  about["attention_heads"] = c.heads;
  about["key_value_heads"] = c.kv_heads;
  about["head_dim"] = c.head_dim;
  about["vocab_size"] = c.vocabulary;
  about["max_position_embeddings"] = c.max_positions;
  about["rope"] = {{"type", name_of(c.rope.type)}, {"theta", c.rope.theta}};
  auto const slides = [](layer_settings const& layer) { return layer.window > 0; };
  if (auto const n = std::count_if(c.attention.begin(), c.attention.end(), slides); n > 0)
    about["sliding_window"] = {{"tokens", std::find_if(c.attention.begin(), c.attention.end(), slides)->window}, {"layers", n}};
  about["activation"] = name_of(c.act);
  about["tied_embeddings"] = c.tied_embeddings;
  about["shapes"] = shapes_of(c);
  about["memory"] = describe_memory(c, run);
  about["memory"].update(describe_gpus(c, run, gpus));
}

void compare_tensors(checkpoint const& source, transformer_config const& c, json& problems) {
  if (source.tensors().empty()) {
    problems.push_back("there are no weights");
    return;
  }
  for (parameter const& p : parameters_of(c)) {
    std::string const name = stored_name(source, p.name);
    if (!source.contains(name))
      problems.push_back("tensor " + p.name + " is missing");
    else if (source.entry(name).shape != p.shape)
      problems.push_back("tensor " + name + " has another shape than the config says");
  }
}

void describe_tokenizer(checkpoint const& source, json& about, json& problems) {
  if (source.tokenizer.is_null()) {
    about["tokenizer"] = nullptr;
    problems.push_back(source.tokenizer_problem);
    return;
  }
  tokenizer const words = open_tokenizer(source);
  about["tokenizer"] = {{"type", source.tokenizer.value("/model/type"_json_pointer, std::string())}, {"tokens", words.size()}};
  for (char const* name : {"bos_token", "eos_token", "pad_token"})
    if (source.tokenizer_config.contains(name)) about["tokenizer"][name] = source.tokenizer_config[name];
  auto const rows = about.find("vocab_size");
  if (rows == about.end()) return;
  if (auto const id = words.first_beyond(rows->get<std::int64_t>()); id)
    problems.push_back("token " + std::to_string(*id) + ", " + in_quotes(words.token_of(*id)) + ", has no row in the embedding, which has " + rows->dump() +
                       "; a text that needs it is refused");
}

// The default template's presence, and the names of all where there are more.
json describe_templates(template_sources const& templates) {
  if (templates.size() == 1 && templates.front().first == "default") return true;
  if (templates.empty()) return false;
  json names = json::array();
  for (auto const& [name, source] : templates) names.push_back(name);
  return names;
}

}  // namespace

json describe_config(std::filesystem::path const& file, described_run const& run, std::vector<double> const& gpus) {
  json about{{"path", file.string()}}, problems = json::array();
  std::ifstream in(file);
  json const config = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded()) throw error(file.string() + " is no JSON; pass a config.json, a Hugging Face folder or a .gguf file");
  probe(problems, [&] { describe_model(config, read_config(config, file.string()), file.string(), run, gpus, about); });
  about["problems"] = problems;
  return about;
}

json describe(checkpoint const& source, described_run const& run, std::vector<double> const& gpus) {
  json problems = json::array();
  json about{{"path", source.path().string()},
             {"architecture", source.config.value("/architectures/0"_json_pointer, source.config.value("model_type", std::string("unknown")))}};
  probe(problems, [&] {
    transformer_config const c = read_config(source);
    describe_model(source.config, c, source.path().string(), run, gpus, about);
    compare_tensors(source, c, problems);
    if (auto const unread = unread_tensors(source, c); !unread.empty()) about["unread_tensors"] = tell_unread(unread);
    about["memory"].update(describe_bases(source, c));
  });
  std::map<std::string, std::size_t> types;
  for (tensor_entry const& entry : source.tensors()) ++types[entry.stored_type];
  about["tensors"] = source.tensors().size();
  about["stored_types"] = types;
  probe(problems, [&] { describe_tokenizer(source, about, problems); });
  about["chat_template"] = describe_templates(source.chat_templates);
  for (auto const& [name, text] : source.chat_templates)
    probe(problems, [&, &text = text] { static_cast<void>(chat_template(text)); });
  if (!source.notes.empty()) about["notes"] = source.notes;
  about["problems"] = problems;
  return about;
}

}  // namespace kedge::llm
