// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <ATen/core/TensorBody.h>

#include "../kernels/paged_attention.hpp"
#include "packed_weights.hpp"

namespace kedge::llm {

/// Keys and values of earlier positions, in blocks as decode_kernels::attend reads them: one a page, layer and key-value head.
class key_pages {
 public:
  /// d: numbers of a head; blocks hold as many as `padded()`, zeros behind
  key_pages(std::size_t layers, std::size_t kv_heads, std::size_t d, bool bf16)
      : layers_(layers),
        kv_heads_(kv_heads),
        d_(d),
        padded_((d + page_positions - 1) / page_positions * page_positions),
        bf16_(bf16),
        block_(2 * page_positions * padded_ * (bf16 ? 2 : 4)) {}

  [[nodiscard]] std::size_t padded() const { return padded_; }

  /// From now on pages 0 … pages − 1 are there; what is in pages stays.
  void reserve(std::size_t pages);
  /// Copies all layers of a page.
  void copy(std::int32_t from, std::int32_t to);
  [[nodiscard]] std::byte* block(std::int32_t page, std::size_t layer, std::size_t kv_head) const {
    return at_[static_cast<std::size_t>(page)] + (layer * kv_heads_ + kv_head) * block_;
  }
  /// Puts a position's key and value of a head into its block.   offset: within the page
  void keep(std::byte* block, std::size_t offset, float const* k, float const* v) const;

 private:
  template <class Element>
  void store(Element* block, std::size_t offset, float const* k, float const* v) const;

  std::size_t layers_, kv_heads_, d_, padded_;
  bool bf16_;
  std::size_t block_;  // bytes
  std::vector<large_buffer> slabs_;
  std::vector<std::byte*> at_;
};

}  // namespace kedge::llm
