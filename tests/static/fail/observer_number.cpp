// SPDX-License-Identifier: Apache-2.0
// build error: on_round_start(.|[\n])*on_round_end(.|[\n])*should_stop
// Nor is a number.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct problem {
  int source(auto const&) const { return 0; }
  point score(point const& theta, int) const { return theta; }
  kedge::status solve(point&, int, point const&, std::size_t) const { return kedge::status::done; }
};

kedge::status f(kedge::state<point, point>& s, problem& p) {
  return kedge::run(s, kedge::hand_off{}, p, 3, 42);
}
