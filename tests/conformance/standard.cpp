// SPDX-License-Identifier: Apache-2.0
#include <vector>

namespace {

template <class Scalar>
struct standard_vector {
  using tensor = std::vector<Scalar>;
  static tensor make(std::vector<double> const& values) { return tensor(values.begin(), values.end()); }
  static std::vector<double> values(tensor const& x) { return std::vector<double>(x.begin(), x.end()); }
  static constexpr double tolerance = sizeof(Scalar) == 8 ? 1e-15 : 5e-7;
};

}  // namespace

#define KEDGE_BACKENDS standard_vector<double>, standard_vector<float>
#include "conformance/suite.hpp"
