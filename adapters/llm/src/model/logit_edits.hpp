// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/model/sampling_settings.hpp>

#include "../kernels/score_edits.hpp"

namespace kedge::llm {

/// What the rules change at a place, in their order. Tokens outside the vocabulary are left out.
[[nodiscard]] std::vector<score_edit> edits_of(logit_rules const& rules, decoding_place const& place, std::size_t vocabulary);

/// The same, ordered as gpu_sample wants them: by token, those of one token as they were.
[[nodiscard]] std::vector<score_edit> edits_by_token(logit_rules const& rules, decoding_place const& place, std::size_t vocabulary);

}  // namespace kedge::llm
