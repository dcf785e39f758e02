// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include <kedge/concepts.hpp>

// The optional fourth operation of a tensor, for what three can't say: Adam divides by a square root, element by element.
//   tensor_traits<T>::elementwise(f, T& y, T const&... x)        y_i <- f(y_i, x_i, ...), computed in single precision at least
// f is a formula in + − · /, numbers and sqrt (detail::square_root). An adapter may call it with doubles, one element after the
// other, or with whole arrays that know these operations: LibTorch's do, on any device.

namespace kedge {

namespace detail {

// std::sqrt of a number, the array library's own of an array.
struct square_root_fn {
  template <class Value>
  auto operator()(Value const& x) const {
    using std::sqrt;
    return sqrt(x);
  }
};
inline constexpr square_root_fn square_root{};

struct keep_fn {
  template <class Value, class Other>
  auto operator()(Value const& y, Other const&) const {
    return y;
  }
};

template <class T>
concept adapted_elementwise = adapted<T> && requires(T& y, T const& x) { tensor_traits<T>::elementwise(keep_fn{}, y, x); };

struct elementwise_fn {
  template <class F, adapted_elementwise T, std::same_as<T>... Others>
  void operator()(F const& f, T& y, Others const&... x) const {
    tensor_traits<T>::elementwise(f, y, x...);
  }
  template <class F, class T, std::same_as<std::vector<T>>... Others>
    requires(is_pack<std::vector<T>>)
  void operator()(F const& f, std::vector<T>& y, Others const&... x) const
    requires requires(elementwise_fn self) { self(keep_fn{}, y.front(), y.front()); }
  {
    (require_same_size(x, y, "elementwise"), ...);
    for (std::size_t i = 0; i < y.size(); ++i) (*this)(f, y[i], x[i]...);
  }
};

}  // namespace detail

/// y_i <- f(y_i, x_i, ...) for tensors of one type and shape.
inline constexpr detail::elementwise_fn elementwise{};

/// A tensor that the fourth operation works on. Packs of such tensors are such tensors.
template <class T>
concept elementwise_tensor = tensor<T> && requires(T const& x, T& y) { kedge::elementwise(detail::keep_fn{}, y, x); };

}  // namespace kedge
