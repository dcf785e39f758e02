// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/model/sampling_settings.hpp>
#include <kedge/llm/train/sampling.hpp>

#include "session.hpp"

namespace kedge::llm {

/// The longest completion of a prompt where neither user nor model says one.
constexpr std::size_t default_new_tokens = 256;

/// How tokens are drawn: as asked; what is left open as the model's generation_config.json says; then as generate_settings says. A model that says
/// do_sample false answers with the likeliest tokens. What of that file isn't applied is told.
/// otherwise  the longest completion where neither says one
[[nodiscard]] sampling_settings chosen_sampling(session const& model, generate_settings const& asked, std::size_t otherwise);

}  // namespace kedge::llm
