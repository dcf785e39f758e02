// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include <kedge/llm/report/run_folder.hpp>

namespace kedge::llm {

/// A page on a run: what was trained and how it ended, curves, rounds, samples before and after, settings. Of several runs: their curves over
/// each other, how each ended, and the settings in which they differ. One file of HTML that needs nothing from elsewhere.
/// cost    size grows with the number of figures, not of steps: curves are thinned to what a screen shows
/// throws  error if there is no run
[[nodiscard]] std::string report_page(std::span<run_folder const> runs);

/// Reads the runs' folders and writes the page.
/// returns  what couldn't be read, a sentence each
/// throws   error in one line if a folder holds no run, or the file can't be written
std::vector<std::string> write_report(std::span<std::filesystem::path const> folders, std::filesystem::path const& file);

}  // namespace kedge::llm
