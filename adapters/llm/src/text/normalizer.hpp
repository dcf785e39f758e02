// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>   // unique_ptr
#include <string>   // string

#include "json_fields.hpp"

namespace kedge::llm::text {

/// A "normalizer": rewrites the text between added tokens before it is split.
class normalizer {
 public:
  normalizer() = default;
  normalizer(normalizer const&) = delete;
  normalizer& operator=(normalizer const&) = delete;
  virtual ~normalizer() = default;

  /// Rewrites `text`. Sets `front_lost` where the first character of the text is dropped rather than replaced.
  virtual void apply(std::string& text, bool& front_lost) const = 0;
};

/// Null for a JSON null.
/// throws  kedge::llm::error naming a type that is not supported
std::unique_ptr<normalizer const> make_normalizer(json const& definition);

}  // namespace kedge::llm::text
