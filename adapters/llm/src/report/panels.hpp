// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include <kedge/llm/report/run_folder.hpp>

#include "chart.hpp"

namespace kedge::llm {

/// Charts in the order of a page: those that everybody looks at, and the rest of what metrics.jsonl has.
struct run_charts {
  std::vector<chart> first, rest;
};

/// All figures of a run, held-out ones beside those of training, rounds marked; of several runs, one line a run. Figures of one value alone are not drawn.
[[nodiscard]] run_charts charts_of(std::span<run_folder const> runs);

/// What a figure is called on a page, its held-out form too: "Held-out accuracy". The name itself where it has no other.
[[nodiscard]] std::string title_of(std::string_view figure);

/// A title as it stands within a line: its first letter small, unless more capitals follow ("KL").
[[nodiscard]] std::string within(std::string title);

/// A figure of held-out data in the order in which pages name them.
[[nodiscard]] std::vector<std::string> const& headline_figures();

}  // namespace kedge::llm
