// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/train/reference.hpp>
#include <kedge/state.hpp>

#include "session.hpp"

namespace kedge::llm {

/// The anchor of a choice of soup or mkl whose members are adapters of the policy's base, or that base itself, in the policy's layout. The soup's
/// weights are the exact average: Σ w (W + s B A) is W and one product whose rank is the sum of theirs. With none to be read, as make_anchor.
/// throws  error naming a member that is no adapter of that base, adapts other modules, or by DoRA, which no product averages
[[nodiscard]] std::vector<kedge::anchor_term<pack>> make_adapter_anchor(reference_choice const& choice, session const& policy, causal_lm const& model,
                                                                          pack const& start);

}  // namespace kedge::llm
