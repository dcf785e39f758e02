// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// Training of a reward model on preference pairs. Names, meanings and defaults are those of TRL's RewardConfig where it has them.
struct reward_settings : run_settings {
  reward_settings() { learning_rate = 1e-4; }

  std::filesystem::path dataset;          ///< JSONL of pairs; a key "margin" in all lines or in none
  std::filesystem::path eval_dataset;     ///< evaluated before and after; empty: not
  std::string eos_token;                  ///< token of the tokenizer that ends texts, in place of its own; empty: its own
  double center_rewards_coefficient = 0;  ///< c of the loss
};

void declare(settings_list& list, reward_settings& settings);

/// Trains a reward model r and writes it as transformers' LlamaForSequenceClassification with one label.
/// math    L = (1/n) Σ softplus(−(r_w − r_l − m)) + c (r_w + r_l)²,  m: the pair's margin, or 0                  Bradley–Terry
///         r is read at the last token of prompt and completion that is not the padding token: where transformers reads it
/// The model may be a language model, whose score head starts from random numbers drawn by the seed, or a reward model.
/// Pairs that are longer than max_length are left out, as in TRL.
/// throws  error in one line
one_round_result train_reward(reward_settings const& settings);

}  // namespace kedge::llm
