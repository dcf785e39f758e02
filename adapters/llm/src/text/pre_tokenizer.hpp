// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>   // unique_ptr
#include <string>   // string
#include <vector>   // vector

#include "json_fields.hpp"
#include "splitter.hpp"

namespace kedge::llm::text {

/// A text and how it is split so far. Stages read `now` and write `next`; buffers live on from text to text.
struct split_text {
  std::string text, next_text;
  std::vector<piece> pieces, next;
  split_workspace work;

  [[nodiscard]] std::string_view view(piece const& p) const { return std::string_view(text).substr(p.begin, p.end - p.begin); }
};

/// A "pre_tokenizer" without sub-stages: splits, and sometimes rewrites, every piece.
class splitting_stage {
 public:
  splitting_stage() = default;
  splitting_stage(splitting_stage const&) = delete;
  splitting_stage& operator=(splitting_stage const&) = delete;
  virtual ~splitting_stage() = default;
  virtual void apply(split_text& t) const = 0;
};

struct pre_tokenizer {
  std::vector<std::unique_ptr<splitting_stage const>> stages;  ///< in order; none: the text stays whole
  bool ends_with_bytes = false;  ///< the last stage is ByteLevel: what it leaves are bytes, spelled by stand-ins or not
};

/// `raw_bytes`: a final ByteLevel stage splits but leaves the bytes as they are, for a model that takes them so.
/// throws  kedge::llm::error naming a type that is not supported
pre_tokenizer make_pre_tokenizer(json const& definition, bool raw_bytes);

}  // namespace kedge::llm::text
