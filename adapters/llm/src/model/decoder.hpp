// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "../kernels/paged_attention.hpp"

namespace kedge::llm {

class thread_pool;

/// Positions whose keys and values lie together.
inline constexpr std::int64_t page_tokens = page_positions;

/// Tokens that pass through the model in one step, each once: prompts, or the last token of every sequence being decoded,
/// or both. The tokens of a sequence stand in a row, positions ascending.
struct step_batch {
  std::vector<std::int32_t> tokens, positions;        ///< [T]
  std::vector<std::int32_t> sequence;                 ///< [T] index into tables
  std::vector<std::span<std::int32_t const>> tables;  ///< pages of each sequence; position p lies in its page p / page_tokens
  std::vector<std::int32_t> rows;                     ///< [R] tokens after which logits are wanted

  [[nodiscard]] std::size_t size() const { return tokens.size(); }
};

/// The model one step at a time, with the keys and values of all earlier positions kept in pages that the caller hands out.
class decoder {
 public:
  decoder() = default;
  decoder(decoder const&) = delete;
  decoder& operator=(decoder const&) = delete;
  virtual ~decoder() = default;

  /// From now on pages 0 … pages − 1 may be used; what is in pages stays.
  virtual void reserve(std::int32_t pages) = 0;
  /// Copies all layers of a page.
  virtual void copy_page(std::int32_t from, std::int32_t to) = 0;
  /// Keeps keys and values of the batch's tokens, and returns logits after `rows`: [R, V], rows contiguous, at least fp32, where they were
  /// computed. Valid until the next call; the caller may write on them.
  [[nodiscard]] virtual at::Tensor logits(step_batch const& batch) = 0;
};

/// Tensor operations, and where the device has kernels (gpu_way.hpp) these: any device, any type.
std::unique_ptr<decoder> make_tensor_decoder(causal_lm const& model, pack const& weights);

/// By the processor's kernels, on packed copies of the weights: fp32 and bf16 on the host. What a row gives doesn't depend on the others, not
/// even by rounding. Null for other types and devices.
std::unique_ptr<decoder> make_cpu_decoder(causal_lm const& model, pack const& weights, thread_pool& threads);

/// The fastest decoder for the model's type and device. The pool and the weights have to outlive it.
std::unique_ptr<decoder> make_decoder(causal_lm const& model, pack const& weights, thread_pool& threads);

}  // namespace kedge::llm
