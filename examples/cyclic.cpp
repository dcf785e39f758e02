// SPDX-License-Identifier: Apache-2.0
// Three answers that beat each other in a cycle. The same loop, three settings: momentum makes it worse, optimism settles it.
#include <cmath>
#include <cstdio>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/games.hpp>

using logits = std::vector<double>;

double gap_after(auto const& schedule, kedge::mirror_step step) {
  auto const game = kedge::lab::rock_paper_scissors();
  logits const start{0.3, 0, -0.2};
  kedge::mirror_problem problem(game, start, step);
  auto state = kedge::state_for<logits>(start, schedule, problem);
  if (kedge::run(state, schedule, problem, 2000) != kedge::status::done) return INFINITY;
  return game.duality_gap(kedge::lab::softmax(state.theta));
}

int main() {
  double const plain = gap_after(kedge::hand_off{}, {.eta = 0.2});
  double const momentum = gap_after(kedge::extrapolated_weights{kedge::constant_momentum{0.3}}, {.eta = 0.2});
  double const optimism = gap_after(kedge::hand_off{}, {.eta = 0.2, .optimism = 1});
  std::printf("duality gap after 2000 rounds: plain %.3f, momentum %.3f, optimism %.3f\n", plain, momentum, optimism);
  return optimism < plain && plain < momentum ? 0 : 1;
}
