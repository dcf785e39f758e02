// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::adam_block;
using llm::adam_blocks;
using llm::adam_numbers;
using llm::kernel_table;

namespace {

adam_numbers const numbers{.decay = 0.999F,
                           .rate = 0.01F,
                           .root = 1.5F,
                           .beta1 = 0.9F,
                           .beta2 = 0.95F,
                           .epsilon = 1e-8F,
                           .scale = 0.5F,
                           .seed = 12345,
                           .zero_gradient = false};
constexpr std::size_t first_index = 3 * adam_block;

// Moments and a parameter behind a step, in fp64.
struct stepped {
  double first, second, theta, theta_size;
};
stepped step(double theta, double gradient, double m, double v, adam_numbers const& s) {
  auto const wide = [](float x) { return static_cast<double>(x); };
  double const g = gradient * wide(s.scale), first = m + (1 - wide(s.beta1)) * (g - m), second = wide(s.beta2) * v + (1 - wide(s.beta2)) * g * g;
  double const rate = wide(s.rate) / (std::sqrt(second) * wide(s.root) + wide(s.epsilon));
  return {first, second, wide(s.decay) * theta - rate * first, std::abs(theta) + rate * (std::abs(m) + std::abs(g))};
}

// Parameters with their gradients, and the copy in bf16.
struct parameters {
  floats theta, gradient;
  guarded<std::uint16_t> copy;

  parameters(std::size_t n, random_numbers& random) : theta(random(n), n % 4), gradient(random(n, 0.1F), (n + 1) % 4), copy(n, n % 2) {}
  // n of them from `begin` on; moments and scales are the caller's
  llm::adam_range range(std::size_t begin, std::size_t n, bool with_copy = true) {
    return {.theta = theta.data() + begin,
            .gradient = gradient.data() + begin,
            .first = nullptr,
            .second = nullptr,
            .first_scale = nullptr,
            .second_scale = nullptr,
            .copy = with_copy ? copy.data() + begin : nullptr,
            .n = n,
            .first_index = first_index + begin};
  }
  [[nodiscard]] bool kept_their_ends() const { return theta.kept_its_ends() && gradient.kept_its_ends() && copy.kept_its_ends(); }
  [[nodiscard]] bool copied() const {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < theta.size(); ++i) wrong += copy[i] != to_bf16(theta[i]);
    return wrong == 0;
  }
};

exact theta_of(stepped const& s) { return {s.theta, 1e-6 * s.theta_size}; }

std::vector<std::size_t> const lengths = [] {
  std::vector<std::size_t> all;
  for (std::size_t n = 1; n <= 67; ++n) all.push_back(n);
  for (std::size_t n : {255U, 256U, 257U, 300U, 512U, 520U}) all.push_back(n);
  return all;
}();

std::uint32_t noise(std::size_t i) { return llm::random_bits(numbers.seed, static_cast<std::uint32_t>(first_index + i)); }

// Codes of 8 bits, by the lines.
using lines = std::array<llm::line, llm::code_lines>;
double code_of(lines const& of, double x) {
  double least = static_cast<double>(of[0].a) * x + static_cast<double>(of[0].b);
  for (llm::line const& l : of) least = std::min(least, static_cast<double>(l.a) * x + static_cast<double>(l.b));
  return least;
}
double number_of(lines const& of, double code) {
  double most = 0;
  for (llm::line const& l : of) most = std::max(most, (code - static_cast<double>(l.b)) / static_cast<double>(l.a));
  return most;
}
double first_number(std::uint8_t code) { return (code & 0x80U ? -1 : 1) * number_of(llm::signed_lines, code & 0x7fU); }
std::uint8_t first_code(double x) {
  auto const size = static_cast<unsigned>(std::min(127.0, std::floor(code_of(llm::signed_lines, std::abs(x)) + 0.5)));
  return static_cast<std::uint8_t>(size | (std::signbit(x) ? 0x80U : 0U));
}
std::uint8_t second_code(double root, std::uint32_t random) {
  double const dither = static_cast<double>(random >> 8) / (1 << 24);
  auto const code = static_cast<unsigned>(std::min(255.0, std::floor(code_of(llm::unsigned_lines, root) + dither)));
  return static_cast<std::uint8_t>(root > 0 && code == 0 ? 1 : code);
}

// How many numbers' codes are one next to the plain loop's, where rounding falls the other way; further away is wrong.
struct code_differences {
  std::size_t all = 0, neighbours = 0, wrong = 0;
  void add(int code, int expected) {
    ++all;
    neighbours += std::abs(code - expected) == 1;
    wrong += std::abs(code - expected) > 1;
  }
  [[nodiscard]] bool fine() const { return wrong == 0 && neighbours * 300 <= all + 300; }
  friend std::ostream& operator<<(std::ostream& to, code_differences const& d) {
    return to << d.neighbours << " of " << d.all << " are neighbours, " << d.wrong << " wrong";
  }
};

struct codes {
  guarded<std::uint8_t> first, second;
  floats first_scale, second_scale;

  codes(std::size_t n, random_numbers& random)
      : first(n, n % 3), second(n, n % 5), first_scale(adam_blocks(n), n % 4), second_scale(adam_blocks(n), (n + 1) % 4) {
    fill_codes(static_cast<unsigned>(n), random, first, second, first_scale, second_scale);
  }
  llm::adam_range put(llm::adam_range r, std::size_t begin) {
    r.first = first.data() + begin;
    r.second = second.data() + begin;
    r.first_scale = first_scale.data() + begin / adam_block;
    r.second_scale = second_scale.data() + begin / adam_block;
    return r;
  }
  [[nodiscard]] bool kept_their_ends() const {
    return first.kept_its_ends() && second.kept_its_ends() && first_scale.kept_its_ends() && second_scale.kept_its_ends();
  }
};

template <class T>
bool equal(guarded<T> const& x, guarded<T> const& y) {
  return std::equal(x.span().begin(), x.span().end(), y.span().begin(), y.span().end());
}

}  // namespace

TEST_CASE("a step of AdamW with fp32 moments is that of the formula", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t const n : lengths)
      for (bool const zero : {false, true}) {
        INFO("n = " << n << ", gradients become zero: " << zero);
        parameters p(n, random);
        floats first(random(n), (n + 2) % 4), second(random(n), (n + 3) % 4);
        for (float& v : second.span()) v = v * v;
        if (n > 3) second[n / 2] = first[n / 2] = p.gradient[n / 2] = 0;  // nothing moves but by decay
        std::vector<exact> theta, m, v, gradient;
        for (std::size_t i = 0; i < n; ++i) {
          stepped const s = step(static_cast<double>(p.theta[i]), static_cast<double>(p.gradient[i]), static_cast<double>(first[i]),
                                 static_cast<double>(second[i]), numbers);
          theta.push_back(theta_of(s));
          m.push_back({s.first, 3e-7 * (std::abs(static_cast<double>(first[i])) + std::abs(static_cast<double>(p.gradient[i])))});
          v.push_back({s.second, 1e-6 * s.second});
          gradient.push_back({zero ? 0 : static_cast<double>(p.gradient[i]), 0});
        }
        adam_numbers s = numbers;
        s.zero_gradient = zero;
        llm::adam_range r = p.range(0, n, n % 2 == 1);
        r.first = first.data();
        r.second = second.data();
        table.adam.step_fp32(r, s);
        CHECK(first_difference(p.theta.span(), theta) == "");
        CHECK(first_difference(first.span(), m) == "");
        CHECK(first_difference(second.span(), v) == "");
        CHECK(first_difference(p.gradient.span(), gradient) == "");
        CHECK((n % 2 == 1 ? p.copied() : p.copy[0] == decltype(p.copy)::mark));
        CHECK((p.kept_their_ends() && first.kept_its_ends() && second.kept_its_ends()));
      }
  });
}

TEST_CASE("a gradient that is none or infinite spoils its own parameter alone", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(2);
    for (std::size_t n = 1; n <= 67; n += 3)
      for (float const bad : {not_a_number, infinity, -infinity}) {
        INFO(bad << " among " << n);
        std::size_t const at = n / 2;
        parameters p(n, random), q = p;
        p.gradient[at] = q.gradient[at] = bad;
        floats first(n, 0, 0.1F), second(n, 0, 0.1F);
        guarded<std::uint16_t> short_first(n, 0, to_bf16(0.1F)), short_second(n, 0, to_bf16(0.1F));
        llm::adam_range r = p.range(0, n), of_bf16 = q.range(0, n);
        r.first = first.data();
        r.second = second.data();
        of_bf16.first = short_first.data();
        of_bf16.second = short_second.data();
        table.adam.step_fp32(r, numbers);
        table.adam.step_bf16(of_bf16, numbers);
        for (std::size_t i = 0; i < n; ++i) {
          bool const spoilt = i == at;
          CHECK(std::isnan(p.theta[i]) == spoilt);
          CHECK(std::isnan(from_bf16(p.copy[i])) == spoilt);
          CHECK(std::isnan(q.theta[i]) == spoilt);
          CHECK(std::isfinite(second[i]) == !spoilt);
          CHECK(std::isfinite(from_bf16(short_first[i])) == !spoilt);
          CHECK(std::isfinite(from_bf16(short_second[i])) == !spoilt);
        }
      }
  });
}

TEST_CASE("moments in bf16 are rounded to nearest and by the step's random numbers", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(3);
    code_differences firsts, seconds;
    for (std::size_t const n : lengths) {
      INFO("n = " << n);
      parameters p(n, random);
      guarded<std::uint16_t> first(n, n % 2), second(n, (n + 1) % 2);
      std::vector<exact> theta;
      std::vector<int> first_expected, second_expected;
      for (std::size_t i = 0; i < n; ++i) {
        first[i] = to_bf16(random());
        second[i] = to_bf16(std::abs(random()));
        stepped const s = step(static_cast<double>(p.theta[i]), static_cast<double>(p.gradient[i]), static_cast<double>(from_bf16(first[i])),
                               static_cast<double>(from_bf16(second[i])), numbers);
        theta.push_back(theta_of(s));
        first_expected.push_back(to_bf16(static_cast<float>(s.first)));
        second_expected.push_back(static_cast<int>((std::bit_cast<std::uint32_t>(static_cast<float>(s.second)) + (noise(i) & 0xffffU)) >> 16));
      }
      llm::adam_range r = p.range(0, n);
      r.first = first.data();
      r.second = second.data();
      table.adam.step_bf16(r, numbers);
      CHECK(first_difference(p.theta.span(), theta) == "");
      CHECK(p.copied());
      CHECK((p.kept_their_ends() && first.kept_its_ends() && second.kept_its_ends()));
      for (std::size_t i = 0; i < n; ++i) {
        firsts.add(first[i], first_expected[i]);
        seconds.add(second[i], second_expected[i]);
      }
    }
    INFO("first moments: " << firsts << ", second: " << seconds);
    CHECK((firsts.fine() && seconds.fine()));
  });
}

TEST_CASE("moments of 8 bits are the codes that the lines give, and scales the largest of their block", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    code_differences firsts, seconds;
    for (std::size_t const n : lengths) {
      INFO("n = " << n);
      parameters p(n, random);
      codes c(n, random);
      std::vector<exact> theta, first_scales, second_scales;
      std::vector<double> m, root;
      for (std::size_t begin = 0; begin < n; begin += adam_block) {
        double first_largest = 0, root_largest = 0;
        for (std::size_t i = begin; i < std::min(n, begin + adam_block); ++i) {
          double const was = number_of(llm::unsigned_lines, c.second[i]) * static_cast<double>(c.second_scale[begin / adam_block]);
          stepped const s = step(static_cast<double>(p.theta[i]), static_cast<double>(p.gradient[i]),
                                 first_number(c.first[i]) * static_cast<double>(c.first_scale[begin / adam_block]), was * was, numbers);
          theta.push_back(theta_of(s));
          theta.back().slack *= 4;
          m.push_back(s.first);
          root.push_back(std::sqrt(s.second));
          first_largest = std::max(first_largest, std::abs(s.first));
          root_largest = std::max(root_largest, root.back());
        }
        first_scales.push_back({first_largest, 2e-6 * first_largest});
        second_scales.push_back({root_largest, 2e-6 * root_largest});
      }
      table.adam.step_bits8(c.put(p.range(0, n), 0), numbers);
      CHECK(first_difference(p.theta.span(), theta) == "");
      CHECK(first_difference(c.first_scale.span(), first_scales) == "");
      CHECK(first_difference(c.second_scale.span(), second_scales) == "");
      CHECK(p.copied());
      CHECK((p.kept_their_ends() && c.kept_their_ends()));
      for (std::size_t i = 0; i < n; ++i) {
        firsts.add(c.first[i], first_code(m[i] / first_scales[i / adam_block].value));
        seconds.add(c.second[i], second_code(root[i] / second_scales[i / adam_block].value, noise(i)));
      }
    }
    INFO("first moments: " << firsts << ", second: " << seconds);
    CHECK((firsts.fine() && seconds.fine()));
  });
}

TEST_CASE("second moments of a block that are positive get no code of zero, and a block of zeros stays one", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (std::size_t n = 2; n <= 67; ++n) {
      INFO("n = " << n);
      parameters p(n, random);
      codes c(n, random);
      for (float& g : p.gradient.span()) g = 1e-12F;  // eleven decades below the largest
      p.gradient[n / 2] = 10;
      for (std::size_t i = 0; i < n; ++i) c.first[i] = c.second[i] = 0;
      table.adam.step_bits8(c.put(p.range(0, n), 0), numbers);
      std::size_t zeros = 0;
      for (std::uint8_t const code : c.second.span()) zeros += code == 0;
      CHECK(zeros == 0);
      CHECK(c.second[n / 2] == 255);
      CHECK(all_finite(p.theta.span()));

      parameters still(n, random);
      codes none(n, random);
      for (std::size_t i = 0; i < n; ++i) none.first[i] = none.second[i] = 0;
      for (float& g : still.gradient.span()) g = 0;
      std::vector<exact> decayed;
      for (float const t : still.theta.span())
        decayed.push_back({static_cast<double>(t) * static_cast<double>(numbers.decay), 1e-7 * std::abs(static_cast<double>(t))});
      table.adam.step_bits8(none.put(still.range(0, n), 0), numbers);
      CHECK(first_difference(still.theta.span(), decayed) == "");
      CHECK((none.first_scale[0] == 0 && none.second_scale[0] == 0));
      CHECK(std::all_of(none.second.span().begin(), none.second.span().end(), [](std::uint8_t code) { return code == 0; }));
    }
  });
}

TEST_CASE("a step taken in pieces is the step taken at once", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(6);
    std::size_t const n = 3 * adam_block + 77;
    parameters const start(n, random);
    codes const moments(n, random);
    guarded<std::uint16_t> const first_bf16 = bf16_bits(random(n), 1), second_bf16 = bf16_bits(std::vector<float>(n, 0.7F), 1);
    auto const at_once_and_in_pieces = [&](auto const& take) {
      take(0, n, 0);
      take(0, adam_block, 1);
      take(adam_block, 2 * adam_block, 1);
      take(3 * adam_block, 77, 1);
    };
    parameters p[2] = {start, start}, q[2] = {start, start};
    codes c[2] = {moments, moments};
    guarded<std::uint16_t> first[2] = {first_bf16, first_bf16}, second[2] = {second_bf16, second_bf16};
    at_once_and_in_pieces([&](std::size_t begin, std::size_t size, int which) {
      table.adam.step_bits8(c[which].put(p[which].range(begin, size), begin), numbers);
      llm::adam_range r = q[which].range(begin, size);
      r.first = first[which].data() + begin;
      r.second = second[which].data() + begin;
      table.adam.step_bf16(r, numbers);
    });
    CHECK(same_bits(p[0].theta.span(), p[1].theta.span()));
    CHECK((equal(c[0].first, c[1].first) && equal(c[0].second, c[1].second)));
    CHECK((same_bits(c[0].first_scale.span(), c[1].first_scale.span()) && same_bits(c[0].second_scale.span(), c[1].second_scale.span())));
    CHECK(same_bits(q[0].theta.span(), q[1].theta.span()));
    CHECK((equal(first[0], first[1]) && equal(second[0], second[1])));
  });
}
