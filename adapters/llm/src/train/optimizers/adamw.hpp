// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include <kedge/llm/train/optimizer.hpp>

#include "../../kernels/adam.hpp"

namespace kedge::llm {

/// A tensor's two moments as they are kept; scales only where they are codes.
struct kept_moments {
  at::Tensor first, second, first_scale, second_scale;
};

/// How AdamW keeps its moments between steps.
struct moment_format {
  std::optional<at::ScalarType> type;  ///< none: the parameters' own
  bool scaled;                         ///< adam_block numbers of a tensor share a scale
  void (*adam_kernels::*one_pass)(adam_range const& range, adam_numbers const& numbers);
  /// The plain twins of what the kernel does to moments. `read` may give what is kept itself: what is done to m and v is done then.
  void (*read)(kept_moments const& kept, at::Tensor& m, at::Tensor& v);
  void (*write)(kept_moments const& kept, at::Tensor const& m, at::Tensor const& v, std::uint32_t seed);
};

/// AdamW on fp32 master weights (Loshchilov and Hutter 2019), as adam_numbers has it; each format of moments is an optimizer. Weight decay
/// spares vectors. Where tensors are contiguous, fp32 and on the host, a step is one pass over memory, and one launch where they are on a GPU with
/// kernels, to the same bits; elsewhere it is made of tensor operations with the same result up to rounding.
[[nodiscard]] optimizer_state init_adamw(moment_format const& format, pack const& theta);
void update_adamw(moment_format const& format, optimizer_settings const& settings, optimizer_state& state, optimizer_step const& step);

/// The same as an optimizer's members.
template <moment_format const& format>
[[nodiscard]] optimizer_state init_adamw(pack const& theta) {
  return init_adamw(format, theta);
}
template <moment_format const& format>
void update_adamw(optimizer_settings const& settings, optimizer_state& state, optimizer_step const& step) {
  update_adamw(format, settings, state, step);
}

/// random_bits of every element, as 64-bit numbers.
[[nodiscard]] at::Tensor random_of(at::Tensor const& like, std::uint32_t seed);

}  // namespace kedge::llm
