// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <kedge/detail/order.hpp>
#include <kedge/soup.hpp>

namespace kedge {

/// One point tried by the greedy rule.
struct greedy_trial {
  std::size_t point;
  double own_score;
  double score;  ///< of the mean with it; its own for the first
  bool taken;
};

namespace detail {

struct tell_nobody {
  void operator()(greedy_trial const&) const {}
};

}  // namespace detail

/// The greedy rule: from the best point on, in order of their own scores (ties: the earlier first), take a point if the mean with it
/// scores at least as high as the mean without.                                                  Wortsman et al. 2022, recipe 1
/// score_of(points)   score of the mean of these points, the newest last
/// tell(trial)        called after each trial
/// cost    n − 1 calls of score_of
/// throws  std::invalid_argument if there are no points
template <class Score, class Tell = detail::tell_nobody>
  requires std::is_invocable_r_v<double, Score&, std::vector<std::size_t> const&>
[[nodiscard]] std::vector<greedy_trial> greedy_selection(std::span<double const> own_scores, Score&& score_of, Tell&& tell = {}) {
  detail::require(!own_scores.empty(), "greedy soup: no points; pass at least one");
  std::vector<double> descending;
  for (double const score : own_scores) descending.push_back(-score);
  std::vector<greedy_trial> trials;
  std::vector<std::size_t> taken;
  double best = 0;
  for (std::size_t const point : detail::ascending_order(descending)) {
    greedy_trial trial{point, own_scores[point], own_scores[point], true};
    taken.push_back(point);
    if (taken.size() > 1) {
      trial.score = score_of(std::as_const(taken));
      trial.taken = trial.score >= best;
    }
    if (trial.taken)
      best = trial.score;
    else
      taken.pop_back();
    tell(std::as_const(trial));
    trials.push_back(trial);
  }
  return trials;
}

/// What greedy_soup did: which points it took, in order, and the score of their mean.
template <tensor T>
struct greedy_result {
  T soup;
  std::vector<std::size_t> taken;
  double score;
};

/// Greedy soup of tensors by greedy_selection; `score` is higher for better points.
/// cost    n scores of points, n − 1 of means; two copies of a point
/// throws  std::invalid_argument if there are no points
template <tensor T, class Score>
  requires std::is_invocable_r_v<double, Score&, T const&>
[[nodiscard]] greedy_result<T> greedy_soup(std::span<T const> points, Score&& score) {
  auto mean_of = [&](std::vector<std::size_t> const& taken) {
    std::vector<T const*> addresses;
    for (std::size_t const i : taken) addresses.push_back(&points[i]);
    std::vector<double> const weights(taken.size(), 1 / static_cast<double>(taken.size()));
    return affine_combination<T>(weights, std::span<T const* const>(addresses));
  };
  std::vector<double> own;
  for (T const& point : points) own.push_back(score(point));
  auto const trials = greedy_selection(own, [&](std::vector<std::size_t> const& taken) { return score(mean_of(taken)); });
  std::vector<std::size_t> taken;
  double best = 0;
  for (greedy_trial const& trial : trials) {
    if (!trial.taken) continue;
    taken.push_back(trial.point);
    best = trial.score;
  }
  T soup = mean_of(taken);
  return {std::move(soup), std::move(taken), best};
}

}  // namespace kedge
