// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include <kedge/detail/check.hpp>

namespace kedge {

/// A type joins by specialising this with three static functions; see docs/adapters.md.
///   T      deep_copy(T const& x)                            storage of its own, no gradient history
///   void   axpby(double a, T const& x, double b, T& y)      y <- a x + b y; b = 0 overwrites y, even NaN
///   double dot(T const& x, T const& y)                      accumulated in double
/// and, for what can't be said by these (Adam), a fourth that elementwise.hpp describes.
template <class T>
struct tensor_traits;

namespace detail {

template <class T>
concept adapted = requires(T const& x, T& y) {
  { tensor_traits<T>::deep_copy(x) } -> std::same_as<T>;
  tensor_traits<T>::axpby(1.0, x, 1.0, y);
  { tensor_traits<T>::dot(x, x) } -> std::convertible_to<double>;
};

// A pack whose own traits exist (std::vector<double>, or a pack with fused operations) uses those; any other
// std::vector of tensors is a tensor by recursion.
template <class T>
inline constexpr bool is_pack = false;
template <class T>
inline constexpr bool is_pack<std::vector<T>> = !adapted<std::vector<T>>;

template <class T>
void require_same_size(std::vector<T> const& x, std::vector<T> const& y, char const* operation) {
  require(x.size() == y.size(), operation, ": ", x.size(), " against ", y.size(),
          " elements; both operands must have the same shape");
}

struct deep_copy_fn {
  template <adapted T>
  T operator()(T const& x) const {
    return tensor_traits<T>::deep_copy(x);
  }
  template <class T>
    requires(is_pack<std::vector<T>>)
  std::vector<T> operator()(std::vector<T> const& x) const
    requires requires(deep_copy_fn f) { f(x.front()); }
  {
    std::vector<T> copy;
    copy.reserve(x.size());
    for (T const& element : x) copy.push_back((*this)(element));
    return copy;
  }
};

struct axpby_fn {
  template <adapted T>
  void operator()(double a, T const& x, double b, T& y) const {
    tensor_traits<T>::axpby(a, x, b, y);
  }
  template <class T>
    requires(is_pack<std::vector<T>>)
  void operator()(double a, std::vector<T> const& x, double b, std::vector<T>& y) const
    requires requires(axpby_fn f) { f(a, x.front(), b, y.front()); }
  {
    require_same_size(x, y, "axpby");
    for (std::size_t i = 0; i < x.size(); ++i) (*this)(a, x[i], b, y[i]);
  }
};

struct dot_fn {
  template <adapted T>
  double operator()(T const& x, T const& y) const {
    return tensor_traits<T>::dot(x, y);
  }
  template <class T>
    requires(is_pack<std::vector<T>>)
  double operator()(std::vector<T> const& x, std::vector<T> const& y) const
    requires requires(dot_fn f) { f(x.front(), y.front()); }
  {
    require_same_size(x, y, "dot");
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (*this)(x[i], y[i]);
    return sum;
  }
};

}  // namespace detail

// Function objects switch argument-dependent lookup off: at::dot or Eigen's own functions are never picked up.

/// Storage of its own, without gradient history. Never copy parameters with `=`: some tensors alias.
inline constexpr detail::deep_copy_fn deep_copy{};

/// y <- a x + b y. b = 0 overwrites y, NaN included; x and y must not share storage. Shapes and type of y stay.
inline constexpr detail::axpby_fn axpby{};

/// Σ x_i y_i, accumulated in double.
inline constexpr detail::dot_fn dot{};

/// Anything that the three operations work on. Packs (std::vector of tensors) are tensors.
template <class T>
concept tensor = std::copyable<T> && requires(T const& x, T& y, double a) {
  { kedge::deep_copy(x) } -> std::same_as<T>;
  { kedge::axpby(a, x, a, y) } -> std::same_as<void>;
  { kedge::dot(x, x) } -> std::same_as<double>;
};

/// std::vector of a floating-point type: the adapter that needs no library.
template <std::floating_point Scalar>
struct tensor_traits<std::vector<Scalar>> {
  using pack = std::vector<Scalar>;

  static pack deep_copy(pack const& x) { return x; }

  static void axpby(double a, pack const& x, double b, pack& y) {
    detail::require_same_size(x, y, "axpby");
    if (b == 0)
      for (std::size_t i = 0; i < x.size(); ++i) y[i] = static_cast<Scalar>(a * static_cast<double>(x[i]));
    else
      for (std::size_t i = 0; i < x.size(); ++i)
        y[i] = static_cast<Scalar>(a * static_cast<double>(x[i]) + b * static_cast<double>(y[i]));
  }

  static double dot(pack const& x, pack const& y) {
    detail::require_same_size(x, y, "dot");
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
  }

  template <class F, class... Packs>
  static void elementwise(F const& f, pack& y, Packs const&... x) {
    (detail::require_same_size(x, y, "elementwise"), ...);
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] = static_cast<Scalar>(f(static_cast<double>(y[i]), static_cast<double>(x[i])...));
  }
};

/// A policy maps parameters and a batch to log-probabilities and a vector-Jacobian product.
///   forward(theta, batch) -> {logp, pullback}
///   logp                     log π_θ of each sequence, in nats
///   pullback(cotangent, gradient)   gradient += Jᵀ cotangent, called at most once (it may release the graph)
/// The pullback adds, so that micro-batches accumulate without a temporary of the parameters' size.
template <class Model, class Theta, class Batch>
concept policy = tensor<Theta> && requires(Model const& model, Theta const& theta, Batch const& batch, Theta& gradient) {
  model.forward(theta, batch).logp;
  model.forward(theta, batch).pullback(model.forward(theta, batch).logp, gradient);
};

/// What forward returns, for policies that need no type of their own.
template <class Logp, class Pullback>
struct forward_result {
  Logp logp;
  Pullback pullback;
};

template <class Logp, class Pullback>
forward_result(Logp, Pullback) -> forward_result<Logp, Pullback>;

}  // namespace kedge
