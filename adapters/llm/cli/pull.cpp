// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/hub/hub.hpp>

#include "command.hpp"
#include "hub_environment.hpp"

namespace kedge::cli {
namespace {

struct pull_settings {
  std::vector<std::string> names;
  llm::hub_kind kind = llm::hub_kind::model;
  std::string revision;
  llm::dataset_part part{"", ""};
  std::filesystem::path cache;
  std::size_t parallel = 4;
  bool json = false, quiet = false;
};

llm::pulled pull(pull_settings const& s, std::string const& text, llm::hub_settings const& hub) {
  auto name = llm::parse_hub_name(text, s.kind);
  if (!name)
    throw llm::usage_error(text + " is no name of the hub; it takes ORG/NAME, ORG/NAME/FILE.gguf, or either with @REVISION");
  if (!s.revision.empty()) {
    if (name->revision != "main")
      throw llm::usage_error(text + " and --revision " + s.revision + " both say which revision; leave one out");
    name = llm::parse_hub_name(text + "@" + s.revision, s.kind);
    if (!name)
      throw llm::usage_error("--revision " + s.revision + " is no revision; it takes a branch, a tag, or a commit's 40 digits");
  }
  return s.kind == llm::hub_kind::dataset ? llm::pull_dataset(*name, s.part, hub) : llm::pull_model(*name, hub);
}

void print(llm::pulled const& result, bool json) {
  if (!json) {
    std::printf("%s\n", result.folder.string().c_str());
    return;
  }
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (auto const& file : result.files) files.push_back(file.string());
  std::printf("%s\n", nlohmann::ordered_json{{"path", result.folder.string()},
                                             {"commit", result.commit},
                                             {"files", files},
                                             {"fetched", result.fetched},
                                             {"bytes", result.bytes},
                                             {"notes", result.notes}}
                          .dump()
                          .c_str());
}

}  // namespace

int run_pull(arguments const& args) {
  pull_settings s;
  command_line line(
      "kedge pull",
      "Brings models or data sets of the hub into huggingface_hub's cache, and prints where they are. What is there is kept.");
  line.settings.add("names", s.names, "ORG/NAME, or ORG/NAME/FILE.gguf, each with @REVISION if it isn't main")
      .positional()
      .required();
  line.settings.add("repo_type", s.kind, "what the names are");
  line.settings.add("revision", s.revision, "branch, tag or commit of all of them; none: main");
  line.settings.add("dataset_config", s.part.config, "configuration of a data set; none: the only one, or the default");
  line.settings.add("split", s.part.split, "split of a data set; none: all");
  line.settings.add("cache_dir", s.cache, "the cache; none: HF_HUB_CACHE, else HF_HOME/hub");
  line.settings.add("max_workers", s.parallel, "files fetched at once").at_least(1).at_most(64);
  line.settings.add("json", s.json, "print one JSON object a name");
  line.settings.add("quiet", s.quiet, "no progress, no notes");
  line.parse(args);
  if (s.kind == llm::hub_kind::model && (line.settings.given("dataset_config") || line.settings.given("split")))
    throw llm::usage_error("--dataset_config and --split are of data sets; add --repo_type dataset");
  llm::hub_settings hub = hub_of_environment();
  if (!s.cache.empty()) hub.cache = s.cache;
  if (s.quiet) hub.tells = {};
  hub.parallel = s.parallel;
  llm::interrupt_guard const interrupt;
  hub.stop = [&] { return interrupt.requested(); };
  for (std::string const& name : s.names) {
    llm::pulled const result = pull(s, name, hub);
    print(result, s.json);
    for (std::string const& note : result.notes) hub.tells.say(name + ": " + note);
  }
  return exit_done;
}

}  // namespace kedge::cli
