// SPDX-License-Identifier: Apache-2.0

// Attention over pages by the kernel of a GPU, whose body runs here, against float64.

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "../adapters/llm/src/kernels/cuda/attention_plan.hpp"
#include "../adapters/llm/src/kernels/cuda/host_block.hpp"
#include "../adapters/llm/src/kernels/cuda/table.hpp"
#include "llm/kernels/support.hpp"

using namespace kedge::llm;
using kedge::testing::random_numbers;

namespace {

constexpr std::int64_t tokens_of_page = 16;

struct shape {
  std::int64_t heads = 4, kv_heads = 2, head_dim = 16, window = 0;
  float soft_cap = 0;
  bool sinks = false;
};

// A sequence of so many keys, of which the last ones are new.
struct new_tokens {
  std::int64_t keys, queries;
};

// Queries, keys and values of sequences whose pages lie in disorder. Numbers are those of bf16, so that both types hold the same.
struct problem {
  shape of;
  std::vector<std::int64_t> sequence, positions, pages;
  std::int64_t most_pages = 0;
  std::vector<float> q, keys, values, sinks;

  problem(shape s, std::vector<new_tokens> const& sequences, unsigned seed) : of(s) {
    random_numbers random(seed);
    auto const numbers = [&](std::int64_t n, float scale) {
      std::vector<float> x = random(static_cast<std::size_t>(n), scale);
      for (float& v : x) v = kedge::testing::rounded_to_bf16(v);
      return x;
    };
    for (new_tokens const& n : sequences) most_pages = std::max(most_pages, gpu::pieces(n.keys, tokens_of_page));
    auto const S = static_cast<std::int64_t>(sequences.size());
    std::int64_t const all_pages = S * most_pages + 1;
    for (std::int64_t i = 0; i < S; ++i) {
      for (std::int64_t p = 0; p < most_pages; ++p) pages.push_back(all_pages - 1 - (i + p * S));  // page 0 is nobody's
      new_tokens const& n = sequences[static_cast<std::size_t>(i)];
      for (std::int64_t p = n.keys - n.queries; p < n.keys; ++p) {
        sequence.push_back(i);
        positions.push_back(p);
      }
    }
    q = numbers(static_cast<std::int64_t>(positions.size()) * s.heads * s.head_dim, 1.5F);
    keys = numbers(all_pages * tokens_of_page * s.kv_heads * s.head_dim, 1);
    values = numbers(all_pages * tokens_of_page * s.kv_heads * s.head_dim, 1);
    sinks = numbers(s.heads, 2);
  }

  [[nodiscard]] float scale() const { return 1 / std::sqrt(static_cast<float>(of.head_dim)); }

  // A head's query as its definition has it.
  [[nodiscard]] std::vector<double> exact(std::size_t query, std::int64_t head) const {
    std::int64_t const kv = head / (of.heads / of.kv_heads), d = of.head_dim, last = positions[query];
    auto const number = [&](std::vector<float> const& of_pages, std::int64_t key, std::int64_t i) {
      std::int64_t const page = pages[static_cast<std::size_t>(sequence[query] * most_pages + key / tokens_of_page)];
      return static_cast<double>(of_pages[static_cast<std::size_t>(((page * tokens_of_page + key % tokens_of_page) * of.kv_heads + kv) * d + i)]);
    };
    std::vector<double> out(static_cast<std::size_t>(d));
    double all = of.sinks ? std::exp(static_cast<double>(sinks[static_cast<std::size_t>(head)])) : 0;
    for (std::int64_t key = of.window > 0 ? std::max<std::int64_t>(0, last - of.window + 1) : 0; key <= last; ++key) {
      double score = 0;
      for (std::int64_t i = 0; i < d; ++i) score += q[(query * static_cast<std::size_t>(of.heads) + static_cast<std::size_t>(head)) * static_cast<std::size_t>(d) + static_cast<std::size_t>(i)] * number(keys, key, i);
      score *= scale();
      if (of.soft_cap > 0) score = of.soft_cap * std::tanh(score / of.soft_cap);
      all += std::exp(score);
      for (std::int64_t i = 0; i < d; ++i) out[static_cast<std::size_t>(i)] += std::exp(score) * number(values, key, i);
    }
    for (double& x : out) x /= all;
    return out;
  }

  // All queries by a table's kernel, in a type.
  template <class T>
  [[nodiscard]] std::vector<float> by(gpu_kernel_table const& kernels) const {
    auto const stored = [](std::vector<float> const& x) {
      std::vector<T> y;
      for (float const v : x) {
        if constexpr (sizeof(T) == 2)
          y.push_back(kedge::testing::to_bf16(v));
        else
          y.push_back(v);
      }
      return y;
    };
    auto q_now = stored(q), keys_now = stored(keys), values_now = stored(values), out = stored(std::vector<float>(q.size(), kedge::testing::not_a_number));
    attention_plan const plan = plan_attention<std::int64_t>(sequence, positions, of.heads / of.kv_heads);
    std::vector<float> partial(static_cast<std::size_t>(plan.partial_count * of.heads * (of.head_dim + 2)), kedge::testing::not_a_number);
    auto const matrix = [](std::vector<T>& x, std::int64_t width) { return gpu_matrix{x.data(), sizeof(T) == 2 ? gpu_number::bf16 : gpu_number::fp32, width}; };
    kernels.paged_attention(nullptr, {.heads = of.heads,
                                      .kv_heads = of.kv_heads,
                                      .head_dim = of.head_dim,
                                      .page_tokens = tokens_of_page,
                                      .q = matrix(q_now, of.heads * of.head_dim),
                                      .keys = matrix(keys_now, of.kv_heads * of.head_dim),
                                      .values = matrix(values_now, of.kv_heads * of.head_dim),
                                      .pages = pages.data(),
                                      .most_pages = most_pages,
                                      .positions = positions.data(),
                                      .parts = plan.parts.data(),
                                      .part_count = static_cast<std::int64_t>(plan.parts.size()),
                                      .most_queries = plan.most_queries,
                                      .joins = plan.joins.data(),
                                      .join_count = static_cast<std::int64_t>(plan.joins.size()),
                                      .partial = partial.data(),
                                      .partial_count = plan.partial_count,
                                      .scale = scale(),
                                      .soft_cap = of.soft_cap,
                                      .window = of.window,
                                      .sinks = of.sinks ? sinks.data() : nullptr,
                                      .out = matrix(out, of.heads * of.head_dim)});
    std::vector<float> wide;
    for (T const x : out) {
      if constexpr (sizeof(T) == 2)
        wide.push_back(kedge::testing::from_bf16(x));
      else
        wide.push_back(x);
    }
    return wide;
  }

  // The largest distance to float64 over all queries.
  [[nodiscard]] double error_of(std::vector<float> const& ours) const {
    double worst = 0;
    for (std::size_t query = 0; query < positions.size(); ++query)
      for (std::int64_t head = 0; head < of.heads; ++head) {
        std::vector<double> const expected = exact(query, head);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          double const distance = std::abs(ours[(query * static_cast<std::size_t>(of.heads) + static_cast<std::size_t>(head)) * expected.size() + i] - expected[i]);
          worst = distance <= worst ? worst : distance;  // not a number is worst
        }
      }
    return worst;
  }
};

std::vector<shape> const shapes{
    {.heads = 4, .kv_heads = 2, .head_dim = 16},
    {.heads = 3, .kv_heads = 3, .head_dim = 64},
    {.heads = 6, .kv_heads = 2, .head_dim = 8, .window = 19},
    {.heads = 12, .kv_heads = 1, .head_dim = 40, .soft_cap = 3},
    {.heads = 8, .kv_heads = 2, .head_dim = 128, .window = 300, .sinks = true},
    {.heads = 10, .kv_heads = 1, .head_dim = 7, .window = 5, .soft_cap = 2, .sinks = true},
    {.heads = 2, .kv_heads = 1, .head_dim = 256},
};

}  // namespace

TEST_CASE("Attention over pages on a GPU is that of float64, for prompts, steps and long contexts", "[generation][gpu]") {
  for (shape const& of : shapes)
    for (auto const& sequences : {std::vector<new_tokens>{{1, 1}, {37, 37}, {90, 1}}, std::vector<new_tokens>{{256, 1}, {257, 1}, {258, 5}, {700, 1}, {16, 3}}}) {
      INFO(of.heads << " heads of " << of.head_dim << ", " << of.kv_heads << " of keys, window " << of.window << ", " << sequences.size() << " sequences");
      problem const p(of, sequences, 7);
      CHECK(p.error_of(p.by<float>(host_gpu_kernels())) < 2e-6);
      CHECK(p.error_of(p.by<std::uint16_t>(host_gpu_kernels())) < 0.01);
    }
}

TEST_CASE("A query's attention is the same bits whatever is computed with it, and by however many threads", "[generation][gpu]") {
  for (shape const& of : shapes) {
    problem const together(of, {{40, 40}, {700, 1}, {300, 9}, {255, 1}}, 3);
    std::vector<float> const all = together.by<float>(host_gpu_kernels());
    CHECK(all == together.by<float>(gpu::table_of<gpu::host_device<3>>));
    auto const width = static_cast<std::size_t>(of.heads * of.head_dim);
    for (std::size_t const query : {std::size_t{0}, std::size_t{39}, std::size_t{40}, std::size_t{45}, std::size_t{50}}) {
      problem alone = together;
      alone.sequence = {together.sequence[query]};
      alone.positions = {together.positions[query]};
      alone.q.assign(together.q.begin() + static_cast<std::ptrdiff_t>(query * width), together.q.begin() + static_cast<std::ptrdiff_t>((query + 1) * width));
      CHECK(std::equal(all.begin() + static_cast<std::ptrdiff_t>(query * width), all.begin() + static_cast<std::ptrdiff_t>((query + 1) * width),
                       alone.by<float>(host_gpu_kernels()).begin()));
    }
  }
}
