// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <utility>
#include <vector>

#include <kedge/lab/tabular.hpp>
#include <kedge/loop.hpp>
#include <kedge/losses/pair.hpp>

namespace kedge::lab {

/// Solves A x = b for symmetric positive definite A (row-major, n × n) by Cholesky. False if A is not.
[[nodiscard]] inline bool solve_positive(vector a, vector& b) {
  std::size_t const n = b.size();
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t k = 0; k < j; ++k)
      for (std::size_t i = j; i < n; ++i) a[i * n + j] -= a[i * n + k] * a[j * n + k];
    if (!(a[j * n + j] > 0)) return false;
    double const root = std::sqrt(a[j * n + j]);
    for (std::size_t i = j; i < n; ++i) a[i * n + j] /= root;
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return true;
}

/// How often, or with which weight, arm i was preferred to arm j: wins[i * K + j].
struct comparison_counts {
  std::size_t arms;
  vector wins;

  explicit comparison_counts(std::size_t k) : arms(k), wins(k * k, 0.0) {}
  [[nodiscard]] double operator()(std::size_t i, std::size_t j) const { return wins[i * arms + j]; }
  double& operator()(std::size_t i, std::size_t j) { return wins[i * arms + j]; }
  [[nodiscard]] double total() const {
    double sum = 0;
    for (double const count : wins) sum += count;
    return sum;
  }
};

namespace newton {

// H⁻¹ g of the objective of fit_logits at h, empty where H is not positive definite.
template <class AtMargin>
vector step_of(AtMargin const& at_margin, comparison_counts const& counts, vector const& h, double ridge) {
  std::size_t const n = counts.arms;
  double const total = counts.total();
  vector gradient(n, 0.0), hessian(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    gradient[i] += ridge * h[i];
    hessian[i * n + i] += ridge;
    for (std::size_t j = 0; j < n; ++j) {
      if (counts(i, j) <= 0) continue;
      double const weight = counts(i, j) / total, margin = h[i] - h[j], d = 1e-4 * (1 + std::abs(margin));
      double const slope = weight * at_margin(margin).chosen;
      double const curvature = weight * (at_margin(margin + d).chosen - at_margin(margin - d).chosen) / (2 * d);
      gradient[i] += slope;
      gradient[j] -= slope;
      hessian[i * n + i] += curvature;
      hessian[j * n + j] += curvature;
      hessian[i * n + j] -= curvature;
      hessian[j * n + i] -= curvature;
    }
  }
  if (ridge == 0) {
    std::size_t pinned = 0;
    for (std::size_t i = 1; i < n; ++i)
      if (hessian[i * n + i] > hessian[pinned * n + pinned]) pinned = i;
    for (std::size_t i = 0; i < n; ++i) hessian[pinned * n + i] = hessian[i * n + pinned] = i == pinned ? 1 : 0;
    gradient[pinned] = 0;
  }
  return solve_positive(hessian, gradient) ? gradient : vector{};
}

}  // namespace newton

/// Minimises Σ_ij w_ij ℓ(pair i over j)/Σ w + ridge/2 ‖θ − anchor‖² over tabular logits by damped Newton steps. ℓ is any
/// margin loss of the library; its second derivative is a difference of its slopes, which moves no fixed point. No margin
/// loss sees a common shift of θ − anchor: without a ridge the arm with most weight stays put in the linear solve, which keeps
/// arms of vanishing weight accurate, and the mean of θ − anchor is 0 in the end.
/// returns status::diverged where steps don't settle
template <pair_loss Loss>
  requires(Loss::shift_invariant && Loss::needs_reference)
[[nodiscard]] status fit_logits(Loss const& loss, comparison_counts const& counts, vector const& anchor, double ridge,
                                vector& theta) {
  std::size_t const n = counts.arms;
  double const total = counts.total();
  auto at_margin = [&loss](double h) { return loss(pair_terms{.logp_chosen = h}); };
  vector h(n);
  for (std::size_t i = 0; i < n; ++i) h[i] = theta[i] - anchor[i];
  h = centered(h);
  auto objective = [&](vector const& x) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      sum += ridge / 2 * x[i] * x[i];
      for (std::size_t j = 0; j < n; ++j)
        if (counts(i, j) > 0) sum += counts(i, j) / total * at_margin(x[i] - x[j]).value;
    }
    return sum;
  };
  status ended = status::diverged;
  for (int iteration = 0; iteration < 100; ++iteration) {
    vector step = newton::step_of(at_margin, counts, h, ridge);
    if (step.empty()) break;
    step = centered(step);
    double largest = 0, size = 1;
    for (std::size_t i = 0; i < n; ++i) {
      largest = std::max(largest, std::abs(step[i]));
      size = std::max(size, std::abs(h[i]));
    }
    double const before = objective(h);
    vector next(n);
    for (double length = 1; length > 1e-10; length /= 2) {
      for (std::size_t i = 0; i < n; ++i) next[i] = h[i] - length * step[i];
      if (objective(next) <= before + 1e-13 * std::abs(before)) break;
    }
    h = centered(next);
    if (largest < 1e-12 * size) {
      ended = status::done;
      break;
    }
  }
  for (std::size_t i = 0; i < n; ++i) theta[i] = anchor[i] + h[i];
  return ended;
}

/// Rounds in which a margin loss is fitted to comparisons drawn by `collect(anchor logits, round)` -> comparison_counts:
/// exact population weights, or samples. Run it with any schedule: parameters and reference are logits of one context.
template <pair_loss Loss, class Collect>
class fitted_bandit {
 public:
  fitted_bandit(Loss loss, Collect collect, double ridge = 0)
      : loss_(loss), collect_(std::move(collect)), ridge_(ridge), data_(1) {}

  template <class State>
  comparison_counts const& source(State const& s) {
    if (drawn_ != s.round + 1) {
      data_ = collect_(s.theta, s.round);
      drawn_ = s.round + 1;
    }
    return data_;
  }
  [[nodiscard]] vector score(vector const& logits, comparison_counts const&) const { return log_softmax(logits); }
  status solve(vector& logits, comparison_counts const& data, vector const& anchor, std::size_t) const {
    return fit_logits(loss_, data, anchor, ridge_, logits);
  }

 private:
  Loss loss_;
  Collect collect_;
  double ridge_;
  comparison_counts data_;
  std::size_t drawn_ = 0;  // round + 1 of data_
};

/// Exact weights of pairs drawn twice from `policy` and judged by `wins(i, j)`: π_i π_j P(i ≻ j), i ≠ j.
template <class Wins>
[[nodiscard]] comparison_counts population_comparisons(vector const& policy, Wins const& wins) {
  comparison_counts counts(policy.size());
  for (std::size_t i = 0; i < policy.size(); ++i)
    for (std::size_t j = 0; j < policy.size(); ++j)
      if (i != j) counts(i, j) = policy[i] * policy[j] * wins(i, j);
  return counts;
}

/// N pairs drawn twice from `policy`, judged at random with probability wins(i, j); pairs of an arm with itself say nothing.
template <class Wins, class Generator>
[[nodiscard]] comparison_counts sampled_comparisons(vector const& policy, Wins const& wins, std::size_t pairs,
                                                    Generator& generator) {
  comparison_counts counts(policy.size());
  std::discrete_distribution<std::size_t> arm(policy.begin(), policy.end());
  std::uniform_real_distribution<double> uniform(0, 1);
  for (std::size_t n = 0; n < pairs; ++n) {
    std::size_t const i = arm(generator), j = arm(generator);
    bool const first = uniform(generator) < wins(i, j);
    if (i != j) counts(first ? i : j, first ? j : i) += 1;
  }
  return counts;
}

}  // namespace kedge::lab
