// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

/// Supervised fine-tuning. Names, meanings and defaults are those of TRL's SFTConfig where it has them.
struct sft_settings : run_settings {
  sft_settings() { learning_rate = 2e-5; }

  std::filesystem::path config_name;   ///< folder with config and tokenizer of a model to start from random numbers, in place of `model`
  std::filesystem::path dataset;       ///< JSONL: prompt and completion, or messages, or text
  std::filesystem::path eval_dataset;  ///< evaluated before and after; empty: not
  std::string eos_token;               ///< token of the tokenizer that ends texts, in place of its own; empty: its own
  std::optional<bool> completion_only_loss;  ///< unset: true where examples have a prompt
};

void declare(settings_list& list, sft_settings& settings);

/// Trains and writes the model, metrics.jsonl and checkpoints to output_dir.
/// math    L = −(1/N) Σ log π(token | what stands before it), over the N tokens of the step that are learned: the completions',
///         or all but a sequence's first
/// throws  error in one line
one_round_result train_sft(sft_settings const& settings);

}  // namespace kedge::llm
