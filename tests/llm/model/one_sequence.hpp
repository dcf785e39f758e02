// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <kedge/llm/data/ragged.hpp>

namespace kedge::testing {

/// A batch of one text, all of it scored but its first token.
inline llm::ragged_batch one_sequence(std::vector<std::int32_t> const& ids) {
  llm::ragged_batch batch;
  std::span<std::int32_t const> const completion[] = {std::span(ids).subspan(1)};
  append(batch, std::span(ids).first(1), completion);
  return batch;
}

}  // namespace kedge::testing
