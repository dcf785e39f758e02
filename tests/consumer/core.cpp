// SPDX-License-Identifier: Apache-2.0
// What a project does that takes only the core: average two points, walk past the second.
#include <vector>

#include <kedge/kedge.hpp>

int main() {
  using point = std::vector<double>;
  static_assert(kedge::tensor<point>);
  point const first{1, 2}, second{3, 6};
  point middle = kedge::deep_copy(second);
  kedge::axpby(0.5, first, 0.5, middle);
  point ahead = kedge::deep_copy(first);
  kedge::axpby(1.5, second, -0.5, ahead);
  return middle == point{2, 4} && ahead == point{4, 8} && kedge::dot(first, second) == 15 ? 0 : 1;
}
