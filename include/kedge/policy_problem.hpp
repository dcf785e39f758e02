// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include <kedge/loop.hpp>
#include <kedge/losses.hpp>
#include <kedge/optimizers.hpp>

namespace kedge {

namespace detail {

// What a batch of any type holds beside the pairs themselves; members that it doesn't have stay empty.
template <class Batch>
pair_batch with_columns(Batch const& batch, pair_log_probs_view logp, pair_log_probs_view reference) {
  pair_batch result{.logp = logp, .reference = reference};
  if constexpr (requires { std::span<double const>(batch.tokens_chosen); }) {
    result.tokens_chosen = batch.tokens_chosen;
    result.tokens_rejected = batch.tokens_rejected;
  }
  if constexpr (requires { std::span<double const>(batch.score_chosen); }) {
    result.score_chosen = batch.score_chosen;
    result.score_rejected = batch.score_rejected;
  }
  if constexpr (requires { std::span<double const>(batch.weights); }) result.weights = batch.weights;
  return result;
}

}  // namespace detail

/// A batch holds what a loss reads beside log-probabilities, as members of n doubles each: tokens_chosen and tokens_rejected,
/// score_chosen and score_rejected. A batch may hold weights too.
template <class Batch, class Loss>
concept batch_for = (!reads_tokens<Loss> || requires(Batch const& b) {
                      std::span<double const>(b.tokens_chosen);
                      std::span<double const>(b.tokens_rejected);
                    }) && (!reads_scores<Loss> || requires(Batch const& b) {
                      std::span<double const>(b.score_chosen);
                      std::span<double const>(b.score_rejected);
                    });

/// The problem that kedge::run solves, made of a policy, a loss and an optimizer: each round descends the preference loss of the
/// round's data, `steps` times or until the gradient's norm is at most `tolerance`, against the anchor's log-probabilities.
///   policy      forward(theta, batch) -> {pair_log_probs logp, pullback}                            concepts.hpp
///   loss        any preference loss; what it reads beside log-probabilities stands in the batch      batch_for
///   optimizer   sgd, heavy_ball, adam, or a type like them; begins anew each round
///   data        the batch of every round, or a callable that gives the batch of a state: data(state)
/// throws  std::invalid_argument for settings out of range or a batch that doesn't fit together
/// cost    one gradient the size of θ; a forward, a pullback and a step of the optimizer a step
template <class Policy, preference_loss_type Loss, class Optimizer, class Data>
struct policy_problem {
  Policy policy;
  Loss loss;
  Optimizer optimizer;
  Data data;
  std::size_t steps = 100;
  double tolerance = 0;

  template <class State>
  decltype(auto) source(State const& s) const {
    if constexpr (std::invocable<Data const&, State const&>)
      return std::invoke(data, s);
    else
      return std::as_const(data);
  }

  template <tensor P, class Batch>
    requires kedge::policy<Policy, P, Batch>
  [[nodiscard]] pair_log_probs score(P const& theta, Batch const& batch) const {
    return policy.forward(theta, batch).logp;
  }

  template <tensor P, batch_for<Loss> Batch>
    requires kedge::policy<Policy, P, Batch> && kedge::optimizer<Optimizer, P>
  [[nodiscard]] status solve(P& theta, Batch const& batch, pair_log_probs const& reference, std::size_t) const {
    detail::check_parameters(optimizer);
    detail::require(tolerance >= 0, "policy_problem: tolerance = ", tolerance, "; it must be at least 0");
    auto state = optimizer.init(std::as_const(theta));
    P gradient = deep_copy(theta);
    for (std::size_t step = 0; step < steps; ++step) {
      auto forward = policy.forward(std::as_const(theta), batch);
      auto const [value, cotangent] = preference_loss(loss, detail::with_columns(batch, forward.logp, reference));
      if (!std::isfinite(value)) return status::diverged;
      axpby(0, theta, 0, gradient);
      forward.pullback(cotangent, gradient);
      if (tolerance > 0 && dot(gradient, gradient) <= tolerance * tolerance) break;
      optimizer.step(state, theta, std::as_const(gradient));
    }
    return status::done;
  }
};

template <class Policy, class Loss, class Optimizer, class Data>
policy_problem(Policy, Loss, Optimizer, Data, std::size_t = 0, double = 0) -> policy_problem<Policy, Loss, Optimizer, Data>;

}  // namespace kedge
