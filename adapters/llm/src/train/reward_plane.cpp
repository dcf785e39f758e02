// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward_plane.hpp>

#include <cstdio>

#include <kedge/soup.hpp>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>

#include "reference_soup.hpp"
#include "rollout.hpp"
#include "trainer.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// All points with steps of 1/n, the first model alone first: it is what the others are measured against.
std::vector<std::vector<double>> grid(std::size_t models, std::size_t n) {
  std::vector<std::vector<double>> points;
  auto const share = [&](std::size_t steps) { return static_cast<double>(steps) / static_cast<double>(n); };
  for (std::size_t j = 0; j <= n; ++j)
    for (std::size_t k = 0; k <= (models == 3 ? n - j : 0); ++k) {
      points.push_back({share(n - j - k), share(j)});
      if (models == 3) points.back().push_back(share(k));
    }
  return points;
}

}  // namespace

std::vector<plane_point> measure_reward_plane(ppo_settings const& settings, std::size_t resolution) {
  std::size_t const count = settings.reference.models.size();
  if (count < 2 || count > 3) throw error("--reward_plane: a line or a triangle needs two or three models, not " + std::to_string(count));
  if (resolution == 0) throw error("--reward_plane must be at least 1");
  device_settings compute = settings.compute;
  process_group const group = join(settings.where, compute, settings.ddp_timeout);
  session const policy(settings.model, compute, settings.says());
  causal_lm const model(policy.config, policy.compute);
  std::vector<pack> const members = load_members(settings.reference.models, policy);
  scorer judge = make_scorer(settings.sampling, policy, compute, group);
  bool const held_out = !settings.sampling.eval_prompts.empty();
  rollout_source prompts(policy, model, settings.sampling,
                         policy.read_prompts(held_out ? settings.sampling.eval_prompts : settings.sampling.prompts,
                                             settings.reads(held_out ? settings.max_eval_samples : settings.max_train_samples)),
                         judge, settings.seed + 1, group);
  policy_evaluator evaluator(std::move(prompts), model, model.weights_for(kedge::deep_copy(members.front())), settings.sampling.eval_samples,
                             policy.scored_at_once);
  std::vector<plane_point> points;
  json lines = json::array();
  for (std::vector<double> const& weights : grid(count, resolution)) {
    pack const soup = kedge::affine_combination<pack>(weights, std::span<pack const>(members));
    points.push_back({weights, evaluator.measure(model.weights_for(soup), 0)});
    json line = as_json(points.back().evaluation);
    line["weights"] = weights;
    lines.push_back(line);
    policy_evaluation const& e = points.back().evaluation;
    settings.says().say("soup " + std::to_string(points.size()) + ": reward " + short_number(e.reward) + " ± " + short_number(e.reward_stderr) +
                        ", KL to the first model " + short_number(e.kl));
  }
  if (!group.leads()) return points;
  std::filesystem::create_directories(settings.output_dir);
  write_file_atomically(settings.output_dir / "reward_plane.json", lines.dump(1) + "\n");
  std::vector<std::string> names;
  for (auto const& model : settings.reference.models) names.push_back(model.filename().string());
  write_file_atomically(settings.output_dir / "reward_plane.svg", reward_plane_picture(points, names));
  return points;
}

}  // namespace kedge::llm
