// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward_plane.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <kedge/soup.hpp>

#include <kedge/llm/files/atomic.hpp>
#include <kedge/llm/files/error.hpp>

#include "reference_soup.hpp"
#include "rollout.hpp"
#include "run_host.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// All points with steps of 1/n, the first model alone first: it is what the others are measured against.
std::vector<std::vector<double>> grid(std::size_t models, std::size_t n) {
  std::vector<std::vector<double>> points;
  auto const steps = static_cast<double>(n);
  for (std::size_t j = 0; j <= n; ++j)
    for (std::size_t k = 0; k <= (models == 3 ? n - j : 0); ++k) {
      double const second = static_cast<double>(j) / steps, third = static_cast<double>(k) / steps;
      points.push_back(models == 3 ? std::vector<double>{1 - second - third, second, third} : std::vector<double>{1 - second, second});
    }
  return points;
}

struct place {
  double x, y;
};

// Corners of the triangle for three models; a line whose height is the reward for two.
place place_of(plane_point const& p, double low, double high) {
  constexpr double left = 70, width = 420, top = 40, height = 300;
  double const share = high > low ? (p.evaluation.reward - low) / (high - low) : 0.5;
  if (p.weights.size() == 2) return {left + width * p.weights[1], top + height * (1 - share)};
  return {left + width * (p.weights[1] + p.weights[2] / 2), top + height * (1 - p.weights[2])};
}

std::string picture(std::vector<plane_point> const& points, std::vector<std::filesystem::path> const& models) {
  auto const [worst, best] = std::minmax_element(points.begin(), points.end(), [](auto const& a, auto const& b) { return a.evaluation.reward < b.evaluation.reward; });
  double const low = worst->evaluation.reward, high = best->evaluation.reward;
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 560 400\" font-family=\"sans-serif\" font-size=\"12\">\n";
  auto text = [&](double x, double y, std::string const& words) {
    svg += "<text x=\"" + short_number(x) + "\" y=\"" + short_number(y) + "\" text-anchor=\"middle\">" + words + "</text>\n";
  };
  text(280, 20, "mean reward of soups before training: " + short_number(low) + " (light) to " + short_number(high) + " (dark)");
  for (plane_point const& p : points) {
    place const at = place_of(p, low, high);
    double const share = high > low ? (p.evaluation.reward - low) / (high - low) : 0.5;
    svg += "<circle cx=\"" + short_number(at.x) + "\" cy=\"" + short_number(at.y) + "\" r=\"14\" fill=\"#1f6f8b\" fill-opacity=\"" +
           short_number(0.15 + 0.85 * share) + "\"><title>weights";
    for (double const w : p.weights) svg += ' ' + short_number(w);
    svg += ": " + short_number(p.evaluation.reward) + " ± " + short_number(p.evaluation.reward_stderr) + "</title></circle>\n";
    text(at.x, at.y + 28, short_number(p.evaluation.reward));
  }
  constexpr place corners[] = {{70, 385}, {490, 385}, {280, 34}};
  for (std::size_t j = 0; j < models.size(); ++j) text(corners[j].x, corners[j].y, models[j].filename().string());
  return svg + "</svg>\n";
}

}  // namespace

std::vector<plane_point> measure_reward_plane(ppo_settings const& settings, std::size_t resolution) {
  std::size_t const count = settings.reference.models.size();
  if (count < 2 || count > 3) throw error("--reward_plane: a line or a triangle needs two or three models, not " + std::to_string(count));
  if (resolution == 0) throw error("--reward_plane must be at least 1");
  session const policy(settings.model, settings.compute);
  causal_lm const model(policy.config, policy.compute);
  std::vector<pack> const members = load_members(settings.reference.models, policy);
  scorer judge = make_scorer(settings.sampling, policy, settings.compute);
  bool const held_out = !settings.sampling.eval_prompts.empty();
  rollout_source prompts(policy, model, settings.sampling,
                         policy.read_prompts(held_out ? settings.sampling.eval_prompts : settings.sampling.prompts,
                                             held_out ? settings.max_eval_samples : settings.max_train_samples, settings.skip_bad_lines),
                         judge, settings.seed + 1);
  policy_evaluator evaluator(std::move(prompts), model, model.weights_for(kedge::deep_copy(members.front())), settings.sampling.eval_samples,
                             settings.compute.micro_batch_tokens);
  std::vector<plane_point> points;
  json lines = json::array();
  for (std::vector<double> const& weights : grid(count, resolution)) {
    pack const soup = kedge::affine_combination<pack>(weights, std::span<pack const>(members));
    points.push_back({weights, evaluator.measure(model.weights_for(soup), 0)});
    json line = as_json(points.back().evaluation);
    line["weights"] = weights;
    lines.push_back(line);
    if (!settings.quiet)
      std::fprintf(stderr, "soup %zu: reward %.4f ± %.4f, KL to the first model %.3f\n", points.size(), points.back().evaluation.reward,
                   points.back().evaluation.reward_stderr, points.back().evaluation.kl);
  }
  std::filesystem::create_directories(settings.output_dir);
  write_file_atomically(settings.output_dir / "reward_plane.json", lines.dump(1) + "\n");
  write_file_atomically(settings.output_dir / "reward_plane.svg", picture(points, settings.reference.models));
  return points;
}

}  // namespace kedge::llm
