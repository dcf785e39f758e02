// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../drawing/plot.hpp"
#include "experiment.hpp"

namespace kedge_on_policy {

/// A mean with its 95 % confidence interval.
struct estimate {
  double mean = 0, half_width = 0;
  [[nodiscard]] double low() const { return mean - half_width; }
  [[nodiscard]] double high() const { return mean + half_width; }
};

/// Of independent values: mean ± t s/√n, Student's t with n − 1 degrees of freedom; of one value, without a width.
[[nodiscard]] estimate estimate_of(std::vector<double> const& values);

/// "1.07 ± 0.12", or "1.07" where the width is not known.
[[nodiscard]] std::string text_of(estimate const& e);

/// A number with three digits.
[[nodiscard]] std::string short_text(double x);

/// What a run did at its evaluations.
struct trace {
  std::vector<double> round, reward, kl, length;
  double start_stderr = 0, reward_stderr = 0;  ///< over prompts, of the first and last reward
  double win_rate = 0;
  double kl_at_start = 0;  ///< to the reference
  fs::path folder;
  [[nodiscard]] double rise() const { return reward.back() - reward.front(); }
};

/// Reward where a run passed a KL for the first time, between evaluations linearly; NaN if it never did.   rewards, kls: at each evaluation
[[nodiscard]] double reward_at(std::vector<double> const& rewards, std::vector<double> const& kls, double kl);

/// A method, run with several seeds: entry i of every method has the same seed and base.
struct method {
  std::string name;
  std::vector<trace> runs;
  double effective_beta = 0;  ///< 0: none
  bool drawn = true;          ///< in the learning curves
  [[nodiscard]] estimate of(std::function<double(trace const&)> const& figure) const;
  [[nodiscard]] double mean(std::function<double(trace const&)> const& figure) const { return of(figure).mean; }
};

[[nodiscard]] trace trace_of(json const& evaluations, fs::path const& folder);

/// The mean of a − b by seed; with one seed, from the standard errors of the two rewards.
[[nodiscard]] estimate reward_difference(method const& a, method const& b);

/// The same of any figure; with one seed, without a width.
[[nodiscard]] estimate difference(method const& a, method const& b, std::function<double(trace const&)> const& figure);

/// Reward of a minus reward of b where both have the KL at which the first of the two ended.
[[nodiscard]] estimate difference_at_equal_kl(method const& a, method const& b);

/// A claim and what became of it.
struct claim {
  std::string what, verdict, because;
};

/// "a is above b": holds if the interval of a − b lies above 0, opposite if below, else does not show.
[[nodiscard]] claim above(std::string what, estimate const& difference, std::string unit = "");
/// "a equals b": no difference is seen if 0 lies in the interval.
[[nodiscard]] claim equal(std::string what, estimate const& difference, std::string unit = "");
/// Every method's mean reward rose by more than three standard errors (of a run's first and last reward, over prompts; with
/// several seeds also of the rises themselves).
[[nodiscard]] claim all_rise(std::vector<method> const& methods);

/// Pictures with a heading, and what to see in them.
struct section {
  std::string heading, text;
  std::vector<std::string> pictures;  ///< SVG
};

struct findings {
  std::string title, introduction, how_chosen;
  world const* where;
  std::vector<method> methods;
  std::vector<claim> claims;
  std::vector<section> sections{};  ///< beside the curves that every report has
  std::string horizontal = "round";
  double seconds = 0;
};

/// Writes report.html and summary.json and prints the table and the claims.
void write_report(findings const& f);

}  // namespace kedge_on_policy
