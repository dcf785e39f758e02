// SPDX-License-Identifier: Apache-2.0
#include "dataset_files.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <set>

#include <kedge/llm/base/error.hpp>

#include "../base/listed.hpp"
#include "../base/yaml_value.hpp"

namespace kedge::llm {
namespace {

using strings = std::vector<std::string>;

// A split, and patterns of its files.
struct split_patterns {
  std::string split;
  strings patterns;
};

struct data_config {
  std::string name;
  bool standard = false;
  std::string folder;                  ///< data_dir: its own rules apply in there
  std::vector<split_patterns> splits;  ///< empty: names of files say it
};

bool is_data(std::string const& file) {
  static constexpr std::array endings{".parquet", ".jsonl", ".json", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst"};
  static constexpr std::array about{"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json",
                                    "state.json"};
  std::string const base = file.substr(file.rfind('/') == std::string::npos ? 0 : file.rfind('/') + 1);
  bool const hidden = file.starts_with(".") || file.find("/.") != std::string::npos || file.starts_with("__") ||
                      file.find("/__") != std::string::npos;
  return !hidden && std::any_of(endings.begin(), endings.end(), [&](char const* end) { return base.ends_with(end); }) &&
         std::find(about.begin(), about.end(), base) == about.end();
}

strings texts(yaml_value const& value) {
  if (value.kind != yaml_kind::list) return value.is_scalar() ? strings{value.text} : strings{};
  strings all;
  for (yaml_value const& one : value.items)
    if (one.is_scalar()) all.push_back(one.text);
  return all;
}

std::vector<split_patterns> splits_of(yaml_value const& files) {
  std::vector<split_patterns> splits;
  for (auto const& [split, path] : files.pairs) splits.push_back({split, texts(path)});
  for (yaml_value const& one : files.items)
    if (one.kind == yaml_kind::mapping) splits.push_back({one["split"].text, texts(one["path"])});
  if (splits.empty() && !texts(files).empty()) splits.push_back({"train", texts(files)});
  return splits;
}

std::vector<data_config> configs_of(std::string const& readme, std::string const& repository) {
  std::vector<data_config> configs;
  yaml_document const front = parse_front_matter(readme, repository + "/README.md");
  for (yaml_value const& one : front.root["configs"].items) {
    if (one.kind != yaml_kind::mapping || !one["config_name"].is_scalar()) continue;
    yaml_value const& standard = one["default"];
    std::string folder = one["data_dir"].is_scalar() ? one["data_dir"].text : "";
    while (folder.ends_with('/')) folder.pop_back();
    configs.push_back({one["config_name"].text, standard.kind == yaml_kind::boolean && standard.number != 0, folder,
                       splits_of(one["data_files"])});
  }
  return configs;
}

// CONFIG/SPLIT/0000.parquet, as the revision refs/convert/parquet has it.
std::vector<data_config> configs_of(strings const& files) {
  static std::regex const converted(R"(([^/]+)/(?:partial-)?([^/]+)/\d{4}\.parquet)");
  std::vector<data_config> configs;
  for (std::string const& file : files) {
    std::smatch found;
    if (!std::regex_match(file, found, converted)) return {};
    auto config = std::find_if(configs.begin(), configs.end(), [&](auto const& c) { return c.name == found[1]; });
    if (config == configs.end()) config = configs.insert(config, data_config{found[1], found[1] == "default", "", {}});
    auto split = std::find_if(config->splits.begin(), config->splits.end(), [&](auto const& s) { return s.split == found[2]; });
    if (split == config->splits.end()) split = config->splits.insert(split, {found[2], {}});
    split->patterns.push_back(file);
  }
  return configs;
}

// The rules of the package datasets for folders without configs, in its order.
std::vector<split_patterns> splits_by_name(strings const& files) {
  static std::regex const sharded(R"(data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*)");
  std::vector<split_patterns> splits;
  std::set<std::string> seen;
  for (std::string const& file : files)
    if (std::smatch found; std::regex_match(file, found, sharded) && seen.insert(found[1]).second)
      splits.push_back({found[1], {"data/" + found[1].str() + "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*"}});
  if (!splits.empty()) return splits;
  static std::vector<split_patterns> const words{{"train", {"train", "training"}},
                                                 {"validation", {"validation", "valid", "dev", "val"}},
                                                 {"test", {"test", "testing", "eval", "evaluation"}}};
  static std::array<strings, 2> const rules{
      strings{"**/{}/**", "**/{}[-._ 0-9]*/**", "**/*[-._ 0-9]{}/**", "**/*[-._ 0-9]{}[-._ 0-9]*/**"},
      strings{"**/{}[-._ 0-9]*", "**/*[-._ 0-9]{}[-._ 0-9]*"}};
  for (strings const& rule : rules) {
    for (split_patterns const& split : words) {
      split_patterns made{split.split, {}};
      for (std::string const& word : split.patterns)
        for (std::string pattern : rule) made.patterns.push_back(pattern.replace(pattern.find("{}"), 2, word));
      if (std::any_of(files.begin(), files.end(), [&](auto const& file) {
            return std::any_of(made.patterns.begin(), made.patterns.end(),
                               [&](auto const& pattern) { return fits(pattern, file); });
          }))
        splits.push_back(made);
    }
    if (!splits.empty()) return splits;
  }
  return {{"train", {"**"}}};
}

data_config const& choose(std::vector<data_config> const& configs, std::string const& wanted, std::string const& repository) {
  strings names;
  for (data_config const& one : configs) names.push_back(one.name);
  for (data_config const& one : configs)
    if (wanted.empty() ? one.standard || one.name == "default" || configs.size() == 1 : one.name == wanted) return one;
  throw error(in_quotes(repository) +
              (wanted.empty() ? " has several configurations" : " has no configuration " + in_quotes(wanted)) +
              "; choose one by --dataset_config: " + listed(names));
}

// By the order of the patterns, and of the names for each.
strings matching(strings const& files, strings const& patterns) {
  strings found;
  for (std::string const& pattern : patterns)
    for (std::string const& file : files)
      if (fits(pattern.starts_with("./") ? pattern.substr(2) : pattern, file) &&
          std::find(found.begin(), found.end(), file) == found.end())
        found.push_back(file);
  return found;
}

strings within(strings const& files, std::string const& folder) {
  strings found;
  for (std::string const& file : files)
    if (file.starts_with(folder + "/")) found.push_back(file.substr(folder.size() + 1));
  return found;
}

}  // namespace

strings choose_dataset_files(strings const& listing, std::string const& readme, dataset_part const& part,
                             std::string const& repository) {
  strings files;
  std::copy_if(listing.begin(), listing.end(), std::back_inserter(files), is_data);
  std::sort(files.begin(), files.end());
  std::vector<data_config> configs = configs_of(readme, repository);
  if (configs.empty()) configs = configs_of(files);
  if (configs.empty()) configs = {{"default", true, "", {}}};
  data_config const& config = choose(configs, part.config, repository);
  if (!config.folder.empty()) files = within(files, config.folder);
  std::vector<split_patterns> const splits = config.splits.empty() ? splits_by_name(files) : config.splits;
  strings names, chosen;
  for (split_patterns const& split : splits) {
    names.push_back(split.split);
    if (!part.split.empty() && split.split != part.split) continue;
    for (std::string& file : matching(files, split.patterns))
      if (std::find(chosen.begin(), chosen.end(), file) == chosen.end()) chosen.push_back(std::move(file));
  }
  bool const known = part.split.empty() || std::find(names.begin(), names.end(), part.split) != names.end();
  if (!known && !files.empty())
    throw error(in_quotes(repository) + " has no split " + in_quotes(part.split) + "; there are: " + listed(names));
  if (chosen.empty())
    throw error(in_quotes(repository) + " has no data files that kedge reads (Parquet, JSON, JSON lines)" +
                (part.split.empty() ? "" : " of the split " + part.split) + "; the hub may have them converted: " + repository +
                "@refs/convert/parquet");
  if (!config.folder.empty())
    for (std::string& file : chosen) file.insert(0, config.folder + "/");
  return chosen;
}

bool all_shards(strings const& files) {
  static std::regex const numbered(R"((.*)-\d{5}-of-(\d{5})(.*))");
  std::map<std::string, std::size_t> there;
  std::map<std::string, std::size_t> wanted;
  for (std::string const& file : files) {
    std::smatch found;
    if (!std::regex_match(file, found, numbered)) continue;
    std::string const kind = found[1].str() + "/" + found[2].str();
    ++there[kind];
    wanted[kind] = std::stoul(found[2]);
  }
  return there == wanted;
}

}  // namespace kedge::llm
