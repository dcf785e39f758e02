// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <optional>    // optional
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/comparison.hpp>
#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/sampling.hpp>

namespace kedge::llm {

/// What `kedge compare` is asked.
struct compare_settings {
  generate_settings generate;   ///< its model is A; prompts and sampling are those of both. `logprobs` means nothing here
  std::filesystem::path other;  ///< B
  on_policy_settings rewards;   ///< judge, judge_timeout and reward_model; the rest means nothing here
  std::size_t examples = 5;     ///< prompts whose rewards differ most, to be shown
};

/// What a model answered to one prompt, and what the answers are worth.
struct answers {
  std::vector<std::string> texts;  ///< without special tokens
  std::vector<double> rewards;     ///< of each
  std::size_t tokens = 0;          ///< of all, stop tokens included
  std::size_t finished = 0;        ///< how many ended by a stop token
};

/// Answers of A and B to one prompt.
struct compared_prompt {
  nlohmann::ordered_json prompt;
  answers a, b;
  double log_ratio = 0;  ///< Σ log π_B − log π_A over the tokens of B's answers, nats
};

/// Answers of A and B.
struct comparison {
  std::vector<compared_prompt> prompts;
  std::string no_kl;  ///< why the log-ratios say nothing; empty: they do
};

/// Draws answers of both models to all prompts, one model in memory at a time, and has them rewarded. Both draw by the same seed, so that equal models
/// give equal answers. What isn't asked for is what each model's generation_config.json says; a line tells if these differ.
/// returns nothing if it was interrupted
/// throws  error as generate_completions, judge and reward_model
/// cost    num_samples completions of each prompt by each model; with a KL, B's completions once more through both
[[nodiscard]] std::optional<comparison> compare_models(compare_settings const& settings);

/// A figure of both models.
struct both {
  estimate a, b;
};

/// What a comparison says. Prompts are the sample: a prompt's answers are averaged first, errors are those of means over prompts.
struct comparison_figures {
  estimate win_rate;  ///< of B: how often its answer to a prompt has more reward than A's, all pairs of answers, ties half
  length_controlled controlled;           ///< the same at equal length, in characters
  both reward, length, tokens, finished;  ///< mean reward; characters; tokens with the stop token; share that ended by itself
  estimate gain;                          ///< reward of B − reward of A
  std::optional<estimate> kl_token;       ///< KL(B ‖ A) by B's answers, nats a token
  std::optional<estimate> kl;             ///< nats an answer
  std::vector<std::size_t> most;          ///< prompts by |gain|, the largest first
};

[[nodiscard]] comparison_figures figures_of(comparison const& compared);

/// {"a", "b", "prompts", "win_rate": {"value", "low", "high", "stderr"}, "length_controlled_win_rate", "length_slope", "reward": {"a", "b",
/// "difference"}, "length", "tokens", "finished", "kl_per_token", "kl", "examples": [{"prompt", "reward_a", "reward_b", "a", "b"}]}; a KL that there is
/// not is null. Of a prompt's answers an example shows those whose rewards are nearest to their means.
[[nodiscard]] nlohmann::ordered_json as_json(comparison const& compared, compare_settings const& settings);

/// The same as a table to be read, lines ended.
[[nodiscard]] std::string as_table(comparison const& compared, compare_settings const& settings);

}  // namespace kedge::llm
