// SPDX-License-Identifier: Apache-2.0
// build error: problem\.solve\(
#include <kedge/kedge.hpp>

struct problem {
  template <class State>
  int source(State const&) {
    return 0;
  }
  std::vector<double> score(std::vector<double> const& theta, int) { return theta; }
};

kedge::status f(kedge::state<std::vector<double>, std::vector<double>>& s, problem& p) {
  return kedge::run(s, kedge::hand_off{}, p, 1);
}
