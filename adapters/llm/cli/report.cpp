// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/report/report_page.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_report(arguments const& args) {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path output = "report.html";
  bool quiet = false;
  command_line line(
      "kedge report",
      "A page on a run, or on several side by side: how each went and ended, and the settings in which they differ.");
  line.settings.add("runs", runs, "folders of runs: --output_dir of training commands, or of TRL's").positional().required();
  line.settings.add("output", output, "file to write, a page of HTML that needs nothing else");
  line.settings.add("quiet", quiet, "print nothing");
  line.parse(args);
  for (std::string const& note : llm::write_report(runs, output)) std::fprintf(stderr, "kedge report: %s\n", note.c_str());
  if (!quiet) std::printf("%s: %zu %s\n", output.string().c_str(), runs.size(), runs.size() == 1 ? "run" : "runs");
  return exit_done;
}

}  // namespace kedge::cli
