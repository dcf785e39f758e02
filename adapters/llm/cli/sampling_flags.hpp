// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/train/sampling.hpp>

namespace kedge::cli {

/// Which prompts, how many completions of each, and how these are drawn.
void declare_completions(llm::settings_list& list, llm::generate_settings& s);

/// How tokens are drawn, for subcommands that let a model speak.
void declare_sampling(llm::settings_list& list, llm::generate_settings& s);

}  // namespace kedge::cli
