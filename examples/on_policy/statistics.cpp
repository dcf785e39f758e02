// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "report.hpp"

namespace kedge_on_policy {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr double normal = 1.959964;

// The 97.5 % quantile of Student's t distribution.
double student(std::size_t degrees) {
  constexpr std::array quantiles{12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
                                 2.1199,  2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
  if (degrees <= quantiles.size()) return quantiles.at(degrees - 1);
  auto const n = static_cast<double>(degrees);  // first terms of the expansion around the normal quantile: right to 1e-4 from here on
  return normal + (std::pow(normal, 3) + normal) / (4 * n) + (5 * std::pow(normal, 5) + 16 * std::pow(normal, 3) + 3 * normal) / (96 * n * n);
}

}  // namespace

estimate estimate_of(std::vector<double> const& values) {
  auto const n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double const x : values) mean += x / n;
  for (double const x : values) squares += (x - mean) * (x - mean);
  if (values.size() < 2) return {mean, unknown};
  return {mean, student(values.size() - 1) * std::sqrt(squares / (n - 1) / n)};
}

std::string text_of(estimate const& e) {
  std::array<char, 64> out{};
  if (std::isnan(e.half_width))
    std::snprintf(out.data(), out.size(), "%.3f", e.mean);
  else
    std::snprintf(out.data(), out.size(), "%.3f ± %.3f", e.mean, e.half_width);
  return out.data();
}

std::string short_text(double x) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.3g", x);
  return out.data();
}

trace trace_of(json const& evaluations, fs::path const& folder) {
  trace t;
  for (json const& e : evaluations) {
    t.round.push_back(e.at("round").get<double>());
    t.reward.push_back(e.at("reward").get<double>());
    t.kl.push_back(e.at("kl").get<double>());
    t.length.push_back(e.at("length").get<double>());
  }
  t.start_stderr = evaluations.front().at("reward_stderr").get<double>();
  t.reward_stderr = evaluations.back().at("reward_stderr").get<double>();
  t.win_rate = evaluations.back().at("win_rate").get<double>();
  t.folder = folder;
  return t;
}

double reward_at(std::vector<double> const& rewards, std::vector<double> const& kls, double kl) {
  for (std::size_t i = 1; i < kls.size(); ++i)
    if (kls[i] >= kl) {
      double const step = kls[i] - kls[i - 1], share = step > 0 ? std::clamp((kl - kls[i - 1]) / step, 0.0, 1.0) : 1;
      return rewards[i - 1] + share * (rewards[i] - rewards[i - 1]);
    }
  return unknown;
}

estimate method::of(std::function<double(trace const&)> const& figure) const {
  std::vector<double> values;
  for (trace const& t : runs) values.push_back(figure(t));
  return estimate_of(values);
}

estimate difference(method const& a, method const& b, std::function<double(trace const&)> const& figure) {
  std::vector<double> values;
  for (std::size_t i = 0; i < a.runs.size(); ++i) values.push_back(figure(a.runs[i]) - figure(b.runs[i]));
  return estimate_of(values);
}

estimate reward_difference(method const& a, method const& b) {
  estimate e = difference(a, b, [](trace const& t) { return t.reward.back(); });
  if (a.runs.size() == 1) e.half_width = normal * std::hypot(a.runs[0].reward_stderr, b.runs[0].reward_stderr);
  return e;
}

estimate difference_at_equal_kl(method const& a, method const& b) {
  std::vector<double> values;
  for (std::size_t i = 0; i < a.runs.size(); ++i) {
    auto const largest = [](trace const& t) { return *std::max_element(t.kl.begin(), t.kl.end()); };
    double const kl = std::min(largest(a.runs[i]), largest(b.runs[i]));
    auto const at = [&](trace const& t) { return reward_at(t.reward, t.kl, kl); };
    values.push_back(at(a.runs[i]) - at(b.runs[i]));
  }
  estimate e = estimate_of(values);
  if (a.runs.size() == 1) e.half_width = normal * std::hypot(a.runs[0].reward_stderr, b.runs[0].reward_stderr);
  return e;
}

claim above(std::string what, estimate const& d, std::string unit) {
  char const* const verdict = std::isnan(d.half_width) ? (d.mean > 0 ? "seen" : "not seen") : d.low() > 0 ? "holds" : d.high() < 0 ? "opposite" : "does not show";
  return {std::move(what), verdict, "difference " + text_of(d) + unit + (std::isnan(d.half_width) ? ", one seed: no interval" : " (95 % interval)")};
}

claim equal(std::string what, estimate const& d, std::string unit) {
  bool const within = d.low() <= 0 && d.high() >= 0;
  std::string because = "difference " + text_of(d) + unit + " (95 % interval)";
  if (within) because += "; one larger than " + short_text(std::max(std::abs(d.low()), std::abs(d.high()))) + " would have shown";
  return {std::move(what), within ? "no difference is seen" : d.low() > 0 ? "does not show: the first is higher" : "does not show: the first is lower", because};
}

claim all_rise(std::vector<method> const& methods) {
  double least = std::numeric_limits<double>::infinity();
  std::string whose;
  for (method const& m : methods) {
    estimate const rise = m.of([](trace const& t) { return t.rise(); });
    auto const n = static_cast<double>(m.runs.size());
    double squares = 0;
    for (trace const& t : m.runs) squares += t.start_stderr * t.start_stderr + t.reward_stderr * t.reward_stderr;
    double error = std::sqrt(squares) / n;
    if (m.runs.size() > 1) error = std::max(error, rise.half_width / student(m.runs.size() - 1));
    if (double const ratio = rise.mean / error; ratio < least) least = ratio, whose = m.name;
  }
  return {"Mean reward rises by more than three standard errors with every method", least > 3 ? "holds" : "does not show",
          "smallest rise: " + short_text(least) + " standard errors, " + whose};
}

}  // namespace kedge_on_policy
