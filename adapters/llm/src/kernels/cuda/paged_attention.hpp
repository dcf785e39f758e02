// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// gpu_paged_attention: a block takes a part of the keys, for up to Rows queries and query heads that share a key-value head, so that a key is read
/// once for all of them. Its softmax is made of sums in fp32; parts of a query are joined by join_attention. Moved, a token's key and value and head:
/// 2 · head_dim numbers, by 16 bytes.
template <class T, int N, int Rows>
struct paged_attention {
  using arguments = gpu_paged_attention;
  static constexpr int most_threads = 128, segments = 16;

  static gpu_grid grid(gpu_paged_attention const& a) {
    return {a.part_count * a.kv_heads * head_groups(a), most_threads, memory::bytes(a.head_dim)};
  }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_paged_attention const& a) {
    place const at(block.index(), a);
    memory const m(block.template shared<std::byte>(), a.head_dim);
    std::int64_t const page_of = a.page_tokens;
    each(block, at.keys, [&](std::int64_t k) {
      std::int64_t const key = at.first_key + k;
      m.entries[k] = a.pages[at.part.sequence * a.most_pages + key / page_of] * page_of + key % page_of;
    });
    each(block, at.rows * (a.head_dim / N), [&](std::int64_t i) {
      std::int64_t const row = i / (a.head_dim / N), d = i % (a.head_dim / N) * N;
      store(m.q + row * a.head_dim + d, number_row<T>(a.q, at.query(row)).template get<N>(at.head(row) * a.head_dim + d));
    });
    block.sync();
    each(block, at.keys, [&](std::int64_t k) { score(a, at, m, k); });
    block.sync();
    soften(block, at, m);
    each(block, outputs(a), [&](std::int64_t i) { weigh(a, at, m, i); });
    block.sync();
    each(block, at.rows * (a.head_dim / N), [&](std::int64_t i) { finish(a, at, m, i); });
    block.sync();  // the next block's memory is this one's
  }

 private:
  static constexpr std::int64_t part_keys = attention_part_keys;

  KEDGE_GPU static std::int64_t group_heads(gpu_paged_attention const& a) { return a.heads / a.kv_heads; }
  KEDGE_GPU static std::int64_t head_groups(gpu_paged_attention const& a) { return pieces(group_heads(a), Rows); }
  // Every so many keys are weighted by one thread, N coordinates by another.
  KEDGE_GPU static constexpr std::int64_t strides(std::int64_t head_dim) { return head_dim / N < most_threads ? most_threads / (head_dim / N) : 1; }
  KEDGE_GPU static std::int64_t outputs(gpu_paged_attention const& a) { return strides(a.head_dim) * (a.head_dim / N); }

  /// What a block computes: rows are queries, and within a query heads.
  struct place {
    gpu_attention_part part;
    std::int64_t kv_head, first_head, heads, rows;  // heads: of a query, in this block
    std::int64_t first_key, keys, first_visible;    // keys: from first_key to the last that is seen; first_visible: the first, counted from first_key
    std::int64_t window;
    std::int64_t const* positions;

    KEDGE_GPU place(std::int64_t index, gpu_paged_attention const& a) : part(a.parts[index / (a.kv_heads * head_groups(a))]), window(a.window), positions(a.positions) {
      std::int64_t const groups = head_groups(a), of_group = group_heads(a), within = index % (a.kv_heads * groups);
      kv_head = within / groups;
      std::int64_t const begin = within % groups * Rows;
      heads = of_group - begin < Rows ? of_group - begin : Rows;
      first_head = kv_head * of_group + begin;
      rows = part.queries * heads;
      first_key = part.first_key;
      std::int64_t const last = positions[part.query + part.queries - 1] + 1 - first_key;
      keys = last < part_keys ? last : part_keys;
      std::int64_t const first = window > 0 ? positions[part.query] - window + 1 - first_key : 0;
      first_visible = first < 0 ? 0 : first < keys ? first : keys;
    }
    KEDGE_GPU std::int64_t query(std::int64_t row) const { return part.query + row / heads; }
    KEDGE_GPU std::int64_t head(std::int64_t row) const { return first_head + row % heads; }
    KEDGE_GPU bool sees(std::int64_t row, std::int64_t k) const {
      std::int64_t const position = positions[query(row)], key = first_key + k;
      return key <= position && (window == 0 || key > position - window);
    }
  };

  /// What a block's threads share. Queries are no longer read when outputs are summed, in the same place.
  struct memory {
    std::int64_t* entries;   // [part_keys] where a key lies
    float* scores;           // [Rows, part_keys]
    float *most, *sums;      // [Rows, segments]
    float *q, *outputs;      // [Rows, head_dim]; [strides, Rows, head_dim]

    KEDGE_GPU memory(std::byte* at, std::int64_t) : entries(reinterpret_cast<std::int64_t*>(at)), scores(reinterpret_cast<float*>(entries + part_keys)) {
      most = scores + Rows * part_keys;
      sums = most + Rows * segments;
      q = outputs = sums + Rows * segments;
    }
    static std::size_t bytes(std::int64_t head_dim) {
      return static_cast<std::size_t>(part_keys * 8 + 4 * (Rows * (part_keys + 2 * segments) + strides(head_dim) * Rows * head_dim));
    }
  };

  /// Scores of a key for all rows.
  KEDGE_GPU static void score(gpu_paged_attention const& a, place const& at, memory const& m, std::int64_t k) {
    float own[Rows]{};
    if (k >= at.first_visible) {
      number_row<T> const key(a.keys, m.entries[k]);
      for (std::int64_t d = 0; d < a.head_dim; d += N) {
        vec<N> const x = key.template get<N>(at.kv_head * a.head_dim + d);
        KEDGE_UNROLL
        for (int row = 0; row < Rows; ++row)
          if (row < at.rows) {
            vec<N> const q = load<N>(m.q + row * a.head_dim + d);
            KEDGE_UNROLL
            for (int j = 0; j < N; ++j) own[row] = std::fma(q[j], x[j], own[row]);
          }
      }
    }
    KEDGE_UNROLL
    for (int row = 0; row < Rows; ++row)
      if (row < at.rows) {
        float const s = own[row] * a.scale;
        m.scores[row * part_keys + k] = !at.sees(row, k) ? -std::numeric_limits<float>::infinity() : a.soft_cap > 0 ? std::tanh(s / a.soft_cap) * a.soft_cap : s;
      }
  }

  /// Scores become shares of the likeliest key. m.most[row, 0] and m.sums[row, 0 …] are what they are relative to, and their sums.
  template <class Block>
  KEDGE_GPU static void soften(Block& block, place const& at, memory const& m) {
    constexpr float none = -std::numeric_limits<float>::infinity();
    each(block, at.rows * segments, [&](std::int64_t i) {
      float const* const scores = m.scores + i / segments * part_keys;
      float most = none;
      for (std::int64_t k = i % segments; k < at.keys; k += segments) most = scores[k] > most ? scores[k] : most;
      m.most[i] = most;
    });
    block.sync();
    each(block, at.rows * segments, [&](std::int64_t i) {
      float* const scores = m.scores + i / segments * part_keys;
      float const top = largest(m, i / segments);
      float sum = 0;
      for (std::int64_t k = i % segments; k < at.keys; k += segments) sum += scores[k] = scores[k] == none ? 0 : std::exp(scores[k] - top);
      m.sums[i] = sum;
    });
    block.sync();
  }
  KEDGE_GPU static float largest(memory const& m, std::int64_t row) {
    float top = m.most[row * segments];
    for (int i = 1; i < segments; ++i) top = m.most[row * segments + i] > top ? m.most[row * segments + i] : top;
    return top;
  }
  KEDGE_GPU static float sum_of(memory const& m, std::int64_t row) {
    float sum = 0;
    for (int i = 0; i < segments; ++i) sum += m.sums[row * segments + i];
    return sum;
  }

  /// N coordinates of all rows' outputs, of every so many keys.
  KEDGE_GPU static void weigh(gpu_paged_attention const& a, place const& at, memory const& m, std::int64_t i) {
    std::int64_t const vectors = a.head_dim / N, stride = strides(a.head_dim), begin = i / vectors, d = i % vectors * N;
    vec<N> own[Rows]{};
    for (std::int64_t k = at.first_visible + begin; k < at.keys; k += stride) {
      vec<N> const value = number_row<T>(a.values, m.entries[k]).template get<N>(at.kv_head * a.head_dim + d);
      KEDGE_UNROLL
      for (int row = 0; row < Rows; ++row)
        if (row < at.rows) {
          float const share = m.scores[row * part_keys + k];
          KEDGE_UNROLL
          for (int j = 0; j < N; ++j) own[row][j] = std::fma(share, value[j], own[row][j]);
        }
    }
    KEDGE_UNROLL
    for (int row = 0; row < Rows; ++row)
      if (row < at.rows) store(m.outputs + (begin * Rows + row) * a.head_dim + d, own[row]);
  }

  KEDGE_GPU static void finish(gpu_paged_attention const& a, place const& at, memory const& m, std::int64_t i) {
    std::int64_t const vectors = a.head_dim / N, row = i / vectors, d = i % vectors * N, head = at.head(row), query = at.query(row);
    vec<N> sum{};
    for (std::int64_t s = 0; s < strides(a.head_dim); ++s) {
      vec<N> const part = load<N>(m.outputs + (s * Rows + row) * a.head_dim + d);
      KEDGE_UNROLL
      for (int j = 0; j < N; ++j) sum[j] += part[j];
    }
    float const top = largest(m, row), all = sum_of(m, row);
    if (at.part.partial < 0) {
      float const with_sink = a.sinks ? all + std::exp(a.sinks[head] - top) : all;
      number_row<T>(a.out, query).put(head * a.head_dim + d, made<N>([&](int j) { return sum[j] / with_sink; }));
      return;
    }
    std::int64_t const to = (at.part.partial + (query - at.part.query) * at.part.partial_stride) * a.heads + head;
    store(a.partial + to * a.head_dim + d, sum);
    if (d > 0) return;
    float* const figures = a.partial + a.partial_count * a.heads * a.head_dim + 2 * to;
    figures[0] = top;
    figures[1] = all;
  }
};

/// Joins the parts of each query that has several: a block takes a query's head.
template <class T>
struct join_attention {
  using arguments = gpu_paged_attention;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_paged_attention const& a) { return {a.join_count * a.heads, threads_for(a.head_dim, 1, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_paged_attention const& a) {
    gpu_attention_join const of = a.joins[block.index() / a.heads];
    std::int64_t const head = block.index() % a.heads, step = a.heads, first = of.partial * a.heads + head;
    float const* const figures = a.partial + a.partial_count * a.heads * a.head_dim;
    float top = -std::numeric_limits<float>::infinity(), all = 0;
    for (std::int64_t p = 0; p < of.parts; ++p) top = figures[2 * (first + p * step)] > top ? figures[2 * (first + p * step)] : top;
    auto const share = [&](std::int64_t p) { return std::exp(figures[2 * (first + p * step)] - top); };
    for (std::int64_t p = 0; p < of.parts; ++p) all += figures[2 * (first + p * step) + 1] * share(p);
    if (a.sinks) all += std::exp(a.sinks[head] - top);
    each(block, a.head_dim, [&](std::int64_t d) {
      float sum = 0;
      for (std::int64_t p = 0; p < of.parts; ++p) sum += a.partial[(first + p * step) * a.head_dim + d] * share(p);
      number_row<T>(a.out, of.query).template put<1>(head * a.head_dim + d, {{sum / all}});
    });
  }
};

}  // namespace kedge::llm::gpu
