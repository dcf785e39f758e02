// SPDX-License-Identifier: Apache-2.0
#include <Eigen/Core>

#include <kedge/adapters/eigen.hpp>
#include <kedge/kedge.hpp>

int main() {
  Eigen::VectorXd x = Eigen::VectorXd::Constant(3, 2), y = kedge::deep_copy(x);
  kedge::axpby(2, x, 1, y);
  return kedge::dot(x, y) == 36 ? 0 : 1;
}
