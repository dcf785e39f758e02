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

std::vector<config_entry> read_toml(fs::path const& file, std::istream& text) {
  std::vector<config_entry> entries;
  for (CLI::ConfigItem const& item : CLI::ConfigTOML().from_config(text)) {
    if (!item.parents.empty()) refuse_nested(file, "[" + item.parents.front() + "]");
    entries.push_back({item.name, item.inputs});
  }
  return entries;
}

// The entry of a key whose value is JSON; none for null.
void add(std::vector<config_entry>& entries, std::string const& key, nlohmann::ordered_json const& value) {
  if (value.is_null()) return;
  config_entry& entry = entries.emplace_back(config_entry{key, {}});
  for (auto const& one : value.is_array() ? value : nlohmann::ordered_json::array({value})) {
    entry.nested = entry.nested || one.is_structured() || one.is_null();
    entry.values.push_back(one.is_string() ? one.get<std::string>() : one.dump());
  }
}

std::vector<config_entry> read_json(fs::path const& file, std::istream& text) {
  nlohmann::ordered_json const root = nlohmann::ordered_json::parse(text);
  if (!root.is_object()) throw usage_error(file.string() + ": not a JSON object of settings");
  std::vector<config_entry> entries;
  for (auto const& [key, value] : root.items()) add(entries, key, value);
  return entries;
}

// A value inside another: its text is read as JSON where it is a number or a truth value.
nlohmann::ordered_json as_json(YAML::Node const& value) {
  if (value.IsNull()) return nullptr;
  nlohmann::ordered_json all;
  if (value.IsSequence()) {
    all = nlohmann::ordered_json::array();
    for (YAML::Node const& one : value) all.push_back(as_json(one));
    return all;
  }
  if (value.IsMap()) {
    all = nlohmann::ordered_json::object();
    for (auto const& item : value) all[item.first.as<std::string>()] = as_json(item.second);
    return all;
  }
  bool yes = false;
  double number = 0;
  if (value.Tag() == "!") return value.Scalar();  // in quotes
  if (YAML::convert<bool>::decode(value, yes)) return yes;
  if (auto const json = nlohmann::ordered_json::parse(value.Scalar(), nullptr, false); json.is_number()) return json;
  if (YAML::convert<double>::decode(value, number)) return number;
  return value.Scalar();
}

std::vector<config_entry> read_yaml(fs::path const& file, std::istream& text) {
  YAML::Node const root = YAML::Load(text);
  if (!root.IsMap()) throw usage_error(file.string() + ": not a YAML mapping of settings");
  std::vector<config_entry> entries;
  for (auto const& item : root) {
    std::string const key = item.first.as<std::string>();
    bool const nested = item.second.IsMap() || (item.second.IsSequence() && item.second.size() > 0 && !item.second[0].IsScalar());
    if (nested) {
      add(entries, key, as_json(item.second));
      continue;
    }
    if (item.second.IsNull()) continue;
    config_entry& entry = entries.emplace_back(config_entry{key, {}});  // texts as they stand: a setting reads 5.0e-7 itself
    if (!item.second.IsSequence()) {
      entry.values.push_back(item.second.Scalar());
      continue;
    }
    for (YAML::Node const& one : item.second) {
      entry.nested = entry.nested || !one.IsScalar();
      entry.values.push_back(one.IsScalar() ? one.Scalar() : as_json(one).dump());
    }
  }
  return entries;
}

std::string first_line(std::string text) { return text.substr(0, text.find('\n')); }

}  // namespace

void refuse_nested(fs::path const& file, std::string const& key) {
  throw usage_error(file.string() + ": " + key + " holds other keys; sections are not known, write all keys at the top");
}

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
