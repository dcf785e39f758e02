// SPDX-License-Identifier: Apache-2.0
#include <kedge/adapters/xtensor.hpp>
#include <kedge/kedge.hpp>

int main() {
  xt::xtensor<double, 1> const x{2, 2, 2};
  xt::xtensor<double, 1> y = kedge::deep_copy(x);
  kedge::axpby(2, x, 1, y);
  return kedge::dot(x, y) == 36 ? 0 : 1;
}
