// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include <kedge/state.hpp>

#include <kedge/llm/train/reference.hpp>

#include "session.hpp"

namespace kedge::llm {

/// The weights of models that can be averaged with one another and with the policy.
/// division: of the policy; this process's parts are read then
/// throws  error naming the model whose shapes, rotary embedding or vocabulary differ from the policy's
[[nodiscard]] std::vector<pack> load_members(std::vector<std::filesystem::path> const& models, session const& policy,
                                             divided_model const* division = nullptr);

/// A weighted mean of models.
using averaging = std::function<pack(std::vector<pack> const& members, std::vector<double> const& weights)>;

/// The members as an anchor, with the choice's weights, or equal ones: their mean for a soup, else a point each.
[[nodiscard]] std::vector<kedge::anchor_term<pack>> anchor_of(reference_choice const& choice, std::vector<pack> members, averaging const& average);

/// The anchor that a choice of reference means: one point for the start and for a soup, several for means of probabilities or penalties,
/// none where the schedule places it.
[[nodiscard]] std::vector<kedge::anchor_term<pack>> make_anchor(reference_choice const& choice, session const& policy, pack const& start,
                                                                  divided_model const* division = nullptr);

}  // namespace kedge::llm
