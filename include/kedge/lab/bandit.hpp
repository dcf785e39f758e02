// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <kedge/loop.hpp>

namespace kedge::lab {

/// A tabular Bradley–Terry problem with a known reward, solved exactly in every round.        docs/math.md (3), (5)
/// math    log π̂_{t+1} = log π_anchor + r/β, as logits: the normaliser is a constant per context and may stay out
/// After t rounds of run() from logits x the result is x + (C_t/β) r, with C_t = accumulated_steps(rule, t).
template <tensor P>
class exact_bandit {
 public:
  /// throws  std::invalid_argument unless beta is positive
  exact_bandit(P reward, double beta) : reward_(std::move(reward)), beta_(beta) {
    detail::require(beta > 0, "exact_bandit: beta = ", beta, "; it must be positive");
  }

  template <class State>
  P const& source(State const&) const {
    return reward_;
  }

  [[nodiscard]] P score(P const& logits, P const&) const { return deep_copy(logits); }

  status solve(P& logits, P const& reward, P const& anchor, std::size_t) const {
    axpby(1, anchor, 0, logits);
    axpby(1 / beta_, reward, 1, logits);
    return status::done;
  }

 private:
  P reward_;
  double beta_;
};

}  // namespace kedge::lab
