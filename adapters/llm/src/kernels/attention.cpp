// SPDX-License-Identifier: Apache-2.0
#include "attention.hpp"

#include <algorithm>
#include <vector>

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Tokens in a row.
struct stretch {
  std::size_t begin, size;
};

stretch stretch_of(token_range const& range) { return {as_size(range.begin), as_size(range.size)}; }

struct run {
  explicit run(attention_run const& r) : prefix(stretch_of(r.prefix)), prompt(stretch_of(r.prompt)), own(stretch_of(r.own)) {}
  stretch prefix, prompt, own;
};

// Queries of a run that are computed together, and what they see: keys are counted from the run's first one.
struct query_block {
  std::size_t first;  // token
  std::size_t rows;
  std::size_t first_key, keys;  // from the first that the first row sees to the last that the last row sees
  std::size_t stride;
};

// At most 64 queries, and fewer where their scores for all heads that share keys would not stay near.
template <class F>
void each_block(run const& r, std::size_t share, std::size_t scores, std::size_t window, F const& f) {
  constexpr std::size_t most = 64;
  std::size_t const before = r.prefix.size + r.prompt.size, all = before + r.own.size,
                    seen = window > 0 ? std::min(all, window + most) : all;
  std::size_t const fitting = scores / (share * seen) / 8 * 8, block = std::clamp(fitting, std::size_t{16}, most);
  for (std::size_t q = 0; q < r.own.size; q += block) {
    std::size_t const rows = std::min(block, r.own.size - q), sees = before + q + 1,
                      first_key = window > 0 && sees > window ? sees - window : 0;
    std::size_t const keys = before + q + rows - first_key;
    f(query_block{r.own.begin + q, rows, first_key, keys, (keys + 15) / 16 * 16});
  }
}

enum place : std::size_t { of_queries, of_gradients, of_scores, of_score_gradients, of_results, places };

float* scratch(place which, std::size_t n) {
  thread_local std::vector<float> own[places];
  if (own[which].size() < n) own[which].resize(n);
  return own[which].data();
}

// The query heads that share a key-value head, one below the other: [share · rows, d]. Their products with keys are one.
class stacked_heads {
 public:
  stacked_heads(prompt_attention const& all, std::size_t kv_head)
      : product_(all.kernels.product.multiply),
        share_(all.heads / all.kv_heads),
        first_(kv_head * share_ * all.d),
        q_row_(all.heads * all.d),
        kv_row_(all.kv_heads * all.d),
        d_(all.d) {}

  [[nodiscard]] std::size_t share() const { return share_; }

  [[nodiscard]] float const* gather(query_block const& b, float const* from, place to) const {
    float* const rows = scratch(to, share_ * b.rows * d_);
    each_row(b, [&](std::size_t at, std::size_t row) { std::copy_n(from + at, d_, rows + row * d_); });
    return rows;
  }
  void scatter(query_block const& b, float const* rows, float* to) const {
    each_row(b, [&](std::size_t at, std::size_t row) { std::copy_n(rows + row * d_, d_, to + at); });
  }
  // f(where a row's numbers begin in [T, heads, d], row)
  template <class F>
  void each_row(query_block const& b, F const& f) const {
    for (std::size_t h = 0; h < share_; ++h)
      for (std::size_t i = 0; i < b.rows; ++i) f((b.first + i) * q_row_ + first_ + h * d_, h * b.rows + i);
  }

  // scores = x yᵀ over all keys a block sees: x stacked rows, y rows of keys or values
  void scores(run const& r, query_block const& b, float const* x, float const* y, float* to) const {
    each_part(r, b, [&](stretch keys, std::size_t before, std::size_t) {
      product_({{x, d_, 1, false},
                {y + keys.begin * kv_row_, 1, kv_row_, false},
                nullptr,
                to + before,
                b.stride,
                share_ * b.rows,
                keys.size,
                d_});
    });
  }
  // p y, stacked: one row of y a key
  [[nodiscard]] float const* weigh(run const& r, query_block const& b, float const* p, float const* y) const {
    float* const out = scratch(of_results, share_ * b.rows * d_);
    each_part(r, b, [&](stretch keys, std::size_t before, std::size_t) {
      product_({{p + before, b.stride, 1, false},
                {y + keys.begin * kv_row_, kv_row_, 1, false},
                before > 0 ? out : nullptr,
                out,
                d_,
                share_ * b.rows,
                d_,
                keys.size});
    });
    return out;
  }
  // pᵀ x is added, a row a key: for the run's own keys to out, for those that other runs see too to of_shared
  void spread(run const& r, query_block const& b, float const* p, float const* x, float* out, float* of_shared) const {
    each_part(r, b, [&](stretch keys, std::size_t before, std::size_t in_run) {
      float* const to = in_run < r.prefix.size + r.prompt.size ? of_shared + in_run * kv_row_ : out + keys.begin * kv_row_;
      product_({{p + before, 1, b.stride, false}, {x, d_, 1, false}, to, to, kv_row_, keys.size, d_, share_ * b.rows});
    });
  }

 private:
  // f(keys, how many of the block's keys stand before them, how many of the run's)
  template <class F>
  static void each_part(run const& r, query_block const& b, F const& f) {
    std::size_t in_run = 0;
    for (stretch const& part : {r.prefix, r.prompt, r.own}) {
      std::size_t const from = std::max(in_run, b.first_key), end = std::min(in_run + part.size, b.first_key + b.keys);
      if (from < end) f(stretch{part.begin + from - in_run, end - from}, from - b.first_key, from);
      in_run += part.size;
    }
  }

  void (*product_)(matrix_product const&);
  std::size_t share_, first_, q_row_, kv_row_, d_;
};

// Of the block's scores those of one head.
score_block scores_of(prompt_attention const& all, query_block const& b, float* scores, std::size_t head) {
  return {.scores = scores + head * b.rows * b.stride,
          .rows = b.rows,
          .stride = b.stride,
          .keys = b.keys,
          .visible = b.keys - b.rows + 1,
          .window = all.window,
          .scale = all.scale,
          .cap = all.cap};
}

}  // namespace

void prompt_attention::forward(attention_run const& tokens_of, std::size_t kv_head, float* out, float* log_sums) const {
  stacked_heads const stack(*this, kv_head);
  run const r(tokens_of);
  each_block(r, stack.share(), kernels.near_scores, window, [&](query_block const& b) {
    float* const p = scratch(of_scores, stack.share() * b.rows * b.stride);
    stack.scores(r, b, stack.gather(b, q, of_queries), k + kv_head * d, p);
    for (std::size_t h = 0; h < stack.share(); ++h)
      kernels.softmax.causal(scores_of(*this, b, p, h), log_sums + (kv_head * stack.share() + h) * tokens + b.first);
    stack.scatter(b, stack.weigh(r, b, p, v + kv_head * d), out);
  });
}

void prompt_attention::backward(attention_run const& tokens_of, std::size_t kv_head, float const* g, float const* out,
                                float const* log_sums, float* gq, float* gk, float* gv, float* gk_shared,
                                float* gv_shared) const {
  stacked_heads const stack(*this, kv_head);
  run const r(tokens_of);
  each_block(r, stack.share(), kernels.near_scores, window, [&](query_block const& b) {
    std::size_t const rows = stack.share() * b.rows;
    float *const p = scratch(of_scores, rows * b.stride), *const gp = scratch(of_score_gradients, rows * b.stride);
    float const *const queries = stack.gather(b, q, of_queries), *const gradients = stack.gather(b, g, of_gradients);
    stack.scores(r, b, queries, k + kv_head * d, p);
    stack.scores(r, b, gradients, v + kv_head * d, gp);
    float* const inner = scratch(of_results, rows);
    stack.each_row(b, [&](std::size_t at, std::size_t row) { inner[row] = kernels.softmax.dot(g + at, out + at, d); });
    for (std::size_t h = 0; h < stack.share(); ++h)
      kernels.softmax.causal_backward(scores_of(*this, b, p, h), gp + h * b.rows * b.stride,
                                      log_sums + (kv_head * stack.share() + h) * tokens + b.first, inner + h * b.rows);
    stack.scatter(b, stack.weigh(r, b, gp, k + kv_head * d), gq);
    stack.spread(r, b, gp, queries, gk + kv_head * d, gk_shared + kv_head * d);
    stack.spread(r, b, p, gradients, gv + kv_head * d, gv_shared + kv_head * d);
  });
}

}  // namespace kedge::llm
