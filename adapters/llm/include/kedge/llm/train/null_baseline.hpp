// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/train/preference.hpp>

namespace kedge::llm {

/// Which null baseline of APO runs in its place. none: APO itself. The others are kedge::null_kind.         docs/math.md (7′)
enum class null_choice { none, beta, rate, both };
constexpr auto names(null_choice) {
  return std::array{named{null_choice::none, "none"}, named{null_choice::beta, "beta", "right where rounds are solved"},
                    named{null_choice::rate, "rate", "right where they are hardly begun"},
                    named{null_choice::both, "both", "right in between too"}};
}

/// Turns the settings of APO into those of plain rounds that move as far: no momentum; β, and the β of each round, times 1/r; the rate times what
/// the optimizer and the loss ask for; Adam's ε and --max_grad_norm, which are compared with gradients, times r^{s − 1}. r = C_T/T.
/// count    rounds T
/// returns  r; 1 where the choice is none
/// throws  usage_error, where (7′) says nothing: `both` with a loss that is no function of β times the margin, or with an optimizer
///         of which it isn't known how steps follow the scale of gradients; a reference other than hand-off
double make_null_baseline(training_settings& settings, round_settings& rounds, std::size_t count, null_choice choice);

}  // namespace kedge::llm
