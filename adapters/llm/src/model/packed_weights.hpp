// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "../kernels/kernels.hpp"

namespace kedge::llm {

class thread_pool;

/// Uninitialised memory on large pages where the system grants them: streaming through weights would miss the address cache
/// at every 4 KiB otherwise. What is given back is kept for the next buffer of that size: to touch new memory costs more than
/// to fill it, and a training run samples again and again.
class large_buffer {
 public:
  large_buffer() = default;
  explicit large_buffer(std::size_t bytes);
  large_buffer(large_buffer&& other) noexcept
      : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  large_buffer& operator=(large_buffer&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~large_buffer();
  [[nodiscard]] std::byte* data() const { return bytes_; }

 private:
  std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

/// A matrix, or several with one input, in panels for decode_kernels::multiply.
class packed_matrix {
 public:
  packed_matrix() = default;
  /// Outputs of all matrices one after another, packed into `to`, which moves behind them.
  /// weights: [out, in], fp32 or bf16, contiguous, on the host   biases: one a matrix, undefined where it has none; or none at all
  static packed_matrix of(std::vector<at::Tensor> const& weights, std::vector<at::Tensor> const& biases, std::byte*& to,
                          thread_pool& threads);
  /// In every panel as many outputs of each: what panel_end::gate takes.   biases: undefined where there are none
  static packed_matrix of_gate_and_up(at::Tensor const& gate, at::Tensor const& up, at::Tensor const& gate_bias,
                                      at::Tensor const& up_bias, std::byte*& to, thread_pool& threads);
  /// Rows of matrices one after another, as they lie: nothing is packed, and a panel is decoded when it is multiplied.
  struct row_source {
    quantised_rows rows;
    std::size_t out;
    std::shared_ptr<void const> owner;  ///< of what they read
  };
  static packed_matrix of_rows(std::vector<row_source> sources, std::vector<float> bias);
  /// Whether its panels have to be decoded; decodes one, [in][panel_width].
  [[nodiscard]] bool by_rows() const { return !sources_.empty(); }
  void decode(std::size_t panel, float* to) const;

  /// Bytes that packing takes, for a matrix of so many outputs in all.
  static std::size_t bytes(std::size_t outputs, std::size_t in, std::size_t word) {
    std::size_t const panel_width = kernels().decode.panel_width;
    return (outputs + panel_width - 1) / panel_width * panel_width * in * word;
  }

  [[nodiscard]] std::size_t panels() const { return panels_; }
  [[nodiscard]] std::size_t in() const { return in_; }
  [[nodiscard]] std::size_t outputs() const { return outputs_; }
  /// The product of one panel with x [rows, in], y [rows, outputs]; the scratch is the caller's to set.
  [[nodiscard]] panel_product product(std::size_t panel, float const* x, std::size_t rows, float* y, std::size_t y_stride,
                                      panel_end end) const;

 private:
  struct panel_rows;
  static packed_matrix pack(at::Tensor const& like, std::size_t outputs, std::size_t width, panel_rows rows, std::byte*& to,
                            thread_pool& threads);

  std::size_t in_ = 0, outputs_ = 0, width_ = 0, panels_ = 0;
  bool bf16_ = false;
  std::byte const* panels_at_ = nullptr;
  std::vector<float> bias_;  // [panels, panel_width], or empty
  std::vector<row_source> sources_;
};

}  // namespace kedge::llm
