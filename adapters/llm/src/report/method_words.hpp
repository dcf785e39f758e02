// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>
#include <vector>

namespace kedge::llm {

/// What people call a method, and what the hub does.
struct method_words {
  std::string_view name;                ///< of the subcommand
  std::string_view title;               ///< in a sentence: "trained by …"
  std::string_view paper, paper_title;  ///< on arXiv; empty where there is none
  std::vector<std::string_view> tags;   ///< of a model card: TRL's word first
};

/// The words for a method; its own name where it is not known.
[[nodiscard]] inline method_words words_of(std::string_view method) {
  static std::array<method_words, 8> const known{{
      {"sft", "supervised fine-tuning", "", "", {"sft"}},
      {"reward", "reward modelling on pairs", "", "", {"reward-trainer"}},
      {"dpo",
       "direct preference optimization",
       "2305.18290",
       "Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
       {"dpo"}},
      {"kto", "Kahneman-Tversky optimization", "2402.01306", "KTO: Model Alignment as Prospect Theoretic Optimization", {"kto"}},
      {"sdpo", "stepwise DPO", "2403.19270", "sDPO: Don't Use Your Data All at Once", {"dpo", "stepwise-dpo"}},
      {"apo",
       "accelerated preference optimization",
       "2410.06293",
       "Accelerated Preference Optimization for Large Language Model Alignment",
       {"dpo", "accelerated-preference-optimization"}},
      {"ppo", "proximal policy optimization", "1707.06347", "Proximal Policy Optimization Algorithms", {"ppo"}},
      {"salsa",
       "PPO around a soup (SALSA)",
       "2411.01798",
       "SALSA: Soup-based Alignment Learning for Stronger Adaptation in RLHF",
       {"ppo", "salsa"}},
  }};
  for (method_words const& one : known)
    if (one.name == method) return one;
  return {method, method, "", "", {}};
}

}  // namespace kedge::llm
