// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of kernels share: the tables they compare with plain loops, memory whose ends are watched, random numbers, distances.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "../adapters/llm/src/kernels/kernels.hpp"
#include "support/catch.hpp"

namespace kedge::llm::emulated_8 {
extern kernel_table const table;
}
namespace kedge::llm::emulated_16 {
extern kernel_table const table;
}

namespace kedge::testing {

/// What this processor runs, and the widths of AVX2 and AVX-512 without their instructions, for processors that have neither.
inline std::vector<llm::kernel_table const*> kernel_tables() {
  std::vector<llm::kernel_table const*> all = llm::runnable_kernels();
  all.push_back(&llm::emulated_8::table);
  all.push_back(&llm::emulated_16::table);
  return all;
}

/// f(table) for each, its name with every failure.
template <class F>
void each_table(F const& f) {
  for (llm::kernel_table const* const table : kernel_tables()) {
    INFO("kernels of " << table->name);
    f(*table);
  }
}

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// 1 … most in another order: several sizes at a time then take every value without taking every combination. most and step have no
/// common divisor.
constexpr std::size_t mixed(std::size_t i, std::size_t step, std::size_t most = 67) { return i * step % most + 1; }

inline std::uint16_t to_bf16(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
inline float rounded_to_bf16(double x) { return from_bf16(to_bf16(static_cast<float>(x))); }

/// Random numbers of a seed, normally distributed.
class random_numbers {
 public:
  explicit random_numbers(unsigned seed) : engine_(seed) {}
  float operator()() { return normal_(engine_); }
  std::vector<float> operator()(std::size_t n, float scale = 1) {
    std::vector<float> all(n);
    for (float& x : all) x = scale * (*this)();
    return all;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool watched = true;
#elif defined(__has_feature)
inline constexpr bool watched = __has_feature(address_sanitizer);
#else
inline constexpr bool watched = false;
#endif

/// Memory of n elements, `shift` elements behind where the allocator puts it. It ends where its allocation ends, for the address sanitizer
/// to see what is read or written behind it; without the sanitizer elements follow that must not change.
template <class T>
class guarded {
 public:
  guarded(std::size_t n, std::size_t shift, T fill = mark) : shift_(shift), n_(n), all_(shift + n + behind, mark) {
    for (T& x : span()) x = fill;
  }
  guarded(std::vector<T> const& from, std::size_t shift) : guarded(from.size(), shift) {
    for (std::size_t i = 0; i < n_; ++i) data()[i] = from[i];
  }

  [[nodiscard]] T* data() { return all_.data() + shift_; }
  [[nodiscard]] T const* data() const { return all_.data() + shift_; }
  [[nodiscard]] std::span<T> span() { return {data(), n_}; }
  [[nodiscard]] std::span<T const> span() const { return {data(), n_}; }
  [[nodiscard]] T& operator[](std::size_t i) { return data()[i]; }
  [[nodiscard]] T const& operator[](std::size_t i) const { return data()[i]; }
  [[nodiscard]] std::size_t size() const { return n_; }

  [[nodiscard]] bool kept_its_ends() const {
    for (std::size_t i = 0; i < all_.size(); ++i)
      if ((i < shift_ || i >= shift_ + n_) && all_[i] != mark) return false;
    return true;
  }

  /// What no kernel writes.
  static constexpr T mark = static_cast<T>(113);

 private:
  static constexpr std::size_t behind = watched ? 0 : 40;
  std::size_t shift_, n_;
  std::vector<T> all_;
};

using floats = guarded<float>;

inline floats bf16_values(floats x) {
  for (float& v : x.span()) v = rounded_to_bf16(static_cast<double>(v));
  return x;
}
inline guarded<std::uint16_t> bf16_bits(std::span<float const> x, std::size_t shift) {
  guarded<std::uint16_t> bits(x.size(), shift);
  for (std::size_t i = 0; i < x.size(); ++i) bits[i] = to_bf16(x[i]);
  return bits;
}

/// Moments in 8 bits and their scales: any first code, second ones above 0.
inline void fill_codes(unsigned seed, random_numbers& random, guarded<std::uint8_t>& first, guarded<std::uint8_t>& second, floats& first_scale,
                       floats& second_scale) {
  std::mt19937 engine(seed);
  for (std::size_t i = 0; i < first.size(); ++i) {
    first[i] = static_cast<std::uint8_t>(engine() & 0xffU);
    second[i] = static_cast<std::uint8_t>(1 + engine() % 255);
  }
  for (std::size_t b = 0; b < first_scale.size(); ++b) {
    first_scale[b] = std::abs(random()) + 0.01F;
    second_scale[b] = std::abs(random()) + 0.01F;
  }
}

/// A number that a plain loop in fp64 found, and how far the kernel's may be from it: rounding errors grow with the terms of a sum.
struct exact {
  double value;
  double slack;
};

/// NaN is close to NaN, and infinity to itself.
inline bool close(float x, exact const& e) {
  auto const wide = static_cast<double>(x);
  if (std::isnan(e.value)) return std::isnan(x);
  if (std::isinf(e.value)) return wide == e.value;
  return std::abs(wide - e.value) <= e.slack;
}

/// Where a kernel's numbers are first too far from the plain loop's; empty if nowhere.
inline std::string first_difference(std::span<float const> x, std::span<exact const> expected) {
  std::ostringstream text;
  text.precision(10);
  if (x.size() != expected.size()) text << x.size() << " numbers, not " << expected.size();
  for (std::size_t i = 0; i < x.size() && text.str().empty(); ++i)
    if (!close(x[i], expected[i])) text << "number " << i << " is " << x[i] << ", not " << expected[i].value << " within " << expected[i].slack;
  return text.str();
}

/// Whether two rows are the same bits; what NaN looks like is no matter.
inline bool same_bits(std::span<float const> x, std::span<float const> y) {
  if (x.size() != y.size()) return false;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i]) && !(std::isnan(x[i]) && std::isnan(y[i]))) return false;
  return true;
}

inline bool all_nan(std::span<float const> x) {
  for (float const v : x)
    if (!std::isnan(v)) return false;
  return true;
}
inline bool all_finite(std::span<float const> x) {
  for (float const v : x)
    if (!std::isfinite(v)) return false;
  return true;
}

}  // namespace kedge::testing
