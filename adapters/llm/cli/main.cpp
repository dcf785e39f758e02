// SPDX-License-Identifier: Apache-2.0

// kedge-trainer: every subcommand, with LibTorch.

#include <climits>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <torch/version.h>

#include <kedge/llm/train/device_report.hpp>

#include "program.hpp"

namespace {

using namespace kedge::cli;

constexpr std::array trainer_commands{
    command{"sft", "supervised fine-tuning on prompts and completions, or on conversations", run_sft, true},
    command{"reward", "train a reward model on preference pairs", run_reward, true},
    command{"kto", "train on single completions, each labelled desirable or not", run_kto, true},
    command{"dpo", "train on preference pairs: DPO, IPO and their family, one round", run_dpo, true},
    command{"sdpo", "stepwise DPO: data in steps, the reference becomes the model just trained", run_sdpo, true},
    command{"apo", "accelerated preference optimization: rounds with Nesterov extrapolation", run_apo, true},
    command{"ppo", "train on the model's own completions, rewarded by a judge: PPO, RLOO, GRPO", run_ppo, true},
    command{"salsa", "PPO around a soup of fine-tuned models", run_salsa, true},
    command{"score", "log-probability and token count of chosen and rejected of every pair", run_score, true},
    command{"generate", "sample completions of prompts", run_generate, true},
    command{"chat", "talk with a model in a terminal", run_chat},
    command{"compare", "which of two models answers better, how surely, and how far apart they are", run_compare, true},
    command{"merge", "a LoRA adapter merged into its base", run_merge},
    command{"extract", "a LoRA adapter from the difference of two models", run_extract},
};

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
  std::vector<command> commands(trainer_commands.begin(), trainer_commands.end());
  commands.insert(commands.end(), formats_commands.begin(), formats_commands.end());
  return run_program({commands, [] { return "LibTorch " TORCH_VERSION "\nGPUs: " + kedge::llm::gpu_library_line() + "\n"; }, ""}, arguments(argv + 1, argv + argc));
}
