// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of a GPU's kernels share: the tables of this host, and matrices of either type that begin anywhere and have gaps between rows.

#include "../adapters/llm/src/kernels/cuda/host_block.hpp"
#include "../adapters/llm/src/kernels/cuda/table.hpp"
#include "llm/kernels/support.hpp"

namespace kedge::testing {

/// f(table, threads) for blocks of one thread, as host_gpu_kernels has them, and of several at once.
template <class F>
void each_gpu_table(F const& f) {
  auto const take = [&](llm::gpu_kernel_table const& table, int threads) {
    INFO("blocks of " << threads << " threads");
    f(table, threads);
  };
  take(llm::host_gpu_kernels(), 1);
  take(llm::gpu::table_of<llm::gpu::host_device<3>>, 3);
}

inline constexpr llm::gpu_number number_types[] = {llm::gpu_number::fp32, llm::gpu_number::bf16};

/// Widths that fill no vector, fill some, and a real one; and one for which the first vectors of a thread are too few.
inline constexpr std::size_t some_widths[] = {1, 3, 7, 8, 31, 32, 33, 64, 67, 576};

/// A matrix of a kernel. `gap` numbers that must not change lie between its rows; `shift` as in guarded. Whole vectors may be moved if both are 0.
class matrix {
 public:
  matrix(llm::gpu_number type, std::size_t rows, std::size_t width, std::size_t gap, std::size_t shift)
      : type_(type), rows_(rows), width_(width), stride_(width + gap), wide_(narrow() ? 0 : size(), shift), narrow_(narrow() ? size() : 0, shift) {}
  matrix(llm::gpu_number type, std::size_t rows, std::size_t width, std::size_t gap, std::size_t shift, random_numbers& random) : matrix(type, rows, width, gap, shift) {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = 0; i < width; ++i) set(r, i, random());
  }

  [[nodiscard]] bool narrow() const { return type_ == llm::gpu_number::bf16; }
  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t width() const { return width_; }
  [[nodiscard]] double operator()(std::size_t row, std::size_t i) const {
    return static_cast<double>(narrow() ? from_bf16(narrow_[row * stride_ + i]) : wide_[row * stride_ + i]);
  }
  void set(std::size_t row, std::size_t i, float x) {
    if (narrow())
      narrow_[row * stride_ + i] = to_bf16(x);
    else
      wide_[row * stride_ + i] = x;
  }
  [[nodiscard]] llm::gpu_matrix view() {
    return {narrow() ? static_cast<void*>(narrow_.data()) : wide_.data(), type_, static_cast<std::int64_t>(stride_)};
  }
  /// Row by row.
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> all;
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t i = 0; i < width_; ++i) all.push_back(static_cast<float>((*this)(r, i)));
    return all;
  }
  /// What lies between and around rows is what it was.
  [[nodiscard]] bool kept_its_ends() const {
    for (std::size_t r = 0; r + 1 < rows_; ++r)
      for (std::size_t i = width_; i < stride_; ++i)
        if (narrow() ? narrow_[r * stride_ + i] != guarded<std::uint16_t>::mark : wide_[r * stride_ + i] != floats::mark) return false;
    return wide_.kept_its_ends() && narrow_.kept_its_ends();
  }
  /// What one rounding to its type may change of a number, and one of fp32 of a sum of such size.
  [[nodiscard]] double slack(double number, double size) const { return std::abs(number) * (narrow() ? 1.0 / 256 : 0) + 2e-6 * std::abs(size); }

 private:
  [[nodiscard]] std::size_t size() const { return rows_ == 0 ? 0 : (rows_ - 1) * stride_ + width_; }

  llm::gpu_number type_;
  std::size_t rows_, width_, stride_;
  floats wide_;
  guarded<std::uint16_t> narrow_;
};

/// Lets every matrix and row of a case begin where 16 bytes may be moved, or where they may not.
struct layout {
  std::size_t gap, shift;
};
inline constexpr layout layouts[] = {{0, 0}, {8, 0}, {5, 1}};

}  // namespace kedge::testing
