// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>  // int64_t

#include <kedge/llm/formats/checkpoint.hpp>

#include "gguf_writer.hpp"

namespace kedge::llm {

/// Writes tokenizer.json, tokenizer_config.json and the chat template as llama.cpp has them; `size` is the number of the embedding's rows.
/// Sentences about what is left out go to `notes`.
/// throws  kedge::llm::error for a tokenizer that llama.cpp has no kind or no split for, or with more tokens than rows
void put_vocabulary(checkpoint const& source, std::int64_t size, gguf_header& out, std::vector<std::string>& notes);

}  // namespace kedge::llm
