// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <sstream>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/scoring.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_score(arguments const& args) {
  llm::score_settings settings;
  std::string output = "-";
  command_line line("kedge score", "Log-probability, in nats, and token count of chosen and rejected for every pair; one JSON object a line.");
  line.settings.add(llm::model_setting("model_name_or_path", settings.model, "Hugging Face folder or GGUF file")).required();
  line.settings.add("dataset", settings.dataset, "JSONL of preference pairs").alias("data").required();
  line.settings.add("output", output, "file, or - for standard output");
  line.settings.add("batch_size", settings.batch_size, "pairs").at_least(1).at_most(1 << 20);
  line.settings.add("max_length", settings.max_length, "longest prompt + completion in tokens; 0, -1 or none: no limit").also("-1", "0").also("none", "0");
  line.settings.add("truncation_mode", settings.truncation_mode, "which end of a sequence longer than max_length stays");
  line.settings.add("dataset_format", settings.dataset_format, "how the lines are written; auto: by the keys of the first, where they leave no choice");
  line.settings.add("ranked_pairs", settings.ranked_pairs, "which ranked or rated completions of a prompt make pairs");
  line.settings.add("max_samples", settings.max_samples, "score the first so many pairs; 0 or -1: all").also("-1", "0");
  line.settings.add("ref_logps", settings.ref_logps, "file for the data's lines with ref_chosen_logps and ref_rejected_logps added, which training takes as its reference");
  line.settings.add("ld_alpha", settings.ld_alpha, "LD-DPO: weight of tokens beyond the shorter completion of a pair; none: 1").at_most(1);
  line.settings.add("skip_bad_lines", settings.skip_bad_lines, "go on after lines that can't be used, and count them");
  line.settings.add("quiet", settings.quiet, "no progress");
  llm::declare_company(line.settings, settings.ddp_timeout);
  declare(line.settings, settings.compute);
  line.parse(args);
  settings.where = llm::launch::of_environment();
  bool const leads = settings.where.rank == 0;
  if (leads) settings.tells = llm::screen(stderr);
  if (output == "-" || !leads) {
    llm::score_preferences(settings, std::cout);
    return exit_done;
  }
  std::ostringstream text;
  llm::score_preferences(settings, text);
  llm::write_file_atomically(output, text.str());
  return exit_done;
}

}  // namespace kedge::cli
