// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/comparing.hpp>
#include <kedge/llm/train/judge_flags.hpp>
#include <kedge/llm/train/run_settings.hpp>

#include "command.hpp"
#include "sampling_flags.hpp"

namespace kedge::cli {
namespace {

// Texts of models may end within a character.
std::string text_of(nlohmann::ordered_json const& report, int indent) {
  return report.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

int run_compare(arguments const& args) {
  llm::compare_settings settings;
  llm::generate_settings& s = settings.generate;
  std::vector<std::filesystem::path> models;
  std::filesystem::path output;
  bool json = false;
  command_line line("kedge compare",
                    "Which of two models answers better, by a judge or a reward model: win rate of B over A, the same at equal "
                    "length, rewards, "
                    "KL(B || A), and where they differ most.");
  line.settings.add(llm::model_setting("models", models, "A and B: Hugging Face folders, adapters' folders or GGUF files"))
      .positional()
      .required();
  declare_judge(line.settings, settings.rewards);
  declare_completions(line.settings, s);
  line.settings.group("Output");
  line.settings.add("output", output, "file for all figures as one JSON object");
  line.settings.add("json", json, "print that object instead of a table");
  line.settings.add("examples", settings.examples, "how many prompts to show whose rewards differ most").at_most(1 << 20);
  line.settings.add("batch_size", s.batch_size, "sequences decoded at once").at_least(1).at_most(1 << 20);
  line.settings.add("skip_bad_lines", s.skip_bad_lines, "go on after prompts that can't be used, and count them");
  line.settings.add("quiet", s.quiet, "no progress, no notes");
  llm::declare_company(line.settings, s.ddp_timeout);
  declare(line.settings, s.compute);
  line.parse(args);
  if (models.size() != 2) throw llm::usage_error("two models are compared, A and B, and not " + std::to_string(models.size()));
  s.model = models[0];
  settings.other = models[1];
  s.where = llm::launch::of_environment();
  bool const leads = s.where.rank == 0;
  if (leads) s.tells = llm::screen(stderr);
  auto const compared = llm::compare_models(settings);
  if (!compared) return exit_interrupted;
  if (!leads) return exit_done;
  nlohmann::ordered_json const report = as_json(*compared, settings);
  if (!output.empty()) llm::write_file_atomically(output, text_of(report, 2));
  std::string const shown = json ? text_of(report, -1) : as_table(*compared, settings);
  if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0)
    throw llm::error("the comparison can't be written to standard output");
  return exit_done;
}

}  // namespace kedge::cli
