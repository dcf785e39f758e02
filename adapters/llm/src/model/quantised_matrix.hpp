// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include <kedge/adapters/torch.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/base_settings.hpp>

#include "../kernels/quantised.hpp"

namespace kedge::llm {

/// A frozen matrix that stays quantised, [out, in]: as a file has it, or as bitsandbytes makes it of fp32. On the processor products dequantise pieces of
/// it to fp32 in the cache, forward and backward. Copies share the numbers.
class quantised_matrix {
 public:
  quantised_matrix() = default;
  /// type: that of the computation, which says what products round
  quantised_matrix(stored_blocks const& blocks, std::int64_t out, std::int64_t in, at::ScalarType type);
  /// Quantises `weight` as the settings say, on load in 4 or in 8 bits.   weight: [out, in], fp32 on the host, contiguous
  quantised_matrix(at::Tensor const& weight, base_settings const& how, at::ScalarType type);

  [[nodiscard]] bool defined() const { return owner_ != nullptr; }
  [[nodiscard]] std::int64_t out() const { return out_; }
  [[nodiscard]] std::int64_t in() const { return static_cast<std::int64_t>(rows_.in); }
  [[nodiscard]] at::ScalarType type() const { return type_; }
  /// The type of activations between products with it; see ops::stream_type.
  [[nodiscard]] at::ScalarType stream_type() const;
  /// Bytes that it takes.
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] quantised_rows const& rows() const { return rows_; }

  /// Some of its rows.
  [[nodiscard]] quantised_matrix part(std::int64_t begin, std::int64_t size) const;
  /// Some of its rows as numbers; all of it.
  [[nodiscard]] at::Tensor dense(std::int64_t begin, std::int64_t size, at::ScalarType type) const;
  [[nodiscard]] at::Tensor dense(at::ScalarType type) const { return dense(0, out_, type); }
  /// The rows of tokens, [T, in], in the type of the computation.
  [[nodiscard]] at::Tensor look_up(at::Tensor const& tokens) const;

  /// x Wᵀ, onto `onto` where there is one.   x: [T, in] -> [T, out]
  [[nodiscard]] at::Tensor linear(at::Tensor const& x, at::Tensor const& onto = {}) const;
  /// g W, added to `sum` where there is one.   g: [T, out] -> [T, in]
  [[nodiscard]] at::Tensor input_gradient(at::Tensor const& g, at::Tensor sum = {}) const;

 private:
  [[nodiscard]] at::Tensor product(at::Tensor const& x, bool transposed, at::Tensor const& onto) const;
  [[nodiscard]] at::Tensor by_operations(at::Tensor const& x, bool transposed, at::Tensor const& onto) const;

  quantised_rows rows_{};
  std::int64_t out_ = 0, bytes_ = 0;
  at::ScalarType type_ = at::kFloat;
  std::shared_ptr<void const> owner_;
};

/// The type of its numbers where none is rounded.
[[nodiscard]] inline at::ScalarType wide_type(quantised_matrix const& m) { return m.type() == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace kedge::llm
