// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <utility>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;

namespace {

struct distribution {
  std::vector<exact> probabilities;
  exact log_sum;
};

// Of scores times `scale`. A score is rounded once more before it is an exponent.
distribution softmax(std::span<float const> scores, double scale = 1) {
  double shift = -static_cast<double>(infinity), total = 0;
  for (float const s : scores) shift = std::max(shift, scale * static_cast<double>(s));
  for (float const s : scores) total += std::exp(scale * static_cast<double>(s) - shift);
  distribution all{{}, {shift + std::log(total), 1e-6 * (1 + std::abs(shift))}};
  for (float const s : scores) {
    double const below = scale * static_cast<double>(s) - shift, p = std::exp(below) / total;
    all.probabilities.push_back({p, p * (1e-6 + 2e-7 * (std::abs(below) + std::abs(shift))) + 1e-44});
  }
  return all;
}

exact inner_product(std::span<float const> a, std::span<float const> b) {
  exact sum{0, 0};
  for (std::size_t i = 0; i < a.size(); ++i) {
    double const term = static_cast<double>(a[i]) * static_cast<double>(b[i]);
    sum.value += term;
    sum.slack += 5e-7 * std::abs(term);
  }
  return sum;
}

}  // namespace

TEST_CASE("rows of scores become probabilities and the logarithms of their sums", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t n = 1; n <= 1100; n += n < 67 ? 1 : 147) {
      INFO("n = " << n);
      std::size_t const rows = 1 + n % 3;
      std::vector<float> const scores = random(rows * n, 5);
      floats p(scores, n % 4), log_sum(rows, (n + 1) % 4);
      table.softmax.softmax(p.data(), rows, n, log_sum.data());
      for (std::size_t r = 0; r < rows; ++r) {
        distribution const expected = softmax(std::span(scores).subspan(r * n, n));
        CHECK(first_difference(p.span().subspan(r * n, n), expected.probabilities) == "");
        CHECK(close(log_sum[r], expected.log_sum));
      }
      CHECK((p.kept_its_ends() && log_sum.kept_its_ends()));
    }
  });
}

TEST_CASE("figures of a distribution are those of the formulas and its probabilities the bits of the softmax", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (std::size_t n = 1; n <= 1100; n += n < 67 ? 1 : 147) {
      INFO("n = " << n);
      std::size_t const rows = 1 + n % 3;
      std::vector<float> scores = random(rows * n, 5);
      if (n > 9) scores[n / 2] = -infinity;  // it has no part in the entropy
      std::vector<std::int64_t> targets;
      for (std::size_t r = 0; r < rows; ++r) targets.push_back(static_cast<std::int64_t>((7 * r + n / 3) % n));
      if (n > 2) scores[static_cast<std::size_t>(targets[0])] = scores[n - 1] = 40;  // the largest one, twice
      floats p(scores, n % 4), log_sum(rows, 1), entropy(rows, 2), mean(rows, 3), likeliest(rows, n % 4);
      floats plain(scores, n % 4), plain_sum(rows, 1);
      table.softmax.softmax(plain.data(), rows, n, plain_sum.data());
      table.softmax.distribution(p.data(), rows, n, targets.data(), {log_sum.data(), entropy.data(), mean.data(), likeliest.data()});
      CHECK(same_bits(p.span(), plain.span()));
      CHECK(same_bits(log_sum.span(), plain_sum.span()));
      for (std::size_t r = 0; r < rows; ++r) {
        auto const row = std::span(scores).subspan(r * n, n);
        double largest = -static_cast<double>(infinity), total = 0, sum = 0, information = 0;
        std::size_t place = 0;
        for (std::size_t i = 0; i < n; ++i) {
          auto const s = static_cast<double>(row[i]);
          sum += s;
          if (s > largest) place = i;
          largest = std::max(largest, s);
        }
        for (float const s : row) total += std::exp(static_cast<double>(s) - largest);
        for (float const s : row)
          if (double const q = std::exp(static_cast<double>(s) - largest) / total; q > 0) information -= q * std::log(q);
        CHECK(close(entropy[r], {information, 2e-6 * (1 + information)}));
        CHECK(likeliest[r] == (place == static_cast<std::size_t>(targets[r]) ? 1.0F : 0.0F));
        if (std::isfinite(sum))
          CHECK(close(mean[r], {sum / static_cast<double>(n), 1e-5}));
        else
          CHECK(mean[r] == -infinity);
      }
      CHECK((p.kept_its_ends() && log_sum.kept_its_ends() && entropy.kept_its_ends() && mean.kept_its_ends() && likeliest.kept_its_ends()));
    }
    for (float const bad : {infinity, not_a_number}) {
      std::vector<float> scores = random(20), same = scores;
      scores[7] = same[7] = bad;
      std::vector<std::int64_t> const targets{3};
      std::vector<float> figures(4), log_sum(1);
      table.softmax.softmax(same.data(), 1, 20, log_sum.data());
      table.softmax.distribution(scores.data(), 1, 20, targets.data(), {&figures[0], &figures[1], &figures[2], &figures[3]});
      CHECK(same_bits(scores, same));
      CHECK((std::isnan(figures[0]) == std::isnan(log_sum[0]) && std::isnan(figures[1]) && !std::isfinite(figures[2]) && figures[3] == 0));
    }
  });
}

TEST_CASE("a score that is none or infinite spoils its row alone, as the formula has it", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(2);
    for (std::size_t n = 1; n <= 67; ++n)
      for (std::size_t at = 0; at < n; at += 1 + n / 5) {
        INFO("number " << at << " of " << n);
        std::vector<float> const scores = random(3 * n, 5);
        auto const spoilt = [&](float bad, auto const& check) {
          floats p(scores, n % 4);
          p[n + at] = bad;
          std::vector<float> log_sum(3);
          table.softmax.softmax(p.data(), 3, n, log_sum.data());
          check(p.span().subspan(n, n), log_sum[1]);
          for (std::size_t const r : {0U, 2U}) {
            distribution const expected = softmax(std::span(scores).subspan(r * n, n));
            CHECK(first_difference(p.span().subspan(r * n, n), expected.probabilities) == "");
            CHECK(close(log_sum[r], expected.log_sum));
          }
        };
        spoilt(not_a_number, [](std::span<float const> p, float log_sum) {
          CHECK(all_nan(p));
          CHECK(std::isnan(log_sum));
        });
        spoilt(infinity, [&](std::span<float const> p, float log_sum) {
          std::vector<float> expected(n, 0.0F);
          expected[at] = not_a_number;
          CHECK(same_bits(p, expected));
          CHECK(log_sum == infinity);
        });
        if (n == 1) continue;
        spoilt(-infinity, [&](std::span<float const> p, float log_sum) {
          CHECK(p[at] == 0);
          CHECK(all_finite(p));
          CHECK(std::isfinite(log_sum));
        });
      }
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      std::vector<float> p(n, -infinity), log_sum(1);
      table.softmax.softmax(p.data(), 1, n, log_sum.data());
      CHECK(all_nan(p));
      CHECK(log_sum[0] == -infinity);
      // Of NaN and infinity together all is NaN.
      std::vector<float> both = random(n + 1);
      both[n] = infinity;
      both[n / 2] = not_a_number;
      table.softmax.softmax(both.data(), 1, n + 1, log_sum.data());
      CHECK(all_nan(both));
      CHECK(std::isnan(log_sum[0]));
    }
  });
}

TEST_CASE("a query's probabilities are those of the keys it sees, whatever the others hold", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(3);
    for (std::size_t n = 1; n <= 67; ++n)
      for (float const unseen : {0.0F, not_a_number, infinity}) {
        INFO("n = " << n << ", others hold " << unseen);
        std::size_t const rows = 1 + n % std::min<std::size_t>(n, 5), stride = n + n % 7,
                          visible = n - rows + 1 - (n % 2 && n > rows ? 1 : 0);
        auto const scale = static_cast<double>(0.3F);
        std::vector<float> const start = random((rows - 1) * stride + n, 5);
        floats p(start, n % 4), log_sum(rows, (n + 1) % 4);
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t i = visible + r; i < n; ++i) p[r * stride + i] = unseen;
          if (r + 1 < rows)
            for (std::size_t i = n; i < stride; ++i) p[r * stride + i] = floats::mark;
        }
        table.softmax.causal({p.data(), rows, stride, n, visible, 0, 0.3F, 0}, log_sum.data());
        for (std::size_t r = 0; r < rows; ++r) {
          distribution expected = softmax(std::span(start).subspan(r * stride, visible + r), scale);
          expected.probabilities.resize(n, exact{0, 0});
          CHECK(first_difference(p.span().subspan(r * stride, n), expected.probabilities) == "");
          CHECK(close(log_sum[r], expected.log_sum));
          if (r + 1 < rows)
            for (std::size_t i = n; i < stride; ++i) CHECK(p[r * stride + i] == floats::mark);
        }
        CHECK((p.kept_its_ends() && log_sum.kept_its_ends()));
      }
  });
}

TEST_CASE("a seen score that is none spoils its query alone, and minus infinity is a key of no weight", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    for (std::size_t n = 3; n <= 67; ++n) {
      INFO("n = " << n);
      for (float const bad : {not_a_number, infinity, -infinity}) {
        std::vector<float> p = random(3 * n), log_sum(3);
        std::size_t const at = n / 3;
        p[n + at] = bad;
        table.softmax.causal({p.data(), 3, n, n, n - 2, 0, 0.5F, 0}, log_sum.data());
        for (std::size_t const r : {0U, 2U}) CHECK(all_finite(std::span(p).subspan(r * n, n)));
        std::span const row = std::span<float const>(p).subspan(n, n);
        if (bad == -infinity) {
          CHECK(all_finite(row));
          CHECK(row[at] == 0);
          CHECK(std::isfinite(log_sum[1]));
        } else {
          CHECK(std::isnan(row[at]));
          CHECK(std::isnan(log_sum[1]));
        }
        CHECK(row[n - 1] == 0);
      }
    }
  });
}

TEST_CASE("gradients of scores are those of the formula", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (std::size_t n = 1; n <= 67; ++n)
      for (float const unseen : {0.0F, not_a_number, infinity}) {
        INFO("n = " << n << ", others hold " << unseen);
        std::size_t const rows = 1 + n % std::min<std::size_t>(n, 5), stride = n + n % 7,
                          visible = n - rows + 1 - (n % 2 && n > rows ? 1 : 0);
        float const scale = 0.3F;
        std::vector<float> const scores = random((rows - 1) * stride + n, 5), start = random(scores.size());
        floats p(scores, n % 4), g(start, (n + 1) % 4);
        std::vector<float> log_sums, inner = random(rows);
        for (std::size_t r = 0; r < rows; ++r) {
          std::span const seen = std::span(scores).subspan(r * stride, visible + r);
          log_sums.push_back(static_cast<float>(softmax(seen, static_cast<double>(scale)).log_sum.value));
          for (std::size_t i = visible + r; i < n; ++i) p[r * stride + i] = g[r * stride + i] = unseen;
          if (r + 1 < rows)
            for (std::size_t i = n; i < stride; ++i) p[r * stride + i] = g[r * stride + i] = floats::mark;
        }
        floats const log_sum(log_sums, (n + 2) % 4), means(inner, (n + 3) % 4);
        table.softmax.causal_backward({p.data(), rows, stride, n, visible, 0, scale, 0}, g.data(), log_sum.data(),
                                      means.data());
        for (std::size_t r = 0; r < rows; ++r) {
          std::vector<exact> probabilities(n, exact{0, 0}), gradients(n, exact{0, 0});
          for (std::size_t i = 0; i < visible + r; ++i) {
            double const size =
                std::abs(static_cast<double>(scale * scores[r * stride + i])) + std::abs(static_cast<double>(log_sums[r]));
            double const value = std::exp(static_cast<double>(scale) * static_cast<double>(scores[r * stride + i]) -
                                          static_cast<double>(log_sums[r]));
            double const slope =
                (static_cast<double>(start[r * stride + i]) - static_cast<double>(inner[r])) * static_cast<double>(scale);
            probabilities[i] = {value, value * (5e-7 + 2e-7 * size)};
            gradients[i] = {value * slope, std::abs(value * slope) * (1e-6 + 2e-7 * size)};
          }
          CHECK(first_difference(p.span().subspan(r * stride, n), probabilities) == "");
          CHECK(first_difference(g.span().subspan(r * stride, n), gradients) == "");
          if (r + 1 < rows)
            for (std::size_t i = n; i < stride; ++i)
              CHECK((p[r * stride + i] == floats::mark && g[r * stride + i] == floats::mark));
        }
        CHECK((p.kept_its_ends() && g.kept_its_ends()));
      }
  });
}

TEST_CASE("inner products and largest numbers and sums of exponentials are those of the plain loops", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(6);
    for (std::size_t n = 1; n <= 400; n += n < 67 ? 1 : 83) {
      INFO("n = " << n);
      floats a(random(n), n % 4), b(random(n), (n + 1) % 4);
      CHECK(close(table.softmax.dot(a.data(), b.data(), n), inner_product(a.span(), b.span())));
      float const most = *std::max_element(a.span().begin(), a.span().end());
      CHECK(table.softmax.largest(a.data(), n) == most);
      exact sum{0, 0};
      for (float const x : a.span()) {
        double const term = std::exp((static_cast<double>(x) - static_cast<double>(most)) * static_cast<double>(0.7F));
        sum.value += term;
        sum.slack += 1e-6 * term;
      }
      CHECK(close(static_cast<float>(table.softmax.exp_sum(a.data(), n, most, 0.7F)), sum));

      for (std::size_t const at : {std::size_t{0}, n / 2, n - 1}) {
        float const good = std::exchange(a[at], -infinity);
        CHECK(table.softmax.largest(a.data(), n) == *std::max_element(a.span().begin(), a.span().end()));
        CHECK(std::isinf(table.softmax.dot(a.data(), b.data(), n)));
        CHECK(std::isfinite(table.softmax.exp_sum(a.data(), n, most, 0.7F)));
        a[at] = infinity;
        CHECK(table.softmax.largest(a.data(), n) == infinity);
        CHECK(table.softmax.exp_sum(a.data(), n, most, 0.7F) == static_cast<double>(infinity));
        a[at] = not_a_number;
        CHECK(std::isnan(table.softmax.dot(a.data(), b.data(), n)));
        CHECK(std::isnan(table.softmax.exp_sum(a.data(), n, most, 0.7F)));
        a[at] = good;
      }
      // Numbers below zero: what stands behind the last of them is no number of theirs.
      for (float& x : a.span()) x = -1 - std::abs(x);
      CHECK(table.softmax.largest(a.data(), n) == *std::max_element(a.span().begin(), a.span().end()));
    }
  });
}

TEST_CASE("an exponential is right to a unit in the last place and falls to zero without a step up", "[kernels]") {
  each_table([](kernel_table const& table) {
    auto const exponential = [&](float x) { return table.softmax.exp_sum(&x, 1, 0, 1); };
    double worst = 0, before = 0;
    std::size_t ups = 0, strange = 0;
    constexpr int steps = 60'000;
    for (int i = 0; i <= steps; ++i) {
      float const x = -110 + 205.0F * static_cast<float>(i) / steps;
      double const y = exponential(x), right = std::exp(static_cast<double>(x));
      bool const normal = right >= static_cast<double>(std::numeric_limits<float>::min());
      bool const fits = right <= static_cast<double>(std::numeric_limits<float>::max());
      if (normal && fits) worst = std::max(worst, std::abs(y - right) / right);
      if (!fits) strange += y != static_cast<double>(infinity);
      if (!normal) strange += std::abs(y - right) > 2e-45;
      strange += std::isnan(y);
      ups += y < before;
      before = y;
    }
    CHECK(worst < 2e-7);
    CHECK(ups == 0);
    CHECK(strange == 0);
    CHECK(exponential(0) == 1);
    CHECK(exponential(-infinity) == 0);
    CHECK(exponential(infinity) == static_cast<double>(infinity));
    CHECK(std::isnan(exponential(not_a_number)));
    for (float const far : {-1e4F, -1e30F, -3e38F}) CHECK(exponential(far) == 0);
    for (float const far : {1e4F, 1e30F, 3e38F}) CHECK(exponential(far) == static_cast<double>(infinity));
  });
}

TEST_CASE("a row's probabilities do not depend on the rows with it", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(7);
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      std::vector<float> const scores = random(3 * n, 4);
      std::span const second = std::span(scores).subspan(n, n);
      std::vector<float> all = scores, alone(second.begin(), second.end()), log_sums(3), log_sum(1);
      table.softmax.softmax(all.data(), 3, n, log_sums.data());
      table.softmax.softmax(alone.data(), 1, n, log_sum.data());
      CHECK(same_bits(alone, std::span(all).subspan(n, n)));
      CHECK(log_sum[0] == log_sums[1]);
    }
  });
}

TEST_CASE("a query's window hides what is before it and a cap bends its scores", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(8);
    for (std::size_t n = 1; n <= 67; ++n)
      for (float const cap : {0.0F, 2.0F})
        for (std::size_t const window : {std::size_t{1}, std::size_t{7}, n}) {
          INFO("n = " << n << ", window " << window << ", cap " << cap);
          std::size_t const rows = 1 + n % std::min<std::size_t>(n, 5), stride = n + 3, visible = n - rows + 1;
          float const scale = 0.7F;
          std::vector<float> const start = random(rows * stride, 3), of_output = random(rows * stride);
          floats p(start, n % 4), g(of_output, (n + 1) % 4);
          std::vector<float> log_sum(rows), inner(rows);
          for (std::size_t r = 0; r < rows; ++r)  // what is hidden may hold anything
            for (std::size_t i = 0; i + window < visible + r; ++i) p[r * stride + i] = g[r * stride + i] = not_a_number;
          floats again = p;
          llm::score_block block{p.data(), rows, stride, n, visible, window, scale, cap};
          table.softmax.causal(block, log_sum.data());
          for (std::size_t r = 0; r < rows; ++r) inner[r] = random();
          block.scores = again.data();
          table.softmax.causal_backward(block, g.data(), log_sum.data(), inner.data());
          CHECK((p.kept_its_ends() && g.kept_its_ends() && again.kept_its_ends()));
          for (std::size_t r = 0; r < rows; ++r) {
            std::size_t const end = visible + r, from = end > window ? end - window : 0;
            std::vector<double> scores(n, -static_cast<double>(infinity)), slopes(n, 0);
            double sum = 0;
            for (std::size_t i = from; i < end; ++i) {
              double const s = static_cast<double>(scale) * static_cast<double>(start[r * stride + i]),
                           t = std::tanh(s / static_cast<double>(cap));
              scores[i] = cap > 0 ? static_cast<double>(cap) * t : s;
              slopes[i] = static_cast<double>(scale) * (cap > 0 ? 1 - t * t : 1);
              sum += std::exp(scores[i]);
            }
            CHECK(close(log_sum[r], {std::log(sum), 1e-5}));
            std::vector<exact> probabilities, gradients;
            for (std::size_t i = 0; i < n; ++i) {
              double const share = std::exp(scores[i]) / sum,
                           d = static_cast<double>(of_output[r * stride + i]) - static_cast<double>(inner[r]);
              bool const seen = i >= from && i < end;
              probabilities.push_back({seen ? share : 0, 1e-5 * share});
              gradients.push_back({seen ? share * d * slopes[i] : 0, (1e-5 * slopes[i] + 1e-6) * share * std::abs(d)});
            }
            CHECK(first_difference(p.span().subspan(r * stride, n), probabilities) == "");
            CHECK(first_difference(again.span().subspan(r * stride, n), probabilities) == "");
            CHECK(first_difference(g.span().subspan(r * stride, n), gradients) == "");
          }
        }
  });
}
