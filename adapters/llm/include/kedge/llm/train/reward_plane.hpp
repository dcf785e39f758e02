// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <kedge/llm/train/ppo.hpp>

namespace kedge::llm {

/// A soup of the reference's models, and how it does.
struct plane_point {
  std::vector<double> weights;  ///< of each model; they sum to one
  policy_evaluation evaluation;
};

/// Mean reward over the simplex of the two or three models of settings.reference, before any training: soups at the grid points
/// k/resolution, each sampled with the same random streams on the held-out prompts (or, without them, on the training prompts).
/// Writes reward_plane.json and a picture, reward_plane.svg, to output_dir.                     Chegini et al. 2024, section 5
/// throws  error if there are fewer than two or more than three models
/// cost    (n + 1) points for two models, (n + 1)(n + 2)/2 for three
std::vector<plane_point> measure_reward_plane(ppo_settings const& settings, std::size_t resolution);

/// The points of a whole grid as SVG: over two models a line with standard errors, over three a triangle with a model in each corner.
/// `names`: of the models, in the order of the weights
[[nodiscard]] std::string reward_plane_picture(std::vector<plane_point> const& points, std::vector<std::string> const& names);

}  // namespace kedge::llm
