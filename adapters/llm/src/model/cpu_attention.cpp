// SPDX-License-Identifier: Apache-2.0
#include "cpu_attention.hpp"

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

// Scores of this many queries are held at a time.
constexpr std::size_t block = 64;

struct query_block {
  std::size_t first;      // token
  std::size_t rows;
  std::size_t own_keys;   // of the run's own stretch, as many as the last row sees
  std::size_t keys, stride;
};

template <class F>
void each_block(run const& r, F const& f) {
  for (std::size_t q = 0; q < r.own.size; q += block) {
    std::size_t const rows = std::min(block, r.own.size - q), own_keys = q + rows, keys = r.prefix.size + r.prompt.size + own_keys;
    f(query_block{r.own.begin + q, rows, own_keys, keys, (keys + 15) / 16 * 16});
  }
}

float* scratch(std::size_t which, std::size_t n) {
  thread_local std::vector<float> own[2];
  if (own[which].size() < n) own[which].resize(n);
  return own[which].data();
}

// The products of attention for one query head: rows of q, k and v are slices of wider rows.
class head_products {
 public:
  head_products(product_kernel product, std::size_t q_row, std::size_t kv_row, std::size_t d)
      : product_(product), q_row_(q_row), kv_row_(kv_row), d_(d) {}

  // scores = x yᵀ over all keys a block sees: x rows of queries, y rows of keys or values
  void scores(run const& r, query_block const& b, float const* x, float const* y, float* to) const {
    each_part(r, b, [&](stretch keys, std::size_t before) {
      product_({{x + b.first * q_row_, q_row_, 1, false}, {y + keys.begin * kv_row_, 1, kv_row_, false}, to + before, b.stride, b.rows, keys.size, d_, false});
    });
  }
  // out = p y: one row of y a key
  void weigh(run const& r, query_block const& b, float const* p, float const* y, float* out) const {
    each_part(r, b, [&](stretch keys, std::size_t before) {
      product_({{p + before, b.stride, 1, false}, {y + keys.begin * kv_row_, kv_row_, 1, false}, out + b.first * q_row_, q_row_, b.rows, d_, keys.size, before > 0});
    });
  }
  // out += pᵀ x: a row of out a key; those of the prefix, which other prompts have too, are counted from 0 in a place of their own
  void spread(run const& r, query_block const& b, float const* p, float const* x, float* out, float* of_prefix) const {
    each_part(r, b, [&](stretch keys, std::size_t before) {
      bool const prefix = before < r.prefix.size;
      product_({{p + before, 1, b.stride, false}, {x + b.first * q_row_, q_row_, 1, false}, prefix ? of_prefix : out + keys.begin * kv_row_, kv_row_, keys.size,
                d_, b.rows, true});
    });
  }

 private:
  // f(keys, how many keys stand before them)
  template <class F>
  static void each_part(run const& r, query_block const& b, F const& f) {
    std::size_t before = 0;
    for (stretch const keys : {r.prefix, r.prompt, stretch{r.own.begin, b.own_keys}}) {
      if (keys.size > 0) f(keys, before);
      before += keys.size;
    }
  }

  product_kernel product_;
  std::size_t q_row_, kv_row_, d_;
};

}  // namespace

void prompt_attention::forward(shared_prompt const& group, std::size_t kv_head, float* out, float* log_sums) const {
  head_products const products(product, heads * d, kv_heads * d, d);
  std::size_t const share = heads / kv_heads;
  for (std::size_t h = kv_head * share; h < (kv_head + 1) * share; ++h)
    each_run(group, [&](attention_run const& tokens_of) {
      run const r(tokens_of);
      each_block(r, [&](query_block const& b) {
        float* const p = scratch(0, b.rows * b.stride);
        products.scores(r, b, q + h * d, k + kv_head * d, p);
        step.causal_softmax(p, b.rows, b.stride, b.keys, b.keys - b.rows + 1, scale, log_sums + h * tokens + b.first);
        products.weigh(r, b, p, v + kv_head * d, out + h * d);
      });
    });
}

void prompt_attention::backward(shared_prompt const& group, std::size_t kv_head, float const* g, float const* out, float const* log_sums,
                                float* gq, float* gk, float* gv, float* gk_prefix, float* gv_prefix) const {
  head_products const products(product, heads * d, kv_heads * d, d);
  std::size_t const share = heads / kv_heads;
  for (std::size_t h = kv_head * share; h < (kv_head + 1) * share; ++h)
    each_run(group, [&](attention_run const& tokens_of) {
      run const r(tokens_of);
      each_block(r, [&](query_block const& b) {
        float *const p = scratch(0, b.rows * b.stride), *const gp = scratch(1, b.rows * b.stride);
        products.scores(r, b, q + h * d, k + kv_head * d, p);
        products.scores(r, b, g + h * d, v + kv_head * d, gp);
        float inner[block];
        for (std::size_t i = 0; i < b.rows; ++i) {
          std::size_t const at = (b.first + i) * heads * d + h * d;
          inner[i] = step.dot(g + at, out + at, d);
        }
        step.causal_softmax_backward(p, gp, b.rows, b.stride, b.keys, b.keys - b.rows + 1, scale, log_sums + h * tokens + b.first, inner);
        products.weigh(r, b, gp, k + kv_head * d, gq + h * d);
        products.spread(r, b, gp, q + h * d, gk + kv_head * d, gk_prefix + kv_head * d);
        products.spread(r, b, p, g + h * d, gv + kv_head * d, gv_prefix + kv_head * d);
      });
    });
}

}  // namespace kedge::llm
