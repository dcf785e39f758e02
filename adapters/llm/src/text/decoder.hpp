// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>   // unique_ptr
#include <string>   // string
#include <vector>   // vector

#include "json_fields.hpp"

namespace kedge::llm::text {

/// A "decoder": rewrites the list of token strings; the text is what is left, joined.
class decoder {
 public:
  decoder() = default;
  decoder(decoder const&) = delete;
  decoder& operator=(decoder const&) = delete;
  virtual ~decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// Null for a JSON null (tokens are then joined by spaces).
/// throws  kedge::llm::error naming a type that is not supported
std::unique_ptr<decoder const> make_decoder(json const& definition);

/// Takes the space away before . ? ! , and before n't, 'm, 's, 've, 're, and both around ', as transformers' clean_up_tokenization does.
void clean_up_spaces(std::string& text);

}  // namespace kedge::llm::text
