// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <kedge/llm/text/tokenizer.hpp>
#include <kedge/llm/train/scorer.hpp>
#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// A model that rewards completions: LlamaForSequenceClassification with one label, as `kedge reward` and TRL write it.
class reward_model {
 public:
  /// throws  error if the folder holds no reward model
  reward_model(std::filesystem::path const& folder, device_settings const& device);
  reward_model(reward_model&&) noexcept;
  reward_model& operator=(reward_model&&) noexcept;
  ~reward_model();

  /// The rewards of completions, in order. Prompt and completion become tokens as in training: messages through the model's chat
  /// template with the completion as the assistant's turn, texts with the end-of-sequence token behind them.
  /// cost    one forward pass; completions in a row that share a prompt share its computation
  [[nodiscard]] std::vector<double> score(std::span<judged const> completions) const;

  /// The rewards of sequences of token ids as they stand, read at the last one that is not the padding token.
  [[nodiscard]] std::vector<double> score_tokens(std::span<std::vector<std::int32_t> const> sequences) const;

  /// throws  error naming the first token that differs, unless both tokenizers have the same ones; `whose` is the other model
  void require_same_tokenizer(tokenizer const& other, std::string const& whose) const;

 private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

}  // namespace kedge::llm
