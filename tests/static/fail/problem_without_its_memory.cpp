// SPDX-License-Identifier: Apache-2.0
// build error: no place for what the problem keeps
// A mirror step keeps its last rewards in the state.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

point rewards(point const& logits) { return logits; }

kedge::status f(kedge::state<point, point>& s) {
  kedge::mirror_problem p(rewards, point(3), kedge::mirror_step{.optimism = 1});
  return kedge::run(s, kedge::hand_off{}, p, 3);
}
