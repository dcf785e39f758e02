// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kedge::llm {

/// How a score s changes by a number a.
enum class score_change : std::int32_t {
  set,      ///< a
  add,      ///< s + a
  divide,   ///< s a where s is negative, else s / a
  enlarge,  ///< s + |s| a, unless s is infinite
};

/// A change of one token's score before the next token is drawn, or of all tokens' scores.
struct score_edit {
  std::int32_t token;  ///< every_token: all
  score_change change;
  double by;
};

inline constexpr std::int32_t every_token = -1;

/// The score after an edit, on a GPU too.
template <class Real>
[[nodiscard]] constexpr Real edited(Real score, score_edit const& edit) {
  auto const by = static_cast<Real>(edit.by);
  Real const size = score < 0 ? -score : score;
  switch (edit.change) {
    case score_change::set:
      return by;
    case score_change::add:
      return score + by;
    case score_change::divide:
      return score < 0 ? score * by : score / by;
    case score_change::enlarge:
      return score - score == 0 ? score + size * by : score;
  }
  return score;
}

}  // namespace kedge::llm
