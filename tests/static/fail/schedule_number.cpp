// SPDX-License-Identifier: Apache-2.0
// build error: keeps_anchor
// A schedule says where the anchor is.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct problem {
  int source(auto const&) const { return 0; }
  point score(point const& theta, int) const { return theta; }
  kedge::status solve(point&, int, point const&, std::size_t) const { return kedge::status::done; }
};

kedge::status f(kedge::state<point, point>& s, problem& p) {
  return kedge::run(s, 42, p, 3);
}
