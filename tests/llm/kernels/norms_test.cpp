// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;

namespace {

constexpr float eps = 1e-5F;

double inverse_rms(std::span<float const> x) {
  double squares = 0;
  for (float const v : x) squares += static_cast<double>(v) * static_cast<double>(v);
  return 1 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(eps));
}

struct rows {
  std::size_t count, n;
  std::vector<float> x, weight, g;

  rows(std::size_t how_many, std::size_t size, random_numbers& random)
      : count(how_many), n(size), x(random(how_many * size)), weight(random(size)), g(random(how_many * size)) {}
  [[nodiscard]] std::span<float const> row(std::size_t r) const { return std::span(x).subspan(r * n, n); }
};

struct norm_gradients {
  std::vector<exact> x, weight;
};

// As the mathematics has them, added to `start`.
norm_gradients gradients(rows const& all, std::span<float const> start) {
  norm_gradients to{{}, std::vector<exact>(all.n, {1, 4e-7})};
  for (std::size_t r = 0; r < all.count; ++r) {
    double const inverse = inverse_rms(all.row(r)), n = static_cast<double>(all.n);
    auto const y = [&](std::size_t i) { return static_cast<double>(all.row(r)[i]) * inverse; };
    auto const g = [&](std::size_t i) { return static_cast<double>(all.g[r * all.n + i]); };
    auto const w = [&](std::size_t i) { return static_cast<double>(all.weight[i]); };
    double along = 0, size = 0;
    for (std::size_t i = 0; i < all.n; ++i) {
      along += g(i) * w(i) * y(i);
      size += std::abs(g(i) * w(i) * y(i));
      to.weight[i].value += g(i) * y(i);
      to.weight[i].slack += 1e-6 * (1 + std::abs(g(i) * y(i)));
    }
    for (std::size_t i = 0; i < all.n; ++i) {
      auto const from = static_cast<double>(start[r * all.n + i]);
      to.x.push_back({from + inverse * (g(i) * w(i) - y(i) * along / n),
                      1e-6 * (std::abs(from) + std::abs(inverse) * (std::abs(g(i) * w(i)) + std::abs(y(i)) * size / n))});
    }
  }
  return to;
}

void check_norms(kernel_table const& table, rows const& all, std::size_t shift) {
  floats const x(all.x, shift), weight(all.weight, (shift + 1) % 4), g(all.g, (shift + 2) % 4);
  floats inverse(all.count, (shift + 3) % 4), out(all.x.size(), shift);
  std::vector<exact> inverses, outputs;
  table.norms.inverse_rms(x.data(), all.count, all.n, eps, inverse.data());
  for (std::size_t r = 0; r < all.count; ++r) {
    double const of = inverse_rms(all.row(r));
    inverses.push_back({of, 1e-6 * of});
    for (std::size_t i = 0; i < all.n; ++i) {
      double const y = static_cast<double>(all.row(r)[i]) * of * static_cast<double>(all.weight[i]);
      outputs.push_back({y, 1e-6 * std::abs(y)});
    }
  }
  CHECK(first_difference(inverse.span(), inverses) == "");
  table.norms.scale(x.data(), inverse.data(), weight.data(), all.count, all.n, out.data());
  CHECK(first_difference(out.span(), outputs) == "");
  CHECK((inverse.kept_its_ends() && out.kept_its_ends()));

  floats normalised(all.n, (shift + 1) % 4);
  table.norms.normalise({x.data(), weight.data(), normalised.data(), all.n, eps, false, false, false});
  CHECK(first_difference(normalised.span(), std::span(outputs).first(all.n)) == "");
  CHECK(normalised.kept_its_ends());

  random_numbers random(9);
  std::vector<float> const start = random(all.x.size());
  floats gx(start, (shift + 1) % 4), weight_gradient(all.n, (shift + 2) % 4, 1.0F);
  table.norms.scale_backward(g.data(), x.data(), inverse.data(), weight.data(), all.count, all.n, gx.data(),
                             weight_gradient.data());
  norm_gradients const expected = gradients(all, start);
  CHECK(first_difference(gx.span(), expected.x) == "");
  CHECK(first_difference(weight_gradient.span(), expected.weight) == "");
  CHECK((gx.kept_its_ends() && weight_gradient.kept_its_ends()));
}

}  // namespace

TEST_CASE("norms of rows and their gradients are those of the plain loops", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      check_norms(table, rows(1 + n % 3, n, random), n % 4);
    }
    check_norms(table, rows(2, 2049, random), 1);
  });
}

TEST_CASE("a number that is none or infinite spoils the norm of its row as it does in fp64", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(2);
    for (std::size_t n : {1U, 5U, 16U, 17U, 40U, 67U})
      for (float const bad : {not_a_number, infinity, -infinity})
        for (std::size_t const at : {std::size_t{0}, n / 2, n - 1}) {
          INFO(bad << " at " << at << " of " << n);
          rows all(3, n, random);
          all.x[n + at] = bad;
          check_norms(table, all, n % 4);
          all.x[n + at] = 0.5F;
          all.weight[at] = bad;
          check_norms(table, all, n % 4);
          all.weight[at] = 0.5F;
          all.g[n + at] = bad;
          check_norms(table, all, n % 4);
        }
  });
}

TEST_CASE("a norm in bf16 is scaled and rounded and weighted and rounded", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(3);
    std::size_t numbers = 0, others = 0;
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      floats const x = bf16_values(floats(random(n), n % 4)), weight = bf16_values(floats(random(n), (n + 1) % 4));
      floats out(n, (n + 2) % 4);
      table.norms.normalise({x.data(), weight.data(), out.data(), n, eps, true, false, false});
      std::vector<exact> expected;
      for (std::size_t i = 0; i < n; ++i) {
        float const scaled = rounded_to_bf16(static_cast<double>(x[i]) * inverse_rms(x.span()));
        double const y = static_cast<double>(rounded_to_bf16(static_cast<double>(scaled) * static_cast<double>(weight[i])));
        expected.push_back({y, std::abs(y) / 64});  // one step of each rounding, where it falls the other way
        others += static_cast<double>(out[i]) != y;
      }
      numbers += n;
      CHECK(first_difference(out.span(), expected) == "");
      CHECK(same_bits(out.span(), bf16_values(out).span()));
      CHECK(out.kept_its_ends());
    }
    CHECK(others * 500 <= numbers);  // and it seldom does
  });
}

TEST_CASE("a row's norm does not depend on the rows with it", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      rows const all(3, n, random);
      std::vector<float> inverse(3), out(3 * n), gx(3 * n), weight_gradient(n);
      table.norms.inverse_rms(all.x.data(), 3, n, eps, inverse.data());
      table.norms.scale(all.x.data(), inverse.data(), all.weight.data(), 3, n, out.data());
      table.norms.scale_backward(all.g.data(), all.x.data(), inverse.data(), all.weight.data(), 3, n, gx.data(),
                                 weight_gradient.data());
      std::vector<float> one(1), out_alone(n), gx_alone(n);
      float const* const x = all.x.data() + n;
      table.norms.inverse_rms(x, 1, n, eps, one.data());
      table.norms.scale(x, one.data(), all.weight.data(), 1, n, out_alone.data());
      table.norms.scale_backward(all.g.data() + n, x, one.data(), all.weight.data(), 1, n, gx_alone.data(),
                                 weight_gradient.data());
      CHECK(one[0] == inverse[1]);
      CHECK(same_bits(out_alone, std::span(out).subspan(n, n)));
      CHECK(same_bits(gx_alone, std::span(gx).subspan(n, n)));
    }
  });
}

TEST_CASE("a rotation turns the halves of every head by the angles of its row", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (std::size_t half = 1; half <= 67; ++half) {
      INFO("d = " << 2 * half);
      std::size_t const count = 2, heads = 1 + half % 3, d = 2 * half;
      std::vector<float> cosines, sines;
      for (std::size_t i = 0; i < count * half; ++i) {
        float const angle = 3 * random();
        cosines.push_back(std::cos(angle));
        sines.push_back(std::sin(angle));
      }
      if (half % 8 == 0) cosines[half / 2] = not_a_number;
      if (half % 8 == 4) sines[half / 2] = infinity;
      floats const cosine(cosines, half % 4), sine(sines, (half + 1) % 4);
      floats const before(random(count * heads * d), 0);
      for (float const direction : {1.0F, -1.0F}) {
        floats x(std::vector(before.span().begin(), before.span().end()), (half + 2) % 4);
        table.norms.rotate({x.data(), cosine.data(), sine.data(), count, heads, d, half, direction, false, false});
        std::vector<exact> expected(before.size());
        for (std::size_t at = 0; at < before.size(); at += d)
          for (std::size_t i = 0; i < half; ++i) {
            std::size_t const angle = at / (heads * d) * half + i;
            double const c = static_cast<double>(cosine[angle]), s = static_cast<double>(sine[angle] * direction);
            double const left = static_cast<double>(before[at + i]), right = static_cast<double>(before[at + half + i]);
            double const slack = 2e-7 * (std::abs(left) + std::abs(right));
            expected[at + i] = {left * c - right * s, slack};
            expected[at + half + i] = {right * c + left * s, slack};
          }
        CHECK(first_difference(x.span(), expected) == "");
        CHECK(x.kept_its_ends());
      }
    }
  });
}

TEST_CASE("a part of a head turns by halves or by neighbours and the rest of it stays", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(6);
    for (std::size_t half = 1; half <= 67; ++half)
      for (bool const interleaved : {false, true})
        for (bool const bf16 : {false, true}) {
          INFO("half " << half << ", neighbours: " << interleaved << ", bf16: " << bf16);
          std::size_t const count = 2, heads = 1 + half % 3, d = 2 * half + half % 5;
          floats const cosine(random(count * half), half % 4), sine(random(count * half), (half + 1) % 4);
          std::vector<float> start = random(count * heads * d);
          start[half] = half % 3 == 0 ? not_a_number : half % 3 == 1 ? infinity : 0.0F;
          floats x(start, (half + 2) % 4);
          table.norms.rotate({x.data(), cosine.data(), sine.data(), count, heads, d, half, -1, interleaved, bf16});
          std::vector<exact> expected(x.size());
          for (std::size_t at = 0; at < x.size(); at += d) {
            for (std::size_t i = 0; i < d; ++i) expected[at + i] = {static_cast<double>(start[at + i]), 0};
            for (std::size_t i = 0; i < half; ++i) {
              std::size_t const angle = at / (heads * d) * half + i, left = at + (interleaved ? 2 * i : i),
                                right = at + (interleaved ? 2 * i + 1 : half + i);
              double const c = static_cast<double>(cosine[angle]), s = -static_cast<double>(sine[angle]);
              double const a = static_cast<double>(start[left]), b = static_cast<double>(start[right]);
              double const slack =
                  (bf16 ? 1.0 / 250 : 2e-7) * (std::abs(a * c) + std::abs(b * s) + std::abs(a * s) + std::abs(b * c));
              expected[left] = {a * c - b * s, slack};
              expected[right] = {b * c + a * s, slack};
            }
          }
          CHECK(first_difference(x.span(), expected) == "");
          CHECK(x.kept_its_ends());
          if (!bf16) continue;
          for (std::size_t i = 0; i < 2 * half; ++i)
            CHECK(same_bits(x.span().subspan(i, 1), std::vector{rounded_to_bf16(static_cast<double>(x[i]))}));
        }
  });
}

TEST_CASE("a centred norm is that of x less its mean and one rounded at the end is weighted wide", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(7);
    for (std::size_t n = 2; n <= 67; ++n)
      for (bool const bf16 : {false, true}) {
        INFO("n = " << n << ", bf16: " << bf16);
        floats const x(random(n, 2), n % 4), weight(random(n), (n + 1) % 4);
        floats out(n, (n + 2) % 4), centred(n, (n + 3) % 4);
        table.norms.normalise({x.data(), weight.data(), out.data(), n, eps, bf16, true, true});
        table.norms.centre(x.data(), 1, n, centred.data());
        double mean = 0, squares = 0;
        for (float const v : x.span()) mean += static_cast<double>(v) / static_cast<double>(n);
        for (float const v : x.span()) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
        double const factor = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
        std::vector<exact> expected, differences;
        for (std::size_t i = 0; i < n; ++i) {
          double const difference = static_cast<double>(x[i]) - mean, y = difference * factor * static_cast<double>(weight[i]);
          differences.push_back({difference, 1e-6});
          expected.push_back(
              {y, (bf16 ? 1.0 / 250 : 2e-6) * std::abs(y) + 4e-6 * factor * std::abs(static_cast<double>(weight[i]))});
        }
        CHECK(first_difference(centred.span(), differences) == "");
        CHECK(first_difference(out.span(), expected) == "");
        CHECK((out.kept_its_ends() && centred.kept_its_ends()));
      }
  });
}
