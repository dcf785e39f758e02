// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <random>
#include <utility>
#include <vector>

namespace kedge::llm {

/// Fisher–Yates with a generator of the caller's seed: the same order with every standard library.
inline void shuffle(std::vector<std::size_t>& order, std::mt19937_64 random) {
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

}  // namespace kedge::llm
