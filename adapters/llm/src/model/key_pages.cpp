// SPDX-License-Identifier: Apache-2.0
#include "key_pages.hpp"

#include <algorithm>
#include <cstring>

namespace kedge::llm {

void key_pages::reserve(std::size_t pages) {
  if (pages <= at_.size()) return;
  std::size_t const bytes = layers_ * kv_heads_ * block_, more = std::max<std::size_t>(pages - at_.size(), 32);
  slabs_.emplace_back(more * bytes);
  for (std::size_t i = 0; i < more; ++i) at_.push_back(slabs_.back().data() + i * bytes);
}

void key_pages::copy(std::int32_t from, std::int32_t to) {
  std::memcpy(block(to, 0, 0), block(from, 0, 0), layers_ * kv_heads_ * block_);
}

void key_pages::keep(std::byte* block, std::size_t offset, float const* k, float const* v) const {
  if (bf16_)
    store(reinterpret_cast<at::BFloat16*>(block), offset, k, v);
  else
    store(reinterpret_cast<float*>(block), offset, k, v);
}

// Zeros fill a head up to what pages hold.
template <class Element>
void key_pages::store(Element* block, std::size_t offset, float const* k, float const* v) const {
  for (std::size_t i = 0; i < padded_; ++i) {
    block[i * page_positions + offset] = i < d_ ? k[i] : 0.0F;
    block[(page_positions + offset) * padded_ + i] = i < d_ ? v[i] : 0.0F;
  }
}

}  // namespace kedge::llm
