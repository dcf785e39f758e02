// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace kedge::testing {

/// A file with a few bytes changed, inserted, removed or repeated: the same `seed` gives the same damage everywhere.
class mutations {
 public:
  explicit mutations(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}

  std::string operator()(std::string text) {
    for (std::size_t n = 1 + below(3); n > 0 && !text.empty(); --n) {
      std::size_t const at = below(text.size());
      switch (below(6)) {
        case 0:
          text[at] = static_cast<char>(next());
          break;
        case 1:
          text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 2:
          text.resize(at);
          break;
        case 3:
          text.erase(at, 1 + below(8));
          break;
        case 4:
          text.insert(at, text.substr(below(text.size()), 1 + below(16)));
          break;
        default:  // numbers that lie: eight bytes of ones, or a sign
          for (std::size_t k = at; k < std::min(text.size(), at + 8); ++k)
            text[k] = static_cast<char>(below(2) == 0 ? 0xff : 0x7f);
      }
    }
    return text;
  }

 private:
  std::uint64_t next() {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }

  std::uint64_t state_;
};

}  // namespace kedge::testing
