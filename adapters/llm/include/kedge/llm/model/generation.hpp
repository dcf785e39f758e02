// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

namespace kedge::llm {

/// One sampled completion.
struct sampled_completion {
  std::size_t prompt = 0, sample = 0;  ///< which prompt, which of its samples; from 0
  std::vector<std::int32_t> tokens;    ///< the stop token included, if finished
  std::vector<double> logp;            ///< of each token, nats, untruncated and at temperature 1
  bool finished = false;               ///< ended by a stop token, not by length
};

/// A factor of the policy that is sampled from: next-token logits ∝ Σ_j weight_j log π_j.
struct mixture_term {
  double weight = 1;
  pack const* weights = nullptr;  ///< in the type of the computation: causal_lm::weights_for
};

/// Samples completions: all prompts in order, the samples of a prompt in a row.
/// A prompt is computed once for all its samples, and what all prompts have in common once for all. A finished sequence
/// leaves the batch and the next one enters. Keys and values lie in pages of 16 positions: nothing is padded.
/// Each sample has a random stream of its own, a function of (seed, prompt, sample), one draw a token: neither batch_size
/// nor the other prompts change a text, unless rounding flips a choice; nor does who draws it, by settings.numbers.
/// With several terms the weights have to sum to one, and logp is that of the normalised mixture.
/// on_progress gets the samples that are done and their total after every step; if it returns false, those done so far that
/// have no unfinished one before them are returned
/// throws  error if a prompt is empty, holds an unknown token, or leaves no position free; if a setting makes no sense
/// cost    2 N operations a token, prompt tokens included; keys and values of batch_size sequences
[[nodiscard]] std::vector<sampled_completion> generate(causal_lm const& model, std::span<mixture_term const> policy,
                                                       std::span<std::vector<std::int32_t> const> prompts,
                                                       std::size_t samples_per_prompt, sampling_settings const& settings,
                                                       std::function<bool(std::size_t done, std::size_t all)> const& on_progress = {});

/// A policy made ready for sampling: weights packed for the processor, threads, memory for keys and values. Worth keeping
/// where one policy is sampled several times. Model and weights have to outlive it, unchanged.
/// cost    a copy of the weights
class prepared_policy {
 public:
  /// throws  error if the weights of the terms do not sum to one
  prepared_policy(causal_lm const& model, std::span<mixture_term const> policy);
  prepared_policy(prepared_policy&&) noexcept;
  ~prepared_policy();

 private:
  friend void generate_each(prepared_policy& policy, std::span<std::vector<std::int32_t> const> prompts, std::size_t samples_per_prompt,
                            sampling_settings const& settings, std::function<bool(sampled_completion&&)> const& take,
                            std::function<bool(std::size_t done, std::size_t all)> const& on_progress);
  struct state;
  std::unique_ptr<state> state_;
};

/// generate(), each completion handed over as soon as it and all before it are done. `take` returns false to stop.
void generate_each(prepared_policy& policy, std::span<std::vector<std::int32_t> const> prompts, std::size_t samples_per_prompt,
                   sampling_settings const& settings, std::function<bool(sampled_completion&&)> const& take,
                   std::function<bool(std::size_t done, std::size_t all)> const& on_progress = {});

}  // namespace kedge::llm
