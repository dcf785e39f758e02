// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <kedge/detail/check.hpp>
#include <kedge/lab/statistics.hpp>

// Claims and their verdicts. An exact claim compares two numbers. A stochastic one is about a mean over independent seeds: it holds only
// where a test rejects its contrary, at the level of the whole report (Holm).

namespace kedge::lab {

/// not_shown: the seeds allow it and its contrary. premise_fails: the given options are outside what the claim rests on, so that it says
/// nothing here.
enum class verdict { holds, fails, not_shown, premise_fails };

[[nodiscard]] inline std::string name_of(verdict v) {
  switch (v) {
    case verdict::holds:
      return "holds";
    case verdict::fails:
      return "fails";
    case verdict::not_shown:
      return "does not show";
    case verdict::premise_fails:
      break;
  }
  return "premise fails";
}

struct claim {
  std::string what;
  std::string relation;       ///< "=" (within `margin`), "<" or ">"
  double expected, measured;  ///< measured: of a stochastic claim the mean
  double margin = 0;
  std::string missing{};  ///< the premise that the options don't fulfil
  verdict judged = verdict::holds;
  // Of a stochastic claim:
  std::size_t seeds = 0;
  double low = std::numeric_limits<double>::quiet_NaN(), high = low;  ///< 95 % interval of the mean
  double p = low, adjusted = low;                                     ///< p-value of the contrary, alone and among all claims
};

inline constexpr double level_of_claims = 0.05;

/// The claims of one outcome, in order.
class claims {
 public:
  std::vector<claim> list{};

  /// The claims that follow rest on this: where it isn't so, they are said to have no premise. An empty text ends it.
  void given(bool fulfilled, std::string premise) { missing_ = fulfilled ? std::string{} : std::move(premise); }
  void given_all() { missing_.clear(); }

  // Exact claims.
  void near(std::string what, double expected, double measured, double tolerance) {
    exact({std::move(what), "=", expected, measured, tolerance}, std::abs(measured - expected) <= tolerance);
  }
  void below(std::string what, double bound, double measured) { exact({std::move(what), "<", bound, measured}, measured < bound); }
  void above(std::string what, double bound, double measured) { exact({std::move(what), ">", bound, measured}, measured > bound); }

  // Claims about the mean of independent seeds; `margin` is declared beforehand.
  void mean_above(std::string what, double bound, std::span<double const> seeds) {
    stochastic({std::move(what), ">", bound, 0}, seeds, p_above(seeds, bound));
  }
  void mean_below(std::string what, double bound, std::span<double const> seeds) {
    stochastic({std::move(what), "<", bound, 0}, seeds, p_below(seeds, bound));
  }
  /// Equivalence: farther from `expected` than `margin` is what the seeds must rule out.
  void mean_near(std::string what, double expected, double margin, std::span<double const> seeds) {
    stochastic({std::move(what), "=", expected, 0, margin}, seeds, p_equivalent(seeds, expected, margin));
  }

  [[nodiscard]] bool holds() const {
    return std::all_of(list.begin(), list.end(), [](claim const& c) { return c.judged == verdict::holds; });
  }
  [[nodiscard]] verdict worst() const {
    verdict found = verdict::holds;
    for (verdict const v : {verdict::premise_fails, verdict::not_shown, verdict::fails})
      for (claim const& c : list)
        if (c.judged == v) found = v;
    return found;
  }

 private:
  void exact(claim c, bool holds) {
    c.missing = missing_;
    c.judged = !missing_.empty() ? verdict::premise_fails : holds ? verdict::holds : verdict::fails;
    list.push_back(std::move(c));
  }
  void stochastic(claim c, std::span<double const> seeds, double p) {
    auto const [mean, low, high] = mean_interval(seeds);
    c.measured = mean;
    c.low = low;
    c.high = high;
    c.p = c.adjusted = p;
    c.seeds = seeds.size();
    c.missing = missing_;
    list.push_back(std::move(c));
  }

  std::string missing_{};
};

/// Judges the stochastic claims of all outcomes of a report together, at level_of_claims by Holm.
inline void judge(std::span<claims* const> all) {
  std::vector<claim*> tested;
  std::vector<double> p;
  for (claims* const outcome : all)
    for (claim& c : outcome->list) {
      if (c.seeds == 0) continue;
      if (!c.missing.empty()) {
        c.judged = verdict::premise_fails;
        continue;
      }
      tested.push_back(&c);
      p.push_back(std::isnan(c.p) ? 1 : c.p);
    }
  std::vector<double> const adjusted = holm_adjusted(p);
  for (std::size_t i = 0; i < tested.size(); ++i) {
    claim& c = *tested[i];
    c.adjusted = adjusted[i];
    bool const contrary = c.relation == ">"   ? c.high < c.expected
                          : c.relation == "<" ? c.low > c.expected
                                              : c.low > c.expected + c.margin || c.high < c.expected - c.margin;
    c.judged = c.adjusted < level_of_claims ? verdict::holds : contrary ? verdict::fails : verdict::not_shown;
  }
}

}  // namespace kedge::lab
