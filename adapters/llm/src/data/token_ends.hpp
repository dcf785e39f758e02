// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <cstdint>      // int32_t
#include <span>         // span
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/text/tokenizer.hpp>

namespace kedge::llm {

/// Where each token of a text ends, in bytes of the text: tokens are laid along it by how they are spelled.
/// throws  kedge::llm::error if the tokenizer changes the text so much that they don't fit
std::vector<std::size_t> token_ends(tokenizer const& words, std::span<std::int32_t const> ids, std::string_view text);

}  // namespace kedge::llm
