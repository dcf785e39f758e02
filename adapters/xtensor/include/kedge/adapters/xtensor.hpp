// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>

// xtensor 0.26 moved its headers into folders.
#if __has_include(<xtensor/containers/xarray.hpp>)
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xarray.hpp>
#include <xtensor/xtensor.hpp>
#endif

#include <kedge/concepts.hpp>

namespace kedge {

namespace detail {

// Both containers keep their elements in one block; elementwise work on equal shapes and layouts is work on that block.
template <class Tensor>
struct xtensor_traits {
  using scalar = typename Tensor::value_type;

  static Tensor deep_copy(Tensor const& x) { return x; }

  static void axpby(double a, Tensor const& x, double b, Tensor& y) {
    require_same_shape(x, y, "axpby");
    scalar const* const from = x.data();
    scalar* const to = y.data();
    for (std::size_t i = 0; i < x.size(); ++i) {
      double const kept = b == 0 ? 0 : b * static_cast<double>(to[i]);
      to[i] = static_cast<scalar>(a * static_cast<double>(from[i]) + kept);
    }
  }

  static double dot(Tensor const& x, Tensor const& y) {
    require_same_shape(x, y, "dot");
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x.data()[i]) * static_cast<double>(y.data()[i]);
    return sum;
  }

  template <class F, class... Others>
  static void elementwise(F const& f, Tensor& y, Others const&... x) {
    (require_same_shape(x, y, "elementwise"), ...);
    for (std::size_t i = 0; i < y.size(); ++i)
      y.data()[i] = static_cast<scalar>(f(static_cast<double>(y.data()[i]), static_cast<double>(x.data()[i])...));
  }

 private:
  static void require_same_shape(Tensor const& x, Tensor const& y, char const* operation) {
    require(x.shape() == y.shape() && x.strides() == y.strides(), operation, ": tensors of ", x.dimension(), " and ",
            y.dimension(), " dimensions, ", x.size(), " and ", y.size(),
            " elements; both operands must have the same shape and layout");
  }
};

}  // namespace detail

/// xt::xtensor and xt::xarray of a floating-point type; expressions and views don't join, because they would outlive
/// what they refer to.
template <std::floating_point Scalar, std::size_t N, xt::layout_type Layout, class Allocator>
struct tensor_traits<xt::xtensor<Scalar, N, Layout, Allocator>>
    : detail::xtensor_traits<xt::xtensor<Scalar, N, Layout, Allocator>> {};

template <std::floating_point Scalar, xt::layout_type Layout, class Allocator>
struct tensor_traits<xt::xarray<Scalar, Layout, Allocator>> : detail::xtensor_traits<xt::xarray<Scalar, Layout, Allocator>> {};

// A concept is answered once: asked before this header, it would stay false.
static_assert(tensor<xt::xarray<double>>, "kedge: a type was asked for as a tensor before its adapter; include <kedge/adapters/xtensor.hpp> first");

}  // namespace kedge
