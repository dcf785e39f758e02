// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/scorer.hpp>

#include "../scale/process_group.hpp"
#include "session.hpp"
#include "trainer.hpp"

namespace kedge::llm {

/// A completion that was sampled from a policy and rewarded.
struct rollout {
  std::size_t prompt = 0;            ///< index among the prompts
  std::vector<std::int32_t> tokens;  ///< the stop token included, if finished
  std::vector<double> logp;          ///< of each token under the policy that was sampled, nats
  bool finished = false;
  double score = 0;
  std::string text;                  ///< without special tokens
};

/// A judge started, or a reward model opened, as the settings say, by those of a group that are to have one; the others get none.
/// throws  error if neither or both are named, or it can't be had
[[nodiscard]] scorer make_scorer(on_policy_settings const& settings, session const& policy, device_settings const& compute, process_group const& group = {});

/// Prompts, and completions of them: sampled from any point, rewarded, reproducible from a seed. Several processes draw and reward a share each,
/// and all of them have them all, whatever their number.
class rollout_source {
 public:
  /// throws  error naming file and line of a prompt that leaves no room for settings.max_new_tokens
  rollout_source(session const& s, causal_lm const& model, on_policy_settings const& settings, encoded_prompts prompts, scorer& judge,
                 std::uint64_t seed, process_group group = {});

  /// Completions of the prompts `which`, `samples` of each in a row. `stream` numbers the draw: another one, other samples.
  /// throws  in all processes: sampling_stopped if keep_going, asked between steps, returned false in one; judge_failed if a judge did
  [[nodiscard]] std::vector<rollout> sample(std::span<mixture_term const> policy, std::span<std::size_t const> which, std::size_t samples,
                                            std::uint64_t stream);

  /// Which prompts draw number `round` takes: `count` of them, pass after pass over all, each pass in an order of its own.
  [[nodiscard]] std::vector<std::size_t> take(std::size_t round, std::size_t count) const;

  [[nodiscard]] encoded_prompts const& prompts() const { return prompts_; }
  [[nodiscard]] std::size_t size() const { return prompts_.ids.size(); }
  [[nodiscard]] std::vector<std::int32_t> const& ids(std::size_t prompt) const { return prompts_.ids[prompt]; }
  [[nodiscard]] nlohmann::ordered_json const& prompt(std::size_t prompt) const { return prompts_.examples[prompt].prompt; }

  [[nodiscard]] process_group const& group() const { return group_; }

  std::function<bool()> keep_going = [] { return true; };
  double sample_seconds = 0, judge_seconds = 0;  ///< spent so far
  std::size_t sampled_tokens = 0;

 private:
  struct share;
  [[nodiscard]] share draw(std::span<mixture_term const> policy, std::span<std::size_t const> which, std::size_t samples, std::uint64_t stream);
  void reward_own(share& mine);
  void reward_all(std::vector<rollout>& rollouts);
  [[nodiscard]] std::vector<double> scores_of(std::span<rollout const> rollouts);
  [[nodiscard]] std::vector<rollout> of_all(share const& mine, std::span<std::size_t const> which, std::size_t samples) const;

  session const& session_;
  causal_lm const& model_;
  on_policy_settings const& settings_;
  encoded_prompts prompts_;
  std::vector<std::int32_t> stop_;
  logit_rules rules_;
  scorer& judge_;
  std::uint64_t seed_;
  process_group group_;
};

/// Those of the rollouts `which` that this process computes: all of a prompt's, so that they share it, where there are enough prompts. Their
/// order stays.
[[nodiscard]] std::vector<std::size_t> own_share(rollout_source const& prompts, std::span<rollout const> rollouts, std::span<std::size_t const> which);

/// Rollouts of the same prompts under the policy of the day, measured against those of the start: reward, KL, wins, length.
class policy_evaluator {
 public:
  policy_evaluator(rollout_source prompts, causal_lm const& model, pack start, std::size_t samples, std::size_t micro_batch_tokens);

  /// The first call measures the start itself, and keeps its rewards.
  /// throws  sampling_stopped, judge_failed
  [[nodiscard]] policy_evaluation measure(pack const& weights, std::size_t round);

  std::vector<double> start_scores;      ///< of the start's completions, for wins; saved with a checkpoint
  std::vector<rollout> last;             ///< what the last call sampled
  [[nodiscard]] rollout_source const& prompts() const { return prompts_; }
  void set_keep_going(std::function<bool()> ask) { prompts_.keep_going = std::move(ask); }

 private:
  rollout_source prompts_;
  causal_lm const& model_;
  pack start_;  // in the type of the computation
  std::size_t samples_, micro_batch_tokens_;
};

/// Log-probabilities of rollouts' tokens, one run of numbers in their order: rows of all completions. `order` lists rollouts of a
/// prompt together, so that they share it.
struct rollout_batch {
  ragged_batch batch;
  std::vector<std::size_t> which;  ///< rollouts in the order of the batch's sequences
};

/// Cuts rollouts into batches of at most `max_tokens` tokens, those of a prompt side by side.
[[nodiscard]] std::vector<rollout_batch> pack_rollouts(rollout_source const& prompts, std::span<rollout const> rollouts,
                                                       std::span<std::size_t const> which, std::size_t max_tokens, bool share_prefixes);

/// Where each rollout's tokens begin in a run of numbers, one a token; the last entry is their total.
[[nodiscard]] std::vector<std::size_t> token_offsets(std::span<rollout const> rollouts);

/// What the model says at every token of every rollout, in their order: log-probabilities, values. Several processes compute a share each.
[[nodiscard]] row_outputs rollout_rows(causal_lm const& model, pack const& weights, rollout_source const& prompts,
                                       std::span<rollout const> rollouts, std::size_t max_tokens);

}  // namespace kedge::llm
