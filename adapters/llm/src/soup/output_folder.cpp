// SPDX-License-Identifier: Apache-2.0
#include "output_folder.hpp"

#include <array>    // array
#include <fstream>  // ofstream

#include <kedge/llm/base/error.hpp>
#include <kedge/version.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;

/// A file of a folder that is flushed as a whole before it gets its name.
void write(path const& file, std::string const& content) {
  std::ofstream out(file, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) throw error("cannot write " + in_quotes(file.string()) + "; is the disk full?");
}

void write(path const& file, json const& content) { write(file, content.dump(2) + "\n"); }

/// Copies the files of these names that are there.
template <std::size_t n>
void copy(path const& from, path const& to, std::array<char const*, n> const& names) {
  for (char const* const name : names) {
    std::error_code problem;
    if (!std::filesystem::is_regular_file(from / name, problem)) continue;
    std::filesystem::copy_file(from / name, to / name, problem);
    if (problem) throw error("cannot copy " + in_quotes((from / name).string()) + ": " + problem.message());
    std::filesystem::permissions(to / name, std::filesystem::perms::owner_write, std::filesystem::perm_options::add, problem);
  }
}

/// The format of most numbers of the result.
dtype main_format(soup_plan const& plan) {
  std::map<dtype, std::size_t> bytes;
  dtype out = dtype::f32;
  for (auto const& tensor : plan.tensors)
    if (!tensor.copied && (bytes[tensor.output.type] += tensor.output.bytes()) >= bytes[out]) out = tensor.output.type;
  return out;
}

json config_of(soup_recipe const& recipe, soup_models const& models, soup_plan const& plan) {
  json out = models.donor().config;
  out[out.contains("torch_dtype") ? "torch_dtype" : "dtype"] = std::string{torch_name_of(main_format(plan))};
  char const* const depth = out.contains("n_layer") ? "n_layer" : "num_hidden_layers";
  if (out.contains(depth)) out[depth] = plan.layers;
  if (plan.head_of_its_own) out["tie_word_embeddings"] = false;
  if (auto const* const alignment = models.alignment()) {
    bool const nested = !out.contains("vocab_size") && out.contains("text_config") && out.at("text_config").is_object();
    (nested ? out["text_config"] : out)["vocab_size"] = alignment->rows();
  }
  if (!out.contains("layer_types") || !recipe.slices.front().sources.front().layers) return out;
  json types = json::array();  // one a layer: they move with their layers
  for (auto const& slice : recipe.slices) {
    soup_source const& source = slice.sources.front();
    json const& from = models.at(source.model).config.value("layer_types", json::array());
    for (std::size_t k = source.layers->first; k < source.layers->second && k < from.size(); ++k) types.push_back(from[k]);
  }
  out["layer_types"] = types;
  return out;
}

json describe(soup_parameters const& parameters) {
  json out = json::object();
  for (auto const& [name, rules] : parameters) {
    json list = json::array();
    for (auto const& rule : rules) {
      json const values = rule.values.size() == 1 ? json(rule.values.front()) : json(rule.values);
      list.push_back(rule.filter.empty() ? values : json{{"filter", rule.filter}, {"value", values}});
    }
    out[name] = rules.size() == 1 ? list.front() : list;
  }
  return out;
}

std::string name_of_folder(path const& model) {
  path const settled = std::filesystem::absolute(model).lexically_normal();
  return (settled.has_filename() ? settled : settled.parent_path()).filename().string();
}

std::string name_of_model(model_reference const& model) {
  return name_of_folder(model.model) + (model.adapter.empty() ? "" : "+" + name_of_folder(model.adapter));
}

/// tokenizer_config.json of a tokenizer that has got more tokens, or lost some: what it says of each follows.
json settings_of(json config, json const& tokenizer) {
  if (!config.contains("added_tokens_decoder")) return config;
  json decoder = json::object();
  for (json token : tokenizer.at("added_tokens")) {
    std::string const id = token.at("id").dump();
    token.erase("id");
    decoder[id] = token;
  }
  config["added_tokens_decoder"] = decoder;
  return config;
}

/// The tokenizer of a folder or GGUF file; with another tokenizer.json where the result has one, and then without older formats of the first.
void write_words(path const& folder, checkpoint const& speaker, json const& changed) {
  static constexpr std::array settings_files{"special_tokens_map.json", "chat_template.jinja", "chat_template.json"};
  static constexpr std::array vocabulary_files{"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "added_tokens.json", "vocab.json", "merges.txt"};
  bool const is_folder = std::filesystem::is_directory(speaker.path());
  if (is_folder) copy(speaker.path(), folder, settings_files);
  if (is_folder && changed.is_null()) return copy(speaker.path(), folder, vocabulary_files);
  json const& tokenizer = changed.is_null() ? speaker.tokenizer : changed;
  if (!tokenizer.is_null()) write(folder / "tokenizer.json", tokenizer);
  if (!speaker.tokenizer_config.empty()) write(folder / "tokenizer_config.json", changed.is_null() ? speaker.tokenizer_config : settings_of(speaker.tokenizer_config, changed));
}

}  // namespace

void write_companions(path const& folder, soup_recipe const& recipe, soup_models const& models, soup_plan const& plan) {
  checkpoint const& donor = models.donor();
  vocabulary_alignment const* const alignment = models.alignment();
  write(folder / "config.json", config_of(recipe, models, plan));
  if (std::filesystem::is_directory(donor.path())) {
    copy(donor.path(), folder, std::array{"generation_config.json"});
  } else if (!donor.generation_config.is_null()) {
    write(folder / "generation_config.json", donor.generation_config);
  }
  checkpoint const& speaker = alignment != nullptr ? models.at(alignment->donor()) : donor;
  write_words(folder, speaker, alignment != nullptr ? alignment->changed_tokenizer() : json());
  for (auto const& [name, text] : speaker.chat_templates)
    if (name != "default" || !std::filesystem::is_directory(speaker.path())) write(template_file(folder, name), text);
  if (!models.chat_template().empty()) write(folder / "chat_template.jinja", models.chat_template());
}

std::map<std::string, std::string> provenance(soup_recipe const& recipe) {
  json slices = json::array();
  for (auto const& slice : recipe.slices) {
    json sources = json::array();
    for (auto const& source : slice.sources) {
      json entry = {{"model", name_of_model(source.model)}};
      if (source.layers) entry["layer_range"] = {source.layers->first, source.layers->second};
      if (!source.parameters.empty()) entry["parameters"] = describe(source.parameters);
      sources.push_back(entry);
    }
    json entry = {{"sources", sources}};
    if (slice.base_model) entry["base_model"] = name_of_model(*slice.base_model);
    if (!slice.parameters.empty()) entry["parameters"] = describe(slice.parameters);
    slices.push_back(entry);
  }
  json out = {{"method", std::string{name_of(recipe.method)}}, {"slices", slices}};
  if (recipe.base_model) out["base_model"] = name_of_model(*recipe.base_model);
  if (!recipe.parameters.empty()) out["parameters"] = describe(recipe.parameters);
  return {{"format", "pt"}, {"kedge_soup", out.dump()}, {"kedge_version", KEDGE_VERSION_STRING}};
}

}  // namespace kedge::llm
