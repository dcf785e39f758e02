// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>   // int32_t
#include <vector>    // vector

#include "json_fields.hpp"

namespace kedge::llm::text {

/// The special tokens around a single text.
struct frame {
  std::vector<std::int32_t> before, after;
};

/// Reads a "post_processor" (TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence or null).
/// throws  kedge::llm::error naming what is not supported: another type, a template that repeats the text
frame make_frame(json const& definition);

}  // namespace kedge::llm::text
