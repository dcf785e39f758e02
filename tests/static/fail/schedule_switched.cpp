// SPDX-License-Identifier: Apache-2.0
// build error: the state was made for another schedule
// What one schedule keeps means nothing to another.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct problem {
  int source(auto const&) const { return 0; }
  point score(point const& theta, int) const { return theta; }
  kedge::status solve(point&, int, point const&, std::size_t) const { return kedge::status::done; }
};

kedge::status f(kedge::state<point, point, kedge::fixed_anchor>& s, problem& p) {
  return kedge::run(s, kedge::inpo_anchor{}, p, 3);
}
