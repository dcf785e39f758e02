// SPDX-License-Identifier: Apache-2.0
// build error: include <kedge/adapters/eigen.hpp> first
#include <Eigen/Core>

#include <kedge/concepts.hpp>

static_assert(!kedge::tensor<Eigen::VectorXd>);

#include <kedge/adapters/eigen.hpp>
