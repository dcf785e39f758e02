// SPDX-License-Identifier: Apache-2.0
#include "config_file.hpp"

#include <fstream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include <kedge/llm/base/setting.hpp>

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;
using llm::usage_error;

[[noreturn]] void refuse_nested(fs::path const& file, std::string const& key) {
  throw usage_error(file.string() + ": " + key + " holds other keys; sections are not known, write all keys at the top");
}

std::vector<config_entry> read_toml(fs::path const& file, std::istream& text) {
  std::vector<config_entry> entries;
  for (CLI::ConfigItem const& item : CLI::ConfigTOML().from_config(text)) {
    if (!item.parents.empty()) refuse_nested(file, "[" + item.parents.front() + "]");
    entries.push_back({item.name, item.inputs});
  }
  return entries;
}

std::string scalar(fs::path const& file, std::string const& key, nlohmann::ordered_json const& value) {
  if (value.is_structured() || value.is_null()) refuse_nested(file, key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::vector<config_entry> read_json(fs::path const& file, std::istream& text) {
  nlohmann::ordered_json const root = nlohmann::ordered_json::parse(text);
  if (!root.is_object()) throw usage_error(file.string() + ": not a JSON object of settings");
  std::vector<config_entry> entries;
  for (auto const& [key, value] : root.items()) {
    if (value.is_null()) continue;
    config_entry& entry = entries.emplace_back(config_entry{key, {}});
    for (auto const& one : value.is_array() ? value : nlohmann::ordered_json::array({value})) entry.values.push_back(scalar(file, key, one));
  }
  return entries;
}

std::string scalar(fs::path const& file, std::string const& key, YAML::Node const& value) {
  if (!value.IsScalar()) refuse_nested(file, key);
  return value.Scalar();
}

std::vector<config_entry> read_yaml(fs::path const& file, std::istream& text) {
  YAML::Node const root = YAML::Load(text);
  if (!root.IsMap()) throw usage_error(file.string() + ": not a YAML mapping of settings");
  std::vector<config_entry> entries;
  for (auto const& item : root) {
    std::string const key = item.first.as<std::string>();
    if (item.second.IsNull()) continue;
    config_entry& entry = entries.emplace_back(config_entry{key, {}});
    if (!item.second.IsSequence()) {
      entry.values.push_back(scalar(file, key, item.second));
      continue;
    }
    for (YAML::Node const& one : item.second) entry.values.push_back(scalar(file, key, one));
  }
  return entries;
}

std::string first_line(std::string text) { return text.substr(0, text.find('\n')); }

}  // namespace

std::vector<config_entry> read_config_file(fs::path const& file) {
  std::ifstream text(file);
  if (!text || fs::is_directory(file)) throw usage_error("--config " + file.string() + ": can't be read");
  std::string const kind = file.extension().string();
  try {
    if (kind == ".toml") return read_toml(file, text);
    if (kind == ".json") return read_json(file, text);
    if (kind == ".yaml" || kind == ".yml") return read_yaml(file, text);
  } catch (usage_error const&) {
    throw;
  } catch (std::exception const& e) {
    throw usage_error("--config " + file.string() + ": damaged (" + first_line(e.what()) + ")");
  }
  throw usage_error("--config " + file.string() + ": its name must end in .toml, .yaml, .yml or .json");
}

}  // namespace kedge::cli
