// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/train/reward_plane.hpp>

#include "report.hpp"

namespace kedge_on_policy {

/// The soups of each seed's models before training: entry i of every seed has the same weights.
using planes = std::vector<std::vector<kedge::llm::plane_point>>;

/// The grid of soups of two or three models, as a job; planes_of() reads its figures.
[[nodiscard]] job soups_before(world const& w, std::vector<fs::path> const& models, std::size_t resolution, std::uint64_t seed);
[[nodiscard]] planes planes_of(std::vector<json> const& figures);

/// Means over seeds with their standard errors; of one seed, its own over prompts.
[[nodiscard]] std::vector<kedge::llm::plane_point> mean_plane(planes const& all);

/// Reward over the weight of the second model, where a third has none.
[[nodiscard]] kedge_drawing::plot line_plot(planes const& all);

/// Mean reward of the averages of `more` models minus that of the averages of `fewer`, by seed.
[[nodiscard]] estimate difference_of_averages(planes const& all, std::size_t more, std::size_t fewer);

}  // namespace kedge_on_policy
