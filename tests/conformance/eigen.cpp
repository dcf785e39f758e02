// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <kedge/adapters/eigen.hpp>

namespace {

template <class T>
struct eigen_vector {
  using tensor = T;
  static T make(std::vector<double> const& values) {
    T x(static_cast<Eigen::Index>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i)
      x[static_cast<Eigen::Index>(i)] = static_cast<typename T::Scalar>(values[i]);
    return x;
  }
  static std::vector<double> values(T const& x) { return std::vector<double>(x.data(), x.data() + x.size()); }
  static constexpr double tolerance = sizeof(typename T::Scalar) == 8 ? 1e-15 : 5e-7;
};

}  // namespace

#define KEDGE_BACKENDS eigen_vector<Eigen::VectorXd>, eigen_vector<Eigen::VectorXf>, eigen_vector<Eigen::ArrayXd>
#include "conformance/suite.hpp"

static_assert(kedge::tensor<Eigen::MatrixXd> && kedge::tensor<Eigen::Matrix3f> && kedge::tensor<Eigen::ArrayXXd>);
static_assert(kedge::tensor<std::vector<Eigen::MatrixXd>>);
// Expressions, maps, blocks and integer matrices stay outside.
static_assert(!kedge::tensor<decltype(Eigen::VectorXd{} + Eigen::VectorXd{})>);
static_assert(!kedge::tensor<Eigen::Map<Eigen::VectorXd>> && !kedge::tensor<Eigen::Block<Eigen::MatrixXd>>);
static_assert(!kedge::tensor<Eigen::VectorXi> && !kedge::tensor<Eigen::VectorXd&>);

TEST_CASE("an Eigen matrix and its transpose are different shapes", "[conformance]") {
  Eigen::MatrixXd const x = Eigen::MatrixXd::Ones(2, 3);
  Eigen::MatrixXd y = Eigen::MatrixXd::Ones(3, 2);
  CHECK_THROWS_WITH(kedge::axpby(1, x, 1, y), "axpby: 2 x 3 against 3 x 2; both operands must have the same shape");
}
