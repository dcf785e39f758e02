// SPDX-License-Identifier: Apache-2.0

// The program `kedge` itself. Loading LibTorch takes a third of a second, longer than many a soup: subcommands that don't need it
// run here, for all others kedge-trainer takes this process over. It knows every subcommand and is of no use to people. Where kedge
// was built without LibTorch there is no kedge-trainer, and what runs here is all there is.

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "program.hpp"

int main(int argc, char** argv) {
  using namespace kedge::cli;
  for (command const& c : formats_commands)
    // kedge-trainer's inspect has more flags, so it goes first.
    if (argc > 1 && std::strcmp(argv[1], c.name) == 0 && c.run != run_inspect) return run(c, arguments(argv + 2, argv + argc));
  std::error_code problem;
  std::filesystem::path const self = std::filesystem::read_symlink("/proc/self/exe", problem);
  std::filesystem::path const trainer = self.parent_path() / "kedge-trainer";
  // LibTorch's OpenMP reads this as it is loaded: threads that wait sleep, instead of spinning beside those that work.
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", /*replace=*/0);
  ::execv(trainer.c_str(), argv);
  if (errno == ENOENT)
    return run_program({formats_commands, [] { return std::string("without LibTorch\n"); }, "This kedge has no kedge-trainer beside it: it was built without LibTorch, and trains nothing"},
                       arguments(argv + 1, argv + argc));
  std::fprintf(stderr, "kedge: cannot start '%s': %s\n", trainer.c_str(), std::strerror(errno));
  return exit_error;
}
