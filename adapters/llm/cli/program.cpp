// SPDX-License-Identifier: Apache-2.0
#include "program.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/kernels/instruction_set.hpp>
#include <kedge/version.hpp>

namespace kedge::cli {
namespace {

void print_usage(program const& self, std::FILE* to) {
  std::fprintf(to, "kedge %s: preference optimization of language models\n\nusage: kedge SUBCOMMAND [--flags]\n\n",
               KEDGE_VERSION_STRING);
  for (command const& c : self.commands) std::fprintf(to, "  %-9s %s\n", c.name, c.summary);
  std::fprintf(
      to,
      "\nkedge SUBCOMMAND --help lists the flags; --config FILE takes the same keys (TOML, YAML or JSON), and flags win.\n");
  if (!self.absent.empty()) std::fprintf(to, "%s.\n", self.absent.c_str());
}

int print_version(program const& self) {
  std::string runs;
  for (std::string const& name : llm::instruction_sets()) runs += (runs.empty() ? "" : ", ") + name;
  std::printf("kedge %s\n%skernels: %s (this processor runs %s)\n", KEDGE_VERSION_STRING, self.about().c_str(),
              llm::instruction_set().c_str(), runs.c_str());
  return exit_done;
}

std::string variable(char const* name) {
  char const* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool in_company() {
  std::string const size = variable("WORLD_SIZE");
  return !size.empty() && size != "1";
}

bool asks_for_help(arguments const& args) {
  return std::any_of(args.begin(), args.end(),
                     [](std::string const& arg) { return arg.compare(0, 6, "--help") == 0 || arg == "-h"; });
}

// Processes that torchrun started beside each other would all do the same, and write over each other's files.
int refuse_company(program const& self, command const& asked) {
  std::string shared;
  for (command const& c : self.commands)
    if (c.shares_work) shared += (shared.empty() ? "" : ", ") + std::string(c.name);
  std::fprintf(stderr, "kedge %s: WORLD_SIZE is set, but it runs in one process%s%s; see kedge %s --help\n", asked.name,
               shared.empty() ? "" : "; those that divide their work among several are ", shared.c_str(), asked.name);
  return exit_usage;
}

}  // namespace

int run_program(program const& self, arguments args) try {
  if (std::string const named = variable("KEDGE_ISA"); !named.empty()) llm::use_instruction_set(named);
  if (args.empty()) {
    print_usage(self, stderr);
    return exit_usage;
  }
  std::string const name = args.front();
  args.erase(args.begin());
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(self, stdout);
    return exit_done;
  }
  if (name == "--version") return print_version(self);
  for (command const& c : self.commands)
    if (name == c.name) return c.shares_work || !in_company() || asks_for_help(args) ? run(c, args) : refuse_company(self, c);
  std::fprintf(stderr, "kedge: there is no subcommand '%s'%s%s; see kedge --help\n", name.c_str(),
               self.absent.empty() ? "" : ". ", self.absent.c_str());
  return exit_usage;
} catch (llm::error const& e) {
  std::fprintf(stderr, "kedge: %s\n", e.what());
  return exit_error;
}

}  // namespace kedge::cli
