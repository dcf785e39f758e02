// SPDX-License-Identifier: Apache-2.0
#include "model_files.hpp"

#include <algorithm>
#include <array>
#include <regex>
#include <set>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/hub/hub.hpp>

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr std::array endings{".safetensors", ".gguf", ".json", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz",
                             ".json.zst",    ".txt",  ".md",   ".jinja", ".model",    ".parquet"};
constexpr char const* weights = "model.safetensors";
constexpr char const* weights_index = "model.safetensors.index.json";
constexpr char const* adapter = "adapter_model.safetensors";
constexpr char const* templates = "additional_chat_templates/";

bool ends_with(std::string_view text, std::string_view end) { return text.ends_with(end); }

// MODEL-00001-of-00003.gguf: that and its further parts, in order.
std::vector<std::string> parts_of(std::string const& file, std::vector<std::string> const& listing) {
  static std::regex const numbered(R"((.*)-\d{5}-of-(\d{5})\.gguf)");
  std::smatch found;
  if (!std::regex_match(file, found, numbered)) return {file};
  std::vector<std::string> parts;
  for (std::string const& other : listing) {
    std::smatch same;
    if (std::regex_match(other, same, numbered) && same[1] == found[1] && same[2] == found[2]) parts.push_back(other);
  }
  std::sort(parts.begin(), parts.end());
  return parts;
}

std::string listed(std::vector<std::string> const& names) {
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > most ? ", …" : "");
}

// The one model that a repository has as GGUF.
std::vector<std::string> only_gguf(std::vector<std::string> const& here, std::string const& repository) {
  std::vector<std::string> firsts;
  std::set<std::string> seen;
  for (std::string const& file : here) {
    if (!ends_with(file, ".gguf") || file.find("mmproj") != std::string::npos) continue;
    std::vector<std::string> const parts = parts_of(file, here);
    if (seen.insert(parts.front()).second) firsts.push_back(parts.front());
  }
  if (firsts.size() > 1)
    throw error(in_quotes(repository) + " has several GGUF files; name one, as in " + repository + "/" + firsts.front() + ": " +
                listed(firsts));
  return firsts.empty() ? firsts : parts_of(firsts.front(), here);
}

void require_weights(std::vector<std::string> const& here, std::string const& where) {
  for (std::string const& file : here)
    if (ends_with(file, ".bin") || ends_with(file, ".pt") || ends_with(file, ".pth"))
      throw error(where + " has pickled weights alone (" + file +
                  "), which kedge never fetches nor loads; convert them to safetensors first");
  throw error(where + " has no weights that kedge reads: neither " + weights + " nor an index of several, no " + adapter +
              " and no GGUF file");
}

}  // namespace

bool may_be_fetched(std::string_view file) {
  std::string_view const base = file.substr(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
  return base.starts_with("LICENSE") ||
         std::any_of(endings.begin(), endings.end(), [&](char const* end) { return ends_with(base, end); });
}

model_files choose_model_files(std::vector<std::string> const& listing, std::string const& path,
                               std::string const& repository) {
  std::string const where = in_quotes(repository + (path.empty() ? "" : "/" + path));
  bool const one_file = ends_with(path, ".gguf");
  if (one_file) {
    if (std::find(listing.begin(), listing.end(), path) == listing.end())
      throw error(where + ": there is no such file in the repository");
    return {parts_of(path, listing), "", {}};
  }
  std::string const folder = path.empty() ? "" : path + "/";
  std::vector<std::string> here;  // without the folder
  for (std::string const& file : listing)
    if (file.starts_with(folder)) here.push_back(file.substr(folder.size()));
  if (here.empty()) throw error(where + ": there is no such folder in the repository");
  auto const has = [&](char const* file) { return std::find(here.begin(), here.end(), file) != here.end(); };
  model_files chosen;
  auto const add = [&](std::string const& file) { chosen.first.push_back(folder + file); };
  for (std::string const& file : here) {
    bool const at_top = file.find('/') == std::string::npos;
    bool const text = may_be_fetched(file) && !ends_with(file, ".safetensors") && !ends_with(file, ".gguf") &&
                      !ends_with(file, ".parquet") && file.find(".jsonl") == std::string::npos;
    if (text && (at_top || file.starts_with(templates))) add(file);
  }
  if (has(weights))
    add(weights);
  else if (has(weights_index))
    chosen.index = folder + weights_index;
  if (has(adapter)) add(adapter);
  if (!has(weights) && !has(weights_index) && !has(adapter)) {
    std::vector<std::string> const parts = only_gguf(here, repository);
    if (parts.empty()) require_weights(here, where);
    for (std::string const& part : parts) add(part);
  }
  return chosen;
}

std::vector<std::string> weights_of_index(fs::path const& index, std::string const& folder) {
  json const said = read_json_file(index);
  if (!said.is_object() || !said.contains("weight_map") || !said["weight_map"].is_object())
    throw error(in_quotes(index.string()) + " has no weight_map; it is no index of weights");
  std::set<std::string> files;
  for (auto const& [tensor, file] : said["weight_map"].items()) {
    if (!file.is_string() || !ends_with(file.get_ref<std::string const&>(), ".safetensors") ||
        file.get_ref<std::string const&>().find('/') != std::string::npos)
      throw error(in_quotes(index.string()) + ": no safetensors file is named for tensor " + in_quotes(tensor));
    files.insert(folder + file.get<std::string>());
  }
  return {files.begin(), files.end()};
}

std::string missing_weights(fs::path const& folder) {
  auto const there = [&](std::string const& file) {
    std::error_code ignored;
    return fs::is_regular_file(folder / file, ignored);
  };
  if (there("adapter_config.json")) return there(adapter) ? "" : adapter;
  if (!there("config.json")) return "config.json";
  if (there(weights)) return "";
  if (!there(weights_index)) return std::string(weights) + " or " + weights_index;
  for (std::string const& file : weights_of_index(folder / weights_index, ""))
    if (!there(file)) return file;
  return "";
}

}  // namespace kedge::llm
