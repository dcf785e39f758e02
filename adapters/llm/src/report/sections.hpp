// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <kedge/llm/report/run_folder.hpp>

#include "chart.hpp"

// Parts of a page, as HTML. A part that has nothing to show is empty.

namespace kedge::llm {

/// Method, name and state of a run, and the sentences on what was trained and how it ended.
[[nodiscard]] std::string heading_of(run_folder const& run);
/// Held-out figures before and after, loss, time, memory.
[[nodiscard]] std::string tiles_of(run_folder const& run);
[[nodiscard]] std::string rounds_of(run_folder const& run);
/// The first completion of some prompts, before and after.
[[nodiscard]] std::string samples_of(run_folder const& run);
/// Those that differ from their defaults, then all others.
[[nodiscard]] std::string settings_of(run_folder const& run);
/// Versions, machine, hashes of data and models.
[[nodiscard]] std::string origin_of(run_folder const& run);

[[nodiscard]] std::string charts_section(std::vector<chart> const& charts);
[[nodiscard]] std::string notes_of(run_folder const& run);

/// "finished" and the like, in its colour.
[[nodiscard]] std::string state_of(run_folder const& run);
/// The names of the files that a run learned from, or samples for, without their folders: "a.jsonl, b.jsonl".
[[nodiscard]] std::string data_of(run_folder const& run);
/// First and last finite value of a figure; false where there is none.
[[nodiscard]] bool ends_of(run_folder const& run, std::string_view figure, std::pair<double, double>& ends);

/// A cell of a table: a figure to the right, or text.
[[nodiscard]] std::string figure_cell(std::string const& text);

}  // namespace kedge::llm
