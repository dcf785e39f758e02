// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Positions whose keys and values lie together in a page, and the numbers that head sizes are multiples of.
inline constexpr std::size_t page_positions = 16;

/// Attention of the query heads that share a key-value head, for one token.
struct grouped_attention {
  float const* q;              ///< [heads, d]
  std::size_t heads, d, keys;  ///< d a multiple of page_positions
  void const* const* pages;    ///< of page_positions, fp32 or bf16: keys [d][page_positions], then values [page_positions][d]
  float* scores;               ///< scratch, [heads, keys rounded up to page_positions]
  float* out;                  ///< [heads, d]
  float scale;
  bool bf16;              ///< pages are bf16, and the output is rounded to it
  std::size_t first = 0;  ///< key that is seen first, one of the first page; those before it are hidden
  float cap = 0;          ///< scores become cap · tanh(score / cap); 0: no cap
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace decode {

constexpr std::size_t page = page_positions;

// Numbers of pages as they lie in memory.
template <bool Bf16>
KEDGE_INLINE floats page_number(void const* at, std::size_t index) {
  if constexpr (Bf16) return number(static_cast<std::uint16_t const*>(at) + index);
  return number(static_cast<float const*>(at) + index);
}

// A page is read once a step and has left the caches since: this one's values and the next one's keys are asked for meanwhile.
template <bool Bf16>
struct page_prefetch {
  static constexpr std::size_t line = page * (Bf16 ? 2 : 4);
  char const *values, *next;
  page_prefetch(grouped_attention const& a, std::size_t index)
      : values(static_cast<char const*>(a.pages[index]) + a.d * line),
        next((index + 1) * page < a.keys ? static_cast<char const*>(a.pages[index + 1]) : values) {}
  KEDGE_INLINE void operator()(std::size_t i) const {
    if (Bf16 && i % 2 != 0) return;  // half a cache line a row
    __builtin_prefetch(values + i * line);
    __builtin_prefetch(next + i * line);
  }
};

// Vectors of keys that a query is multiplied by at once, two chains each, since one would wait for itself.
template <std::size_t Heads>
inline constexpr std::size_t score_vectors = smaller(page / lanes, tile_sums >= 4 * Heads ? tile_sums / (2 * Heads) : 1);

// Scores of the keys of a page for Heads queries.
template <std::size_t Heads, bool Bf16>
void score_page(grouped_attention const& a, std::size_t first_head, std::size_t index, std::size_t stride) {
  constexpr std::size_t vectors = score_vectors<Heads>;
  static_assert(page / lanes % vectors == 0);
  float const* const q = a.q + first_head * a.d;
  page_prefetch<Bf16> const ask(a, index);
  for (std::size_t at = 0; at < page; at += vectors * lanes) {
    floats sums[Heads][vectors][2];
    for (auto& head : sums)
      for (auto& s : head) s[0] = s[1] = zero();
    for (std::size_t i = 0; i < a.d; i += 2)
      for (std::size_t chain = 0; chain < 2; ++chain) {
        if (at == 0) ask(i + chain);
        floats keys[vectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v)
          keys[v] = page_number<Bf16>(a.pages[index], (i + chain) * page + at + v * lanes);
#pragma GCC unroll 4
        for (std::size_t h = 0; h < Heads; ++h) {
          floats const number = broadcast(q[h * a.d + i + chain]);
#pragma GCC unroll 4
          for (std::size_t v = 0; v < vectors; ++v) sums[h][v][chain] = fma(number, keys[v], sums[h][v][chain]);
        }
      }
    floats const unseen = broadcast(-__builtin_inff());
    for (std::size_t v = 0; v < vectors; ++v) {
      std::size_t const key = index * page + at + v * lanes;
      part const seen = first(a.keys > key ? a.keys - key : 0), hidden = first(a.first > key ? a.first - key : 0);
      for (std::size_t h = 0; h < Heads; ++h) {
        floats score = (sums[h][v][0] + sums[h][v][1]) * a.scale;
        if (a.cap > 0) score = tanh(score / a.cap) * a.cap;
        store(a.scores + (first_head + h) * stride + key, keep(unseen, hidden, keep(score, seen, unseen)));
      }
    }
  }
}

// Scores become probabilities, without their common factor, which is returned. n is a multiple of the lanes.
inline float soften(float* scores, std::size_t n) {
  floats const unseen = broadcast(-__builtin_inff());
  floats most = unseen;
  for (std::size_t i = 0; i < n; i += lanes) most = max(most, load(scores + i));
  float const shift = largest(most);
  floats total = zero();
  for (std::size_t i = 0; i < n; i += lanes) {
    floats const s = load(scores + i), p = s == unseen ? zero() : exp(s - shift);
    store(scores + i, p);
    total += p;
  }
  return 1 / sum(total);
}

// Values weighted by probabilities: lanes · Width numbers of Heads outputs.
template <std::size_t Heads, std::size_t Width, bool Bf16>
void weigh_values(grouped_attention const& a, std::size_t first_head, std::size_t at, std::size_t stride,
                  float const* factors) {
  floats sums[Heads][Width];
  for (auto& head : sums)
    for (auto& s : head) s = zero();
  for (std::size_t j = a.first; j < a.keys; ++j) {
    std::size_t const row = a.d * page + (j % page) * a.d + at;
    floats value[Width];
#pragma GCC unroll 4
    for (std::size_t w = 0; w < Width; ++w) value[w] = page_number<Bf16>(a.pages[j / page], row + w * lanes);
#pragma GCC unroll 4
    for (std::size_t h = 0; h < Heads; ++h) {
      floats const p = broadcast(a.scores[(first_head + h) * stride + j]);
#pragma GCC unroll 4
      for (std::size_t w = 0; w < Width; ++w) sums[h][w] = fma(p, value[w], sums[h][w]);
    }
  }
  for (std::size_t h = 0; h < Heads; ++h)
    for (std::size_t w = 0; w < Width; ++w)
      store(a.out + (first_head + h) * a.d + at + w * lanes, rounded<Bf16>(sums[h][w] * factors[h]));
}

template <std::size_t Heads, bool Bf16>
void attend_heads(grouped_attention const& a, std::size_t begin) {
  constexpr std::size_t width = tile_sums / 6;  // of four heads: two thirds of the sums' registers
  std::size_t const pages = (a.keys + page - 1) / page, stride = pages * page;
  for (std::size_t i = 0; i < pages; ++i) score_page<Heads, Bf16>(a, begin, i, stride);
  float factors[Heads];
  for (std::size_t h = 0; h < Heads; ++h) factors[h] = soften(a.scores + (begin + h) * stride, stride);
  std::size_t at = 0;
  for (; at + width * lanes <= a.d; at += width * lanes) weigh_values<Heads, width, Bf16>(a, begin, at, stride, factors);
  for (; at < a.d; at += lanes) weigh_values<Heads, 1, Bf16>(a, begin, at, stride, factors);
}

template <bool Bf16>
void attend_all(grouped_attention const& a) {
  std::size_t h = 0;
  for (; h + 4 <= a.heads; h += 4) attend_heads<4, Bf16>(a, h);
  for (; h + 3 <= a.heads; h += 3) attend_heads<3, Bf16>(a, h);
  for (; h < a.heads; ++h) attend_heads<1, Bf16>(a, h);
}

inline void attend(grouped_attention const& a) { a.bf16 ? attend_all<true>(a) : attend_all<false>(a); }

}  // namespace decode
}  // namespace kedge::llm::KEDGE_ISA
#endif
