// SPDX-License-Identifier: Apache-2.0
// build error: rule\.place\(s
// A misspelt member is none.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct problem {
  int source(auto const&) const { return 0; }
  point score(point const& theta, int) const { return theta; }
  kedge::status solve(point&, int, point const&, std::size_t) const { return kedge::status::done; }
};

struct stays {
  static constexpr bool keeps_anchor = true;
  void placed(auto&) const {}
};

kedge::status f(kedge::state<point, point, stays>& s, problem& p) { return kedge::run(s, stays{}, p, 3); }
