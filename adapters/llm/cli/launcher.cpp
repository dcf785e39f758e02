// SPDX-License-Identifier: Apache-2.0

// The program `kedge` itself. Loading LibTorch takes a third of a second, longer than many a soup: subcommands that don't need it
// run here, for all others kedge-trainer takes this process over. It knows every subcommand and is of no use to people.

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "command.hpp"

namespace {

using namespace kedge::cli;

constexpr std::array commands{
    command{"shuffle", "", run_shuffle},
    command{"soup", "", run_soup},
};

}  // namespace

int main(int argc, char** argv) {
  for (command const& c : commands)
    if (argc > 1 && std::strcmp(argv[1], c.name) == 0) return run(c, arguments(argv + 2, argv + argc));
  std::error_code problem;
  std::filesystem::path const self = std::filesystem::read_symlink("/proc/self/exe", problem);
  std::filesystem::path const trainer = self.parent_path() / "kedge-trainer";
  // LibTorch's OpenMP reads this as it is loaded: threads that wait sleep, instead of spinning beside those that work.
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", /*replace=*/0);
  ::execv(trainer.c_str(), argv);
  std::fprintf(stderr, "kedge: cannot start '%s': %s; it belongs beside kedge\n", trainer.c_str(), std::strerror(errno));
  return exit_error;
}
