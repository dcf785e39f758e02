// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <torch/version.h>

#include <kedge/llm/kernels/instruction_set.hpp>
#include <kedge/version.hpp>

#include "command.hpp"

namespace {

using namespace kedge::cli;

constexpr std::array commands{
    command{"sft", "supervised fine-tuning on prompts and completions, or on conversations", run_sft, true},
    command{"reward", "train a reward model on preference pairs", run_reward, true},
    command{"dpo", "train on preference pairs: DPO, IPO and their family, one round", run_dpo, true},
    command{"sdpo", "stepwise DPO: data in steps, the reference becomes the model just trained", run_sdpo, true},
    command{"apo", "accelerated preference optimization: rounds with Nesterov extrapolation", run_apo, true},
    command{"ppo", "train on the model's own completions, rewarded by a judge: PPO, RLOO, GRPO", run_ppo},
    command{"salsa", "PPO around a soup of fine-tuned models", run_salsa},
    command{"score", "log-probability and token count of chosen and rejected of every pair", run_score},
    command{"generate", "sample completions of prompts", run_generate},
    command{"soup", "one model from several: averages and mixtures of checkpoints", run_soup},
    command{"shuffle", "the lines of a data set in a random order, also of one larger than memory", run_shuffle},
    command{"merge", "a LoRA adapter merged into its base", run_merge},
    command{"tokenize", "token ids of lines or of chat messages", run_tokenize},
    command{"inspect", "what a checkpoint or a data set is, and what is wrong with it", run_inspect},
};

void print_usage(std::FILE* to) {
  std::fprintf(to, "kedge %s: preference optimization of language models\n\nusage: kedge SUBCOMMAND [--flags]\n\n", KEDGE_VERSION_STRING);
  for (command const& c : commands) std::fprintf(to, "  %-9s %s\n", c.name, c.summary);
  std::fprintf(to, "\nkedge SUBCOMMAND --help lists the flags; --config FILE takes the same keys (TOML, YAML or JSON), and flags win.\n");
}

int print_version(arguments const&) {
  std::string runs;
  for (std::string const& name : kedge::llm::instruction_sets()) runs += (runs.empty() ? "" : ", ") + name;
  std::printf("kedge %s\nLibTorch %s\nkernels: %s (this processor runs %s)\n", KEDGE_VERSION_STRING, TORCH_VERSION, kedge::llm::instruction_set().c_str(), runs.c_str());
  return exit_done;
}

// Processes that torchrun started beside each other would all do the same, and write over each other's files.
int refuse_company(arguments const&) {
  std::string shared;
  for (command const& c : commands)
    if (c.shares_work) shared += (shared.empty() ? "" : ", ") + std::string(c.name);
  throw kedge::llm::usage_error("WORLD_SIZE is set, but it runs in one process; those that divide their work among several are " + shared);
}

bool in_company() {
  char const* const size = std::getenv("WORLD_SIZE");
  return size != nullptr && std::string(size) != "1";
}

bool asks_for_help(arguments const& args) {
  return std::any_of(args.begin(), args.end(), [](std::string const& arg) { return arg.compare(0, 6, "--help") == 0 || arg == "-h"; });
}

// What a step frees the next one asks for again. Given back to the system in between, each page would have to be mapped and cleared
// anew.
void keep_freed_memory() {
#ifdef M_TRIM_THRESHOLD
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  arguments args(argv + 1, argv + argc);
  if (args.empty()) {
    print_usage(stderr);
    return exit_usage;
  }
  std::string const name = args.front();
  args.erase(args.begin());
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return exit_done;
  }
  if (name == "--version") {
    return run({"--version", "", print_version}, {});
  }
  for (command const& c : commands)
    if (name == c.name) return c.shares_work || !in_company() || asks_for_help(args) ? run(c, args) : run({c.name, c.summary, refuse_company}, args);
  std::fprintf(stderr, "kedge: there is no subcommand '%s'; see kedge --help\n", name.c_str());
  return exit_usage;
}
