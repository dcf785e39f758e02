// SPDX-License-Identifier: Apache-2.0
// The core in a program without exceptions: rounds run, and bad input ends the program by one function, with its message.
// no_exceptions.cmake compiles and runs it.
#include <cstdio>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

int main(int count, char**) {
  using logits = std::vector<double>;
  kedge::lab::exact_bandit<logits> problem({1, 0}, 1);
  kedge::extrapolated_weights const schedule{kedge::constant_momentum{0.5}};
  auto state = kedge::state_for<logits>(logits{0, 0}, schedule);
  if (kedge::run(state, schedule, problem, 3) != kedge::status::done || state.theta[0] != 4.25) return 1;
  std::printf("three rounds\n");
  std::fflush(stdout);
  if (count > 1) kedge::axpby(1, logits{1}, 1, state.theta);
  return 0;
}
