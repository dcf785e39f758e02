// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/model/inspect.hpp>

#include "command.hpp"
#include "inspect_data.hpp"
#include "inspect_extras.hpp"

namespace kedge::cli {
namespace {

nlohmann::ordered_json describe(std::filesystem::path const& path, llm::described_run const& run, std::vector<double> const& gpus) {
  if (std::filesystem::is_directory(path)) return llm::describe(llm::checkpoint::open_text(path), run, gpus);
  return path.extension() == ".json" ? llm::describe_config(path, run, gpus) : llm::describe(llm::checkpoint::open(path), run, gpus);
}

// One line a fact; of facts with names of their own, one line each.
void print(nlohmann::ordered_json const& about) {
  auto const text = [](nlohmann::ordered_json const& value) { return value.is_string() ? value.get<std::string>() : value.dump(); };
  for (auto const& [key, value] : about.items()) {
    if (key == "problems" || key == "notes") continue;
    bool const many = key == "shapes" || key == "memory" || key == "device";
    std::printf("%-24s %s\n", key.c_str(), many ? "" : text(value).c_str());
    if (many)
      for (auto const& [name, number] : value.items()) std::printf("  %-46s %s\n", name.c_str(), text(number).c_str());
  }
}

}  // namespace

int run_inspect(arguments const& args) {
  if (std::any_of(args.begin(), args.end(), is_data)) return inspect_data(args);
  std::filesystem::path path;
  llm::described_run planned;
  std::vector<double> gpus{24, 80, 141};
  bool json = false;
  command_line line("kedge inspect", "What a checkpoint is: family, shapes, stored types, parameters, memory, tokenizer, and problems. Reads no weights.");
  line.settings.add(llm::model_setting("model", path, "Hugging Face folder, adapter's folder, GGUF file, or a config.json alone; none: the GPUs of --device alone")).alias("model_name_or_path").positional();
  auto const moments = declare_optimizer(line.settings);
  line.settings.add("processes", planned.processes, "that share a run: the plan of memory is that of one of them").at_least(1).at_most(1 << 20);
  llm::fsdp_choice fsdp;
  line.settings.add("fsdp", fsdp, "what they divide beside the optimizer's state, as the training subcommands have it");
  line.settings.add("gpu_memory", gpus, "GB of GPUs whose plan is told, in bfloat16: what fits, how many tokens at once").above(0).otherwise("24 80 141");
  auto const add_device = declare_device(line.settings);
  line.settings.add("json", json, "print one JSON object");
  line.parse(args);
  planned.optimizer = moments();
  planned.divided = fsdp.what;
  nlohmann::ordered_json about{{"problems", nlohmann::ordered_json::array()}};
  if (!path.empty()) about = describe(path, planned, gpus);
  add_device(about);
  if (path.empty() && about.size() == 1) throw llm::usage_error("--model is required: " + line.settings.at("model").help());
  if (json)
    std::printf("%s\n", about.dump().c_str());
  else
    print(about);
  for (auto const& note : about.value("notes", nlohmann::ordered_json::array()))
    if (!json) std::printf("%-24s %s\n", "note", note.get<std::string>().c_str());
  for (auto const& problem : about["problems"])
    if (!json) std::printf("%-24s %s\n", "problem", problem.get<std::string>().c_str());
  return about["problems"].empty() ? exit_done : exit_error;
}

}  // namespace kedge::cli
