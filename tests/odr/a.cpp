// SPDX-License-Identifier: Apache-2.0
#include "all.hpp"

view view_of_a() {
  using pack = std::vector<std::vector<double>>;
  return {&kedge::deep_copy, &kedge::axpby, &kedge::dot, sizeof(kedge::state<pack, std::vector<double>>)};
}
