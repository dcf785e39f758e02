// SPDX-License-Identifier: Apache-2.0

// Every instruction set gives the bits of a plain loop.

#include <cmath>
#include <cstring>
#include <utility>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;

namespace {

// Eight interleaved sums, as the interface has them.
template <class Term>
double interleaved(std::size_t n, Term const& term) {
  double of[8] = {};
  for (std::size_t i = 0; i < n; ++i) of[i % 8] += term(i);
  return ((of[0] + of[4]) + (of[1] + of[5])) + ((of[2] + of[6]) + (of[3] + of[7]));
}

// Numbers in bytes that begin at any of them.
std::vector<char> shifted_bytes(std::vector<std::uint16_t> const& numbers, std::size_t shift) {
  std::vector<char> bytes(shift + 2 * numbers.size());
  if (!numbers.empty()) std::memcpy(bytes.data() + shift, numbers.data(), 2 * numbers.size());
  return bytes;
}

}  // namespace

TEST_CASE("scaled sums of checkpoints have the bits of fused multiply-adds", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t n = 0; n <= 67; ++n) {
      INFO("n = " << n);
      std::size_t const shift = n % 4;
      float const w = random();
      floats const x(random(n), shift), base(random(n), (shift + 1) % 4);
      floats y(random(n), (shift + 2) % 4);
      std::vector<float> sum(n), difference(n);
      for (std::size_t i = 0; i < n; ++i) {
        sum[i] = std::fma(x[i], w, y[i]);
        difference[i] = std::fma(x[i] - base[i], w, sum[i]);
      }
      table.merge.add_scaled(w, x.data(), y.data(), n);
      CHECK(same_bits(y.span(), sum));
      table.merge.add_scaled_difference(w, x.data(), base.data(), y.data(), n);
      CHECK(same_bits(y.span(), difference));
      CHECK(y.kept_its_ends());
    }
  });
}

TEST_CASE("scaled sums of checkpoints treat numbers that are none as fused multiply-adds do", "[kernels]") {
  float const largest = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  std::vector<float> const special{not_a_number, infinity, -infinity, 0.0F, -0.0F, largest, -largest, least, -least, 1.0F, 3 * least};
  each_table([&](kernel_table const& table) {
    for (float const w : special)
      for (float const to : special) {
        INFO("w = " << w << ", y = " << to);
        std::size_t const n = special.size();
        floats y(n, 1, to), z(n, 1, to);
        std::vector<float> sum(n), difference(n);
        for (std::size_t i = 0; i < n; ++i) {
          sum[i] = std::fma(special[i], w, to);
          difference[i] = std::fma(special[i] - 1.0F, w, to);
        }
        std::vector<float> const ones(n, 1.0F);
        table.merge.add_scaled(w, special.data(), y.data(), n);
        CHECK(same_bits(y.span(), sum));
        table.merge.add_scaled_difference(w, special.data(), ones.data(), z.data(), n);
        CHECK(same_bits(z.span(), difference));
      }
  });
}

TEST_CASE("inner products and sums of magnitudes have the bits of eight interleaved sums", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(2);
    for (std::size_t n = 0; n <= 300; n += n < 67 ? 1 : 61) {
      INFO("n = " << n);
      floats const x(random(n), n % 4), y(random(n), (n + 1) % 4);
      CHECK(table.merge.dot(x.data(), y.data(), n) ==
            interleaved(n, [&](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); }));
      CHECK(table.merge.sum_of_magnitudes(x.data(), n) == interleaved(n, [&](std::size_t i) { return std::abs(static_cast<double>(x[i])); }));
    }
  });
}

TEST_CASE("one number that is none or infinite among finite ones is found anywhere", "[kernels]") {
  each_table([](kernel_table const& table) {
    CHECK(table.merge.all_finite(nullptr, 0));
    std::string missed;
    for (std::size_t n = 1; n <= 67; ++n) {
      floats x(n, n % 4, -std::numeric_limits<float>::max());
      if (!table.merge.all_finite(x.data(), n)) missed += "all of " + std::to_string(n) + "; ";
      for (std::size_t i = 0; i < n; ++i)
        for (float const bad : {not_a_number, -not_a_number, infinity, -infinity}) {
          float const good = std::exchange(x[i], bad);
          if (table.merge.all_finite(x.data(), n)) missed += std::to_string(i) + " of " + std::to_string(n) + "; ";
          x[i] = good;
        }
    }
    CHECK(missed == "");
  });
}

TEST_CASE("every bf16 number becomes the fp32 number of the same upper bits", "[kernels]") {
  each_table([](kernel_table const& table) {
    std::vector<std::uint16_t> all(1U << 16);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    for (std::size_t const shift : {0U, 1U, 3U}) {
      std::vector<char> const bytes = shifted_bytes(all, shift);
      floats wide(all.size(), shift);
      table.merge.from_bf16(bytes.data() + shift, wide.data(), all.size());
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < all.size(); ++i) wrong += std::bit_cast<std::uint32_t>(wide[i]) != i << 16;
      CHECK(wrong == 0);
      CHECK(wide.kept_its_ends());
    }
    random_numbers random(3);
    for (std::size_t n = 0; n <= 67; ++n) {
      INFO("n = " << n);
      floats const numbers = bf16_values(floats(random(n), 0));
      guarded<std::uint16_t> const bits = bf16_bits(numbers.span(), n % 2);
      floats wide(n, n % 4);
      table.merge.from_bf16(bits.data(), wide.data(), n);
      CHECK(same_bits(wide.span(), numbers.span()));
      CHECK(wide.kept_its_ends());
    }
  });
}

TEST_CASE("finite numbers become the nearest bf16, ties the even one", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    for (std::size_t n = 0; n <= 67; ++n) {
      INFO("n = " << n);
      std::size_t const shift = n % 3;
      std::vector<float> numbers = random(n, std::ldexp(1.0F, static_cast<int>(n) * 3 - 100));
      for (std::size_t i = 0; i < n; i += 3)  // half way between two
        numbers[i] = std::bit_cast<float>((std::bit_cast<std::uint32_t>(numbers[i]) & 0xffff0000U) | 0x8000U);
      floats const x(numbers, n % 4);
      std::vector<std::uint16_t> nearest(n);
      for (std::size_t i = 0; i < n; ++i) nearest[i] = to_bf16(x[i]);
      std::vector<char> const expected = shifted_bytes(nearest, shift);
      guarded<char> out(2 * n, shift);
      table.merge.to_bf16(x.data(), out.data(), n);
      CHECK((n == 0 || std::memcmp(out.data(), expected.data() + shift, 2 * n) == 0));
      CHECK(out.kept_its_ends());
    }
  });
}
