// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// What is minimised over the tokens that are learned: −log p, or p times that, where the factor p is a constant to the gradient (dynamic
/// fine-tuning, Wu et al. 2025). TRL's other name of the first says that the head is computed in chunks.
enum class sft_loss { nll, dft };
constexpr auto names(sft_loss) {
  return std::array{named{sft_loss::nll, "nll"}, named{sft_loss::nll, "chunked_nll"}, named{sft_loss::dft, "dft"}};
}

/// Supervised fine-tuning. Names, meanings and defaults are those of TRL's SFTConfig where it has them.
struct sft_settings : run_settings {
  sft_settings() { learning_rate = 2e-5; }

  std::filesystem::path config_name;   ///< folder with config and tokenizer of a model to start from random numbers, in place of `model`
  std::filesystem::path dataset;       ///< JSONL: prompt and completion, or messages, or text
  std::filesystem::path eval_dataset;  ///< evaluated before and after; empty: not
  std::string eos_token;               ///< token of the tokenizer that ends texts, in place of its own; empty: its own
  std::optional<double> router_aux_loss_coef;  ///< as training_settings has it
  std::optional<bool> completion_only_loss;  ///< unset: true where examples have a prompt
  bool assistant_only_loss = false;          ///< of conversations, learn the assistant's turns alone
  sft_loss loss_type = sft_loss::nll;
  double label_smoothing_factor = 0;   ///< ε in [0, 1): share of each token's label that all tokens of the vocabulary share
};

void declare(settings_list& list, sft_settings& settings);

/// Trains and writes the model, metrics.jsonl and checkpoints to output_dir.
/// math    L = −(1/N) Σ log π(token | what stands before it), over the N tokens of the step that are learned: the completions',
///         or all but a sequence's first; smoothed, (1 − ε) log π(token) + ε mean_v log π(v) in place of log π(token)
/// throws  error in one line
one_round_result train_sft(sft_settings const& settings);

}  // namespace kedge::llm
