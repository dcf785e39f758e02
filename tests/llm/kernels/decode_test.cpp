// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;
using llm::panel_end;

namespace {

// A function of a gate, its slope, and its error in fp32.
double silu(double x) { return x / (1 + std::exp(-x)); }

struct panel_sizes {
  std::size_t rows, in, columns;
};

// A panel of weights, rows of x, and what is to become of their product.
class panel_case {
 public:
  panel_case(std::size_t width, panel_sizes const& s, panel_end end, bool bf16, random_numbers& random)
      : sizes(s),
        width_(width),
        end_(end),
        bf16_(bf16),
        x_stride_(s.in + 3),
        y_stride_(s.columns + 5),
        x((s.rows - 1) * x_stride_ + s.in, s.rows % 4),
        y_start_((s.rows - 1) * y_stride_ + s.columns, s.in % 4),
        weights_(random(s.in * width, 0.3F)),
        bias_(s.rows % 3 == 0 ? random(width) : std::vector<float>()) {
    for (std::size_t r = 0; r < s.rows; ++r) {
      for (std::size_t k = 0; k < s.in; ++k) row(r)[k] = random();
      for (std::size_t j = 0; j < s.columns; ++j) y_start_[r * y_stride_ + j] = random();
    }
    if (!bf16) return;
    x = bf16_values(std::move(x));
    for (float& b : bias_) b = rounded_to_bf16(static_cast<double>(b));
    for (float& w : weights_) w = rounded_to_bf16(static_cast<double>(w));
  }

  // Of x.
  [[nodiscard]] float* row(std::size_t r) { return x.data() + r * x_stride_; }
  [[nodiscard]] float& weight(std::size_t k, std::size_t j) { return weights_[k * width_ + j]; }

  // rows of y, from `first` on; others keep what they held
  [[nodiscard]] floats product(kernel_table const& table, std::size_t first, std::size_t rows) const {
    floats y = y_start_;
    floats const fp32(weights_, 1);
    guarded<std::uint16_t> halves(bf16_ ? weights_.size() : 0, 1);
    if (bf16_)  // output j and that of the second half are one word
      for (std::size_t k = 0; k < sizes.in; ++k)
        for (std::size_t j = 0; j < width_; ++j)
          halves[k * width_ + j % (width_ / 2) * 2 + j / (width_ / 2)] = to_bf16(weights_[k * width_ + j]);
    floats wide(bf16_ ? sizes.in * width_ : 0, 2);
    table.decode.multiply({.x = x.data() + first * x_stride_,
                           .x_stride = x_stride_,
                           .rows = rows,
                           .in = sizes.in,
                           .panel = bf16_ ? static_cast<void const*>(halves.data()) : fp32.data(),
                           .y = y.data() + first * y_stride_,
                           .y_stride = y_stride_,
                           .columns = sizes.columns,
                           .end = end_,
                           .wide = wide.data(),
                           .bf16 = bf16_,
                           .bias = bias_.empty() ? nullptr : bias_.data(),
                           .function = llm::gate_function::silu});
    between_is_kept_ = wide.kept_its_ends() && y.kept_its_ends();
    for (std::size_t r = 0; r + 1 < sizes.rows; ++r)
      for (std::size_t j = sizes.columns; j < y_stride_; ++j) between_is_kept_ &= y[r * y_stride_ + j] == floats::mark;
    return y;
  }
  [[nodiscard]] std::span<float const> outputs(floats const& y, std::size_t r) const {
    return y.span().subspan(r * y_stride_, sizes.columns);
  }
  [[nodiscard]] bool between_is_kept() const { return between_is_kept_; }

  [[nodiscard]] std::vector<exact> expected(std::size_t r) const {
    std::vector<exact> all;
    for (std::size_t j = 0; j < sizes.columns; ++j) {
      exact y = sum(r, j);
      if (end_ == panel_end::gate) {
        exact const up = sum(r, j + width_ / 2);
        double const gate = silu(y.value), s = 1 / (1 + std::exp(-y.value));
        double const slope = std::isfinite(y.value) ? std::abs(s * (1 + y.value * (1 - s))) : 0;
        double const slack =
            (y.slack * slope + half_step * std::abs(gate)) * (std::abs(up.value) + up.slack) + std::abs(gate) * up.slack;
        y = {gate * up.value,
             slack + half_step * std::abs(gate * up.value) + 5e-7 * std::abs(gate * up.value) + y.slack * y.slack};
        if (bf16_) y.slack *= 1.1;
      } else if (end_ == panel_end::activate) {
        double const f = silu(y.value), s = 1 / (1 + std::exp(-y.value)),
                     slope = std::isfinite(y.value) ? std::abs(s * (1 + y.value * (1 - s))) : 0;
        y = {f, 1.1 * (y.slack * slope + (half_step + 5e-7) * std::abs(f) + y.slack * y.slack)};
      } else if (end_ == panel_end::add) {
        auto const from = static_cast<double>(y_start_[r * y_stride_ + j]);
        y = {y.value + from, y.slack + 1e-7 * (std::abs(from) + std::abs(y.value))};
      }
      all.push_back(y);
    }
    return all;
  }

  panel_sizes sizes;

 private:
  // Half of a step between neighbours, where numbers are rounded.
  [[nodiscard]] exact sum(std::size_t r, std::size_t j) const {
    exact s{bias_.empty() ? 0.0 : static_cast<double>(bias_[j]), 0};
    s.slack = 2e-7 * std::abs(s.value);
    for (std::size_t k = 0; k < sizes.in; ++k) {
      double const term = static_cast<double>(x[r * x_stride_ + k]) * static_cast<double>(weights_[k * width_ + j]);
      s.value += term;
      s.slack += 4e-7 * std::abs(term);
    }
    s.slack += half_step * (std::abs(s.value) + s.slack);
    return s;
  }

  std::size_t width_;
  panel_end end_;
  bool bf16_;
  double half_step = bf16_ ? 1.0 / 256 : 0;
  std::size_t x_stride_, y_stride_;
  floats x, y_start_;
  std::vector<float> weights_, bias_;
  mutable bool between_is_kept_ = true;
};

std::string describe(panel_sizes const& s, panel_end end, bool bf16) {
  return std::to_string(s.rows) + " rows of " + std::to_string(s.in) + ", " + std::to_string(s.columns) + " outputs, end " +
         std::to_string(static_cast<int>(end)) + (bf16 ? ", bf16" : ", fp32");
}

// f(whether weights are bf16, what becomes of the product)
template <class F>
void each_end(F const& f) {
  for (bool const bf16 : {false, true})
    for (panel_end const end : {panel_end::store, panel_end::add, panel_end::gate, panel_end::activate}) f(bf16, end);
}

void check_panel(kernel_table const& table, panel_case const& c) {
  floats const y = c.product(table, 0, c.sizes.rows);
  for (std::size_t r = 0; r < c.sizes.rows; ++r) {
    INFO("row " << r);
    CHECK(first_difference(c.outputs(y, r), c.expected(r)) == "");
  }
  CHECK(c.between_is_kept());
}

constexpr std::size_t page = llm::page_positions;

struct attention_sizes {
  std::size_t heads, d, keys;
  std::size_t first = 0;  // key that is seen
  float cap = 0;
};

// Pages each of their own allocation. What lies behind the last key is NaN.
class attention_case {
 public:
  attention_case(attention_sizes const& s, bool bf16, random_numbers& random)
      : sizes(s), bf16_(bf16), q(random(s.heads * s.d), s.keys % 4) {
    if (bf16) q = bf16_values(std::move(q));
    for (std::size_t i = 0; i < s.keys; i += page) {
      floats numbers(2 * page * s.d, i / page % 4, not_a_number);
      for (std::size_t j = 0; j < std::min(page, s.keys - i); ++j)
        for (std::size_t n = 0; n < s.d && i + j >= s.first; ++n) {
          numbers[n * page + j] = random();
          numbers[(page + j) * s.d + n] = random();
        }
      pages_.push_back(bf16 ? bf16_values(std::move(numbers)) : std::move(numbers));
    }
  }

  [[nodiscard]] float& key(std::size_t j, std::size_t n) { return pages_[j / page][n * page + j % page]; }
  [[nodiscard]] float& value(std::size_t j, std::size_t n) { return pages_[j / page][(page + j % page) * sizes.d + n]; }

  [[nodiscard]] floats attend(kernel_table const& table, std::size_t first, std::size_t heads) const {
    std::vector<guarded<std::uint16_t>> bits;
    for (floats const& p : pages_) bits.push_back(bf16_bits(p.span(), 1));
    std::vector<void const*> at;
    for (std::size_t i = 0; i < pages_.size(); ++i)
      at.push_back(bf16_ ? static_cast<void const*>(bits[i].data()) : pages_[i].data());
    floats scores(heads * pages_.size() * page, 1), out(heads * sizes.d, 3);
    table.decode.attend({.q = q.data() + first * sizes.d,
                         .heads = heads,
                         .d = sizes.d,
                         .keys = sizes.keys,
                         .pages = at.data(),
                         .scores = scores.data(),
                         .out = out.data(),
                         .scale = scale,
                         .bf16 = bf16_,
                         .first = sizes.first,
                         .cap = sizes.cap});
    CHECK((scores.kept_its_ends() && out.kept_its_ends()));
    return out;
  }

  [[nodiscard]] std::vector<exact> expected(std::size_t head) const {
    std::vector<double> p(sizes.keys, -static_cast<double>(infinity));
    double most = -static_cast<double>(infinity), total = 0, largest_size = 0;
    for (std::size_t j = sizes.first; j < sizes.keys; ++j) {
      double score = 0, size = 0;
      for (std::size_t n = 0; n < sizes.d; ++n) {
        double const term =
            static_cast<double>(q[head * sizes.d + n]) * static_cast<double>(pages_[j / page][n * page + j % page]);
        score += term;
        size += std::abs(term);
      }
      p[j] = score * static_cast<double>(scale);
      if (auto const cap = static_cast<double>(sizes.cap); cap > 0) p[j] = cap * std::tanh(p[j] / cap);
      if (std::isfinite(size)) largest_size = std::max(largest_size, size * static_cast<double>(scale));
      most = std::max(most, p[j]);
    }
    for (double& x : p) total += x = std::exp(x - most);
    std::vector<exact> out(sizes.d, {0, 0});
    for (std::size_t n = 0; n < sizes.d; ++n) {
      for (std::size_t j = sizes.first; j < sizes.keys; ++j) {
        double const term = p[j] / total * static_cast<double>(pages_[j / page][(page + j % page) * sizes.d + n]);
        out[n].value += term;
        out[n].slack += (1e-6 + 5e-7 * largest_size) * std::abs(term);
      }
      if (bf16_) out[n].slack += std::abs(out[n].value) / 256;
    }
    return out;
  }

  attention_sizes sizes;

 private:
  static constexpr float scale = 0.25F;
  bool bf16_;

 public:
  floats q;

 private:
  std::vector<floats> pages_;
};

}  // namespace

TEST_CASE("a panel's outputs are those of fp64 rounded, for every number of rows", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    std::size_t const width = table.decode.panel_width;
    each_end([&](bool bf16, panel_end end) {
      std::size_t const most = end == panel_end::gate ? width / 2 : width;
      for (std::size_t i = 1; i <= 67; ++i) {
        panel_sizes const s{mixed(i, 1), mixed(i, 29), i % 4 == 0 ? most : mixed(i, 1, most)};
        INFO(describe(s, end, bf16));
        check_panel(table, panel_case(width, s, end, bf16, random));
      }
      for (panel_sizes const& s : {panel_sizes{1, 801, most}, panel_sizes{13, 256, most}, panel_sizes{14, 513, 1},
                                   panel_sizes{5, 257, most - 1}, panel_sizes{2, 2000, most}}) {
        INFO(describe(s, end, bf16));
        check_panel(table, panel_case(width, s, end, bf16, random));
      }
    });
  });
}

TEST_CASE("outputs of a panel in bf16 are numbers of bf16", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(2);
    std::size_t const width = table.decode.panel_width;
    for (panel_end const end : {panel_end::store, panel_end::gate}) {
      panel_case const c(width, {27, 60, width / 2}, end, true, random);
      floats const y = c.product(table, 0, 27);
      for (std::size_t r = 0; r < 27; ++r)
        for (float const v : c.outputs(y, r)) CHECK(v == rounded_to_bf16(static_cast<double>(v)));
    }
  });
}

TEST_CASE("a row of a panel's outputs does not depend on the rows with it", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(3);
    std::size_t const width = table.decode.panel_width;
    each_end([&](bool bf16, panel_end end) {
      panel_sizes const s{40, 300, width / 2 - 1};
      INFO(describe(s, end, bf16));
      panel_case const c(width, s, end, bf16, random);
      floats const all = c.product(table, 0, s.rows);
      for (auto const& [first, rows] :
           {std::pair<std::size_t, std::size_t>{0, 1}, {39, 1}, {17, 2}, {5, 12}, {1, 13}, {9, 31}}) {
        floats const some = c.product(table, first, rows);
        for (std::size_t r = first; r < first + rows; ++r) CHECK(same_bits(c.outputs(some, r), c.outputs(all, r)));
      }
    });
  });
}

TEST_CASE("a number that is none or infinite reaches its own row or output of a panel alone", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    std::size_t const width = table.decode.panel_width;
    each_end([&](bool bf16, panel_end end) {
      for (float const bad : {not_a_number, infinity, -infinity})
        for (panel_sizes const& s : {panel_sizes{15, 20, width / 2 - 1}, panel_sizes{3, 9, width / 2}}) {
          INFO(describe(s, end, bf16) << ", " << bad);
          panel_case in_x(width, s, end, bf16, random), in_weights(width, s, end, bf16, random);
          in_x.row(s.rows / 2)[s.in - 1] = bad;
          check_panel(table, in_x);
          in_weights.weight(s.in / 2, 1) = bad;
          check_panel(table, in_weights);
        }
    });
  });
}

TEST_CASE("attention to pages is that of fp64 rounded, whatever lies behind the last key", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (bool const bf16 : {false, true}) {
      auto const check = [&](attention_sizes const& s) {
        INFO(s.heads << " heads of " << s.d << " numbers, " << s.keys << " keys, bf16: " << bf16);
        attention_case const c(s, bf16, random);
        floats const out = c.attend(table, 0, s.heads);
        for (std::size_t h = 0; h < s.heads; ++h)
          CHECK(first_difference(out.span().subspan(h * s.d, s.d), c.expected(h)) == "");
        if (bf16) CHECK(same_bits(out.span(), bf16_values(out).span()));
      };
      for (std::size_t keys = 1; keys <= 67; ++keys) check({1 + keys % 9, 16 * (1 + keys % 5), keys});
      for (std::size_t d = 16; d <= 256; d += 48) check({5, d, 33});
      check({2, 64, 515});
      for (std::size_t keys = 1; keys <= 67; ++keys)
        check({.heads = 1 + keys % 5,
               .d = 32,
               .keys = keys,
               .first = std::min<std::size_t>(keys - 1, keys % 16),
               .cap = keys % 2 ? 1.5F : 0});
    }
  });
}

TEST_CASE("a head's attention does not depend on the heads with it", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(6);
    for (bool const bf16 : {false, true}) {
      attention_case c({9, 48, 37}, bf16, random);
      floats const all = c.attend(table, 0, 9);
      for (auto const& [first, heads] : {std::pair<std::size_t, std::size_t>{0, 1}, {8, 1}, {2, 3}, {1, 4}, {3, 6}, {2, 7}})
        CHECK(same_bits(c.attend(table, first, heads).span(), all.span().subspan(first * 48, heads * 48)));
      c.q[3 * 48 + 7] = not_a_number;
      floats const spoilt = c.attend(table, 0, 9);
      for (std::size_t h = 0; h < 9; ++h) {
        std::span const head = spoilt.span().subspan(h * 48, 48);
        CHECK((h == 3 ? all_nan(head) : same_bits(head, all.span().subspan(h * 48, 48))));
      }
    }
  });
}

TEST_CASE("a key or value that is none or infinite reaches what the formula has it reach", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(7);
    for (bool const bf16 : {false, true})
      for (float const bad : {not_a_number, infinity, -infinity}) {
        INFO(bad << ", bf16: " << bf16);
        attention_case in_key({4, 32, 21}, bf16, random), in_value({4, 32, 21}, bf16, random),
            in_every_key({1, 16, 5}, bf16, random);
        in_key.key(18, 5) = bad;
        in_value.value(18, 5) = bad;
        for (std::size_t j = 0; j < 5; ++j) in_every_key.key(j, 3) = bad;
        for (attention_case const* const c : {&in_key, &in_value, &in_every_key}) {
          floats const out = c->attend(table, 0, c->sizes.heads);
          for (std::size_t h = 0; h < c->sizes.heads; ++h)
            CHECK(first_difference(out.span().subspan(h * c->sizes.d, c->sizes.d), c->expected(h)) == "");
        }
      }
  });
}
