// SPDX-License-Identifier: Apache-2.0
#include "../adapters/llm/src/kernels/attention.hpp"

#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::attention_run;
using llm::kernel_table;

namespace {

struct shape {
  std::size_t tokens, heads, kv_heads, d;
  std::size_t window;
  float cap;
};

// Queries, keys, values and the gradient of the output, and what the formulas have of them in fp64.
class attention_case {
 public:
  attention_case(shape const& s, std::vector<attention_run> of_runs, random_numbers& random)
      : sizes(s),
        runs(std::move(of_runs)),
        q(random(s.tokens * s.heads * s.d)),
        k(random(s.tokens * s.kv_heads * s.d)),
        v(random(s.tokens * s.kv_heads * s.d)),
        g(random(s.tokens * s.heads * s.d)) {}

  shape sizes;
  std::vector<attention_run> runs;
  std::vector<float> q, k, v, g;

  struct results {
    std::vector<float> out, gq, gk, gv;
  };

  [[nodiscard]] results by(kernel_table const& table) const {
    llm::prompt_attention const all{.kernels = table,
                                    .q = q.data(),
                                    .k = k.data(),
                                    .v = v.data(),
                                    .tokens = sizes.tokens,
                                    .heads = sizes.heads,
                                    .kv_heads = sizes.kv_heads,
                                    .d = sizes.d,
                                    .scale = scale,
                                    .cap = sizes.cap,
                                    .window = sizes.window};
    results r{std::vector<float>(q.size()), std::vector<float>(q.size()), std::vector<float>(k.size()),
              std::vector<float>(k.size())};
    std::vector<float> log_sums(sizes.heads * sizes.tokens);
    for (attention_run const& run : runs)
      for (std::size_t h = 0; h < sizes.kv_heads; ++h) all.forward(run, h, r.out.data(), log_sums.data());
    std::size_t const row = sizes.kv_heads * sizes.d;
    for (attention_run const& run : runs) {
      std::vector<float> shared_k(static_cast<std::size_t>(run.prefix.size + run.prompt.size) * row), shared_v(shared_k.size());
      for (std::size_t h = 0; h < sizes.kv_heads; ++h)
        all.backward(run, h, g.data(), r.out.data(), log_sums.data(), r.gq.data(), r.gk.data(), r.gv.data(), shared_k.data(),
                     shared_v.data());
      std::vector<std::size_t> const seen = keys_of(run);
      for (std::size_t i = 0; i < shared_k.size(); ++i) {
        r.gk[seen[i / row] * row + i % row] += shared_k[i];
        r.gv[seen[i / row] * row + i % row] += shared_v[i];
      }
    }
    return r;
  }

  struct wide_results {
    std::vector<double> out, gq, gk, gv;
  };

  [[nodiscard]] wide_results plain() const {
    wide_results r{std::vector<double>(q.size()), std::vector<double>(q.size()), std::vector<double>(k.size()),
                   std::vector<double>(k.size())};
    for (attention_run const& run : runs) {
      std::vector<std::size_t> const seen = keys_of(run);
      for (std::size_t last = seen.size() - static_cast<std::size_t>(run.own.size); last < seen.size(); ++last)
        for (std::size_t h = 0; h < sizes.heads; ++h) query(r, seen, last, h);
    }
    return r;
  }

 private:
  static constexpr float scale = 0.4F;

  static std::vector<std::size_t> keys_of(attention_run const& run) {
    std::vector<std::size_t> keys;
    for (llm::token_range const& part : {run.prefix, run.prompt, run.own})
      for (std::int64_t i = 0; i < part.size; ++i) keys.push_back(static_cast<std::size_t>(part.begin + i));
    return keys;
  }

  [[nodiscard]] double product(std::vector<float> const& x, std::size_t at, std::vector<float> const& y,
                               std::size_t from) const {
    double sum = 0;
    for (std::size_t i = 0; i < sizes.d; ++i) sum += static_cast<double>(x[at + i]) * static_cast<double>(y[from + i]);
    return sum;
  }

  // The query of head h that stands at keys[last].
  void query(wide_results& r, std::vector<std::size_t> const& keys, std::size_t last, std::size_t h) const {
    std::size_t const at = (keys[last] * sizes.heads + h) * sizes.d,
                      first = sizes.window > 0 && last + 1 > sizes.window ? last + 1 - sizes.window : 0;
    auto const place = [&](std::size_t j) { return (keys[j] * sizes.kv_heads + h * sizes.kv_heads / sizes.heads) * sizes.d; };
    auto const cap = static_cast<double>(sizes.cap);
    std::vector<double> p(last + 1), slope(last + 1), gp(last + 1);
    double total = 0, inner = 0;
    for (std::size_t j = first; j <= last; ++j) {
      double const score = static_cast<double>(scale) * product(q, at, k, place(j)), t = std::tanh(score / cap);
      p[j] = std::exp(cap > 0 ? cap * t : score);
      slope[j] = static_cast<double>(scale) * (cap > 0 ? 1 - t * t : 1);
      total += p[j];
    }
    for (std::size_t j = first; j <= last; ++j) {
      p[j] /= total;
      gp[j] = product(g, at, v, place(j));
      inner += p[j] * gp[j];
    }
    for (std::size_t j = first; j <= last; ++j)
      for (std::size_t i = 0; i < sizes.d; ++i) {
        double const gs = p[j] * (gp[j] - inner) * slope[j];
        r.out[at + i] += p[j] * static_cast<double>(v[place(j) + i]);
        r.gq[at + i] += gs * static_cast<double>(k[place(j) + i]);
        r.gk[place(j) + i] += gs * static_cast<double>(q[at + i]);
        r.gv[place(j) + i] += p[j] * static_cast<double>(g[at + i]);
      }
  }
};

// √ of squared distance over squared length; over the number of them where all are exactly 0.
double distance(std::vector<float> const& x, std::vector<double> const& exact) {
  double apart = 0, length = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    apart += (static_cast<double>(x[i]) - exact[i]) * (static_cast<double>(x[i]) - exact[i]);
    length += exact[i] * exact[i];
  }
  return std::sqrt(apart / (length > 0 ? length : static_cast<double>(x.size())));
}

void check(attention_case const& c, kernel_table const& table) {
  INFO(c.sizes.tokens << " tokens, " << c.sizes.heads << " heads of " << c.sizes.d << ", window " << c.sizes.window << ", cap "
                      << c.sizes.cap);
  attention_case::results const r = c.by(table);
  attention_case::wide_results const exact = c.plain();
  CHECK(distance(r.out, exact.out) < 1e-6);
  CHECK(distance(r.gq, exact.gq) < 3e-6);
  CHECK(distance(r.gk, exact.gk) < 3e-6);
  CHECK(distance(r.gv, exact.gv) < 3e-6);
}

}  // namespace

TEST_CASE("attention of a sequence with any window and cap and its gradients are those of fp64 rounded", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t n = 1; n <= 67; ++n) {
      std::size_t const window = n % 3 == 0 ? 0 : n % 3 == 1 ? 1 + n % 17 : n;
      check({{n, 1 + n % 3, 1, 1 + n % 20, window, n % 2 == 0 ? 1.5F : 0},
             {{{0, 0}, {0, 0}, {0, static_cast<std::int64_t>(n)}}},
             random},
            table);
    }
    check({{300, 4, 2, 16, 130, 20.0F}, {{{0, 0}, {0, 0}, {0, 300}}}, random}, table);
  });
}

TEST_CASE("windows reach from completions into the prompts and prefixes that they share", "[kernels]") {
  // Tokens 0 … 9 are a prompt, its first completion up to 29, a second one up to 100; behind them a prompt after a prefix of the first, and two completions.
  std::vector<attention_run> const runs{
      {{0, 0}, {0, 0}, {0, 30}}, {{0, 0}, {0, 10}, {30, 71}}, {{0, 7}, {0, 0}, {101, 80}}, {{0, 7}, {101, 20}, {181, 33}}};
  each_table([&](kernel_table const& table) {
    random_numbers random(2);
    for (std::size_t const window : {0U, 1U, 2U, 9U, 25U, 64U, 90U, 500U})
      for (float const cap : {0.0F, 3.0F}) check({{214, 6, 2, 10, window, cap}, runs, random}, table);
  });
}

TEST_CASE("a key outside of the window may hold anything", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(3);
    for (float const bad : {not_a_number, infinity}) {
      attention_case c({200, 2, 1, 8, 20, 2.0F}, {{{0, 0}, {0, 0}, {0, 200}}}, random);
      attention_case::results const before = c.by(table);
      c.k[3] = c.v[5 * 8 + 2] = bad;
      attention_case::results const after = c.by(table);
      // Queries from the first block on that sees neither of the two.
      CHECK(same_bits(std::span(after.out).subspan(128 * 16), std::span(before.out).subspan(128 * 16)));
    }
  });
}
