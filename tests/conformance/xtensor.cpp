// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <kedge/adapters/xtensor.hpp>

namespace {

template <class T>
struct xtensor_vector {
  using tensor = T;
  static T make(std::vector<double> const& values) {
    T x = T::from_shape({values.size()});
    for (std::size_t i = 0; i < values.size(); ++i) x.data()[i] = static_cast<typename T::value_type>(values[i]);
    return x;
  }
  static std::vector<double> values(T const& x) { return std::vector<double>(x.data(), x.data() + x.size()); }
  static constexpr double tolerance = sizeof(typename T::value_type) == 8 ? 1e-15 : 5e-7;
};

}  // namespace

using xtensor_double = xt::xtensor<double, 1>;
using xtensor_float = xt::xtensor<float, 1>;
#define KEDGE_BACKENDS xtensor_vector<xtensor_double>, xtensor_vector<xtensor_float>, xtensor_vector<xt::xarray<double>>
#include "conformance/suite.hpp"

static_assert(kedge::tensor<xt::xtensor<double, 3>> && kedge::tensor<std::vector<xt::xarray<float>>>);
static_assert(!kedge::tensor<decltype(xtensor_double{} + xtensor_double{})>);
static_assert(!kedge::tensor<xt::xarray<int>> && !kedge::tensor<xtensor_double&>);

TEST_CASE("xtensors of equal size and different shape are different", "[conformance]") {
  xt::xarray<double> const x = xt::xarray<double>::from_shape({2, 3});
  xt::xarray<double> y = xt::xarray<double>::from_shape({3, 2});
  CHECK_THROWS_AS(kedge::axpby(1, x, 1, y), std::invalid_argument);
}
