// SPDX-License-Identifier: Apache-2.0
// build error: nodiscard
// How a run ended is to be looked at.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct problem {
  int source(auto const&) const { return 0; }
  point score(point const& theta, int) const { return theta; }
  kedge::status solve(point&, int, point const&, std::size_t) const { return kedge::status::done; }
};

void f(kedge::state<point, point>& s, problem& p) { kedge::run(s, kedge::hand_off{}, p, 3); }
