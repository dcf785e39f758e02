// SPDX-License-Identifier: Apache-2.0
#include "planes.hpp"

#include <algorithm>
#include <cmath>

namespace kedge_on_policy {

using kedge::llm::plane_point;
using kedge::llm::ppo_settings;

namespace {

// Mean reward of the soups in which `members` models have equal weights and the others none; entry by seed.
std::vector<double> rewards_of_averages(planes const& all, std::size_t members) {
  std::vector<double> rewards;
  for (auto const& own : all) {
    double sum = 0, count = 0;
    for (plane_point const& p : own) {
      double const even = 1 / static_cast<double>(members);
      auto const among = [&](double weight) { return weight == 0 || std::abs(weight - even) < 1e-9; };
      if (!std::all_of(p.weights.begin(), p.weights.end(), among)) continue;
      sum += p.evaluation.reward;
      ++count;
    }
    rewards.push_back(sum / count);
  }
  return rewards;
}

}  // namespace

job soups_before(world const& w, std::vector<fs::path> const& models, std::size_t resolution, std::uint64_t seed) {
  ppo_settings s;
  w.common(s, w.folder("plane", seed), seed);
  s.quiet = true;
  w.sampling(s.sampling);
  s.sampling.eval_samples *= 4;  // soups differ by less than trained models do
  s.reference = {kedge::llm::reference_choice::kind::soup, models, {}};
  s.model = models.front();
  json const described = {{"models", models.size()}, {"resolution", resolution}, {"eval_samples", s.sampling.eval_samples}, {"judge", s.sampling.judge}};
  return {s.output_dir, described, [s, resolution] {
            json points = json::array();
            for (plane_point const& p : kedge::llm::measure_reward_plane(s, resolution))
              points.push_back({{"weights", p.weights}, {"reward", p.evaluation.reward}, {"reward_stderr", p.evaluation.reward_stderr}});
            return points;
          }};
}

planes planes_of(std::vector<json> const& figures) {
  planes all;
  for (json const& points : figures) {
    std::vector<plane_point>& own = all.emplace_back();
    for (json const& p : points) {
      own.push_back({p.at("weights").get<std::vector<double>>(), {}});
      own.back().evaluation.reward = p.at("reward").get<double>();
      own.back().evaluation.reward_stderr = p.at("reward_stderr").get<double>();
    }
  }
  return all;
}

std::vector<plane_point> mean_plane(planes const& all) {
  std::vector<plane_point> mean = all.front();
  auto const n = static_cast<double>(all.size());
  for (std::size_t i = 0; i < mean.size() && all.size() > 1; ++i) {
    double sum = 0, squares = 0;
    for (auto const& own : all) sum += own[i].evaluation.reward / n;
    for (auto const& own : all) squares += (own[i].evaluation.reward - sum) * (own[i].evaluation.reward - sum);
    mean[i].evaluation.reward = sum;
    mean[i].evaluation.reward_stderr = std::sqrt(squares / (n - 1) / n);
  }
  return mean;
}

kedge_drawing::plot line_plot(planes const& all) {
  kedge_drawing::plot p{.title = "Reward of soups of two models before training", .x_label = "weight of the second model", .y_label = "reward", .log_x = false, .log_y = false};
  auto const add = [&](std::vector<plane_point> const& points, std::string const& name, kedge_drawing::line style) {
    kedge_drawing::curve c{name, {}, style, {}};
    for (plane_point const& point : points)
      if (point.weights.size() == 2 || point.weights[2] == 0) {
        c.x.push_back(point.weights[1]);
        c.y.push_back(point.evaluation.reward);
      }
    p.curves.push_back(c);
  };
  add(mean_plane(all), "soups of the two fine-tuned models", kedge_drawing::line::measured);
  if (all.size() > 1)
    for (auto const& own : all) add(own, "", kedge_drawing::line::thin);
  return p;
}

estimate difference_of_averages(planes const& all, std::size_t more, std::size_t fewer) {
  std::vector<double> values = rewards_of_averages(all, more);
  std::vector<double> const base = rewards_of_averages(all, fewer);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] -= base[i];
  return estimate_of(values);
}

}  // namespace kedge_on_policy
