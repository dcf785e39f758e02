// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <sstream>

#include <kedge/llm/files/atomic.hpp>
#include <kedge/llm/train/scoring.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_score(arguments const& args) {
  llm::score_settings settings;
  std::string output = "-";
  CLI::App app("Log-probability, in nats, and token count of chosen and rejected for every pair; one JSON object a line.", "kedge score");
  app.add_option("--model_name_or_path", settings.model, "Hugging Face folder or GGUF file")->required();
  app.add_option("--dataset,--data", settings.dataset, "JSONL of preference pairs")->required();
  app.add_option("--output", output, "file, or - for standard output")->capture_default_str();
  app.add_option("--batch_size", settings.batch_size, "pairs")->capture_default_str();
  app.add_option("--max_length", settings.max_length, "longest prompt + completion in tokens; 0: no limit")->capture_default_str();
  app.add_option("--max_samples", settings.max_samples, "score the first so many pairs; 0: all")->capture_default_str();
  app.add_flag("--skip_bad_lines", settings.skip_bad_lines, "go on after lines that can't be used, and count them");
  app.add_flag("--quiet", settings.quiet, "no progress");
  add_compute_options(app, settings.compute);
  parse(app, args);
  if (output == "-") {
    llm::score_preferences(settings, std::cout);
    return exit_done;
  }
  std::ostringstream text;
  llm::score_preferences(settings, text);
  llm::write_file_atomically(output, text.str());
  return exit_done;
}

}  // namespace kedge::cli
