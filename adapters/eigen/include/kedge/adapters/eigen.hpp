// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

#include <Eigen/Core>

#include <kedge/concepts.hpp>

namespace kedge {

/// Eigen's matrices, vectors and arrays of float or double that own their data; expressions, maps and blocks don't join,
/// because they would outlive what they refer to.
template <class T>
  requires std::derived_from<T, Eigen::PlainObjectBase<T>> && std::floating_point<typename T::Scalar>
struct tensor_traits<T> {
  static T deep_copy(T const& x) { return x; }

  static void axpby(double a, T const& x, double b, T& y) {
    require_same_shape(x, y, "axpby");
    using scalar = typename T::Scalar;
    if (b == 0)
      y = (a * x.template cast<double>()).template cast<scalar>();
    else
      y = (a * x.template cast<double>() + b * y.template cast<double>()).template cast<scalar>();
  }

  static double dot(T const& x, T const& y) {
    require_same_shape(x, y, "dot");
    return (x.template cast<double>().array() * y.template cast<double>().array()).sum();
  }

  template <class F, class... Others>
  static void elementwise(F const& f, T& y, Others const&... x) {
    (require_same_shape(x, y, "elementwise"), ...);
    for (Eigen::Index i = 0; i < y.size(); ++i)
      y.data()[i] = static_cast<typename T::Scalar>(f(static_cast<double>(y.data()[i]), static_cast<double>(x.data()[i])...));
  }

 private:
  static void require_same_shape(T const& x, T const& y, char const* operation) {
    detail::require(x.rows() == y.rows() && x.cols() == y.cols(), operation, ": ", x.rows(), " x ", x.cols(), " against ",
                    y.rows(), " x ", y.cols(), "; both operands must have the same shape");
  }
};

// A concept is answered once: asked before this header, it would stay false.
static_assert(tensor<Eigen::VectorXd>, "kedge: a type was asked for as a tensor before its adapter; include <kedge/adapters/eigen.hpp> first");

}  // namespace kedge
