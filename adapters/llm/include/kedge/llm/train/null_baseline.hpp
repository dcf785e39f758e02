// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/train/preference.hpp>

namespace kedge::llm {

/// Turns the settings of APO into those of the null baseline that rounds.null names, plain rounds that move as far: no momentum; β, and the β of
/// each round, times 1/r; the rate times what the optimizer and the loss ask for; Adam's ε and --max_grad_norm, which are compared with
/// gradients, times r^{s − 1}. r = C_T/T, of as many rounds T as the run has.
/// returns  r; 1 where rounds.null is none, and nothing is changed
/// throws  usage_error, where (7′) says nothing: `both` with a loss that is no function of β times the margin, or with an optimizer
///         of which it isn't known how steps follow the scale of gradients; a reference other than hand-off
double make_null_baseline(training_settings& settings, round_settings& rounds);

}  // namespace kedge::llm
