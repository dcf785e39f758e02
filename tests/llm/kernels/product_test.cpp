// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;

namespace {

struct sizes {
  std::size_t m, n, k;
};

// Of one factor: numbers of a row, or of a column, lie together; and what they are.
struct layout {
  bool by_columns, bf16;
};
std::vector<layout> const layouts{{false, false}, {true, false}, {false, true}, {true, true}};

// A factor in memory, its rows or columns further apart than they are long.
class factor {
 public:
  factor(std::size_t rows, std::size_t columns, layout const& l, std::vector<float> const& values, std::size_t shift)
      : bf16_(l.bf16), row_(l.by_columns ? 1 : columns + gap), column_(l.by_columns ? rows + gap : 1) {
    std::size_t const size = (rows - 1) * row_ + (columns - 1) * column_ + 1;
    numbers_ = floats(size, shift);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) numbers_[i * row_ + j * column_] = values[i * columns + j];
    if (!bf16_) return;
    numbers_ = bf16_values(std::move(numbers_));
    bits_ = bf16_bits(numbers_.span(), shift % 2);
  }

  [[nodiscard]] llm::matrix_view view() const { return from(0, 0); }
  [[nodiscard]] llm::matrix_view from(std::size_t i, std::size_t j) const {
    std::size_t const at = i * row_ + j * column_;
    if (bf16_) return {bits_.data() + at, row_, column_, true};
    return {numbers_.data() + at, row_, column_, false};
  }
  [[nodiscard]] double operator()(std::size_t i, std::size_t j) const { return static_cast<double>(numbers_[i * row_ + j * column_]); }

 private:
  static constexpr std::size_t gap = 3;
  bool bf16_;
  std::size_t row_, column_;
  floats numbers_{0, 0};
  guarded<std::uint16_t> bits_{0, 0};
};

// What multiplies: the products of every table, and those by matrix units where there are any.
struct multiplier {
  void (*multiply)(llm::matrix_product const&);
  bool rounds;  // its operands to bf16
};
template <class F>
void each_multiplier(F const& f) {
  each_table([&](kernel_table const& table) {
    f(multiplier{table.product.multiply, false});
    if (!table.tile_product) return;
    INFO("by matrix units");
    f(multiplier{table.tile_product, true});
  });
}

enum class onto { nothing, itself, another };

// [m, n] numbers, rows further apart than they are long. What lies between rows is `mark`.
struct outputs {
  std::size_t m, n, row;
  floats numbers;

  outputs(std::size_t rows, std::size_t columns, std::size_t shift) : m(rows), n(columns), row(columns + 5), numbers((rows - 1) * row + columns, shift) {}
  [[nodiscard]] bool kept_its_gaps() const {
    std::size_t changed = 0;
    for (std::size_t i = 0; i + 1 < m; ++i)
      for (std::size_t j = n; j < row; ++j) changed += numbers[i * row + j] != floats::mark;
    return changed == 0 && numbers.kept_its_ends();
  }
};

// The plain loop over b's rows, in fp64. Terms that overflow fp32 are none of the tests'.
std::vector<exact> plain_product(factor const& a, factor const& b, bool rounds, sizes const& s, float const* start, std::size_t start_row) {
  auto const operand = [&](double x) { return rounds ? static_cast<double>(rounded_to_bf16(x)) : x; };
  std::vector<exact> c(s.m * s.n, {0, 0});
  std::vector<double> row(s.n);
  for (std::size_t k = 0; k < s.k; ++k) {
    for (std::size_t j = 0; j < s.n; ++j) row[j] = operand(b(k, j));
    for (std::size_t i = 0; i < s.m; ++i) {
      double const x = operand(a(i, k));
      for (std::size_t j = 0; j < s.n; ++j) {
        double const term = x * row[j];
        c[i * s.n + j].value += term;
        c[i * s.n + j].slack += 4e-7 * std::abs(term);
      }
    }
  }
  if (!start) return c;
  for (std::size_t i = 0; i < s.m; ++i)
    for (std::size_t j = 0; j < s.n; ++j) {
      auto const from = static_cast<double>(start[i * start_row + j]);
      c[i * s.n + j].value += from;
      c[i * s.n + j].slack += 2e-7 * std::abs(from);
    }
  return c;
}

std::string wrong(outputs const& c, std::vector<exact> const& expected) {
  for (std::size_t i = 0; i < c.m; ++i) {
    std::string const found = first_difference(c.numbers.span().subspan(i * c.row, c.n), std::span(expected).subspan(i * c.n, c.n));
    if (!found.empty()) return "row " + std::to_string(i) + ": " + found;
  }
  return c.kept_its_gaps() ? "" : "something that isn't the product's was written";
}

void check_products(sizes const& s, std::vector<float> const& a_values, std::vector<float> const& b_values, std::vector<onto> const& ways) {
  std::size_t const shift = s.m % 4;
  random_numbers random(99);
  outputs start(s.m, s.n, (shift + 3) % 4);
  for (std::size_t i = 0; i < s.m; ++i)
    for (std::size_t j = 0; j < s.n; ++j) start.numbers[i * start.row + j] = random();
  for (layout const& of_a : layouts)
    for (layout const& of_b : layouts) {
      factor const a(s.m, s.k, of_a, a_values, shift), b(s.k, s.n, of_b, b_values, (shift + 1) % 4);
      for (onto const way : ways) {
        INFO(s.m << " x " << s.k << " times " << s.k << " x " << s.n << ", columns together: " << of_a.by_columns << of_b.by_columns
                 << ", bf16: " << of_a.bf16 << of_b.bf16 << ", onto: " << static_cast<int>(way));
        float const* const first = way == onto::nothing ? nullptr : start.numbers.data();
        std::vector<exact> const expected = plain_product(a, b, false, s, first, start.row);
        std::vector<exact> rounded;
        each_multiplier([&](multiplier const& by) {
          if (by.rounds && rounded.empty()) rounded = plain_product(a, b, true, s, first, start.row);
          outputs c(s.m, s.n, (shift + 2) % 4);
          if (way == onto::itself) c = start;
          float const* const from = way == onto::nothing ? nullptr : way == onto::itself ? c.numbers.data() : start.numbers.data();
          by.multiply({a.view(), b.view(), from, c.numbers.data(), c.row, s.m, s.n, s.k});
          CHECK(wrong(c, by.rounds ? rounded : expected) == "");
        });
      }
    }
}

void check_products(sizes const& s, std::vector<onto> const& ways) {
  random_numbers random(static_cast<unsigned>(s.m + s.n + s.k));
  std::vector<float> const a = random(s.m * s.k), b = random(s.k * s.n);
  check_products(s, a, b, ways);
}

std::vector<onto> const every_way{onto::nothing, onto::itself, onto::another};

// Rows m0 … and columns n0 … of a product, computed alone, have the bits they have in the whole.
bool cut_is_the_same(multiplier const& by, factor const& a, factor const& b, outputs const& whole, sizes const& s, std::size_t m0, std::size_t n0, sizes const& cut) {
  outputs part(cut.m, cut.n, (m0 + n0) % 4);
  by.multiply({a.from(m0, 0), b.from(0, n0), nullptr, part.numbers.data(), part.row, cut.m, cut.n, s.k});
  bool same = part.kept_its_gaps();
  for (std::size_t i = 0; i < cut.m; ++i)
    same = same && same_bits(part.numbers.span().subspan(i * part.row, cut.n), whole.numbers.span().subspan((m0 + i) * whole.row + n0, cut.n));
  return same;
}

}  // namespace

TEST_CASE("products of every small size and layout are those of fp64 rounded", "[kernels]") {
  for (std::size_t i = 1; i <= 67; ++i) check_products({mixed(i, 1), mixed(i, 29), mixed(i, 43)}, {every_way[i % 3], every_way[(i + 1) % 3]});
  for (std::size_t const one : {1U, 2U, 16U, 47U}) {
    check_products({one, 1, 1}, every_way);
    check_products({1, one, 5}, every_way);
    check_products({2, 3, one}, every_way);
  }
}

TEST_CASE("products that are deeper or longer than what stays near are summed up over their blocks", "[kernels]") {
  for (sizes const& s : {sizes{13, 53, 801}, sizes{7, 101, 2000}, sizes{3, 34, 2305}}) check_products(s, {every_way[s.k % 3]});
  check_products({600, 5, 768}, {onto::nothing});  // blocks of rows on every table
  check_products({530, 34, 800}, {onto::itself});
}

TEST_CASE("a number that is none or infinite in a factor reaches its own row or column alone", "[kernels]") {
  random_numbers random(1);
  // Tiles of every table end in the middle: what fills them up is zero, and zero times infinity is none of the outputs.
  for (sizes const& s : {sizes{13, 53, 24}, sizes{5, 7, 9}, sizes{25, 33, 17}, sizes{1, 1, 1}})
    for (float const bad : {not_a_number, infinity, -infinity}) {
      std::vector<float> a = random(s.m * s.k), b = random(s.k * s.n);
      a[s.m / 2 * s.k + s.k - 1] = bad;
      check_products(s, a, b, {onto::nothing});
      b[s.k / 3 * s.n + s.n - 1] = bad;
      check_products(s, a, b, {onto::another});
      a[s.m / 2 * s.k + s.k - 1] = 0.5F;
      check_products(s, a, b, {onto::nothing});
      a[s.k / 3] = 0;
      check_products(s, a, b, {onto::itself});
    }
}

TEST_CASE("an output's bits do not depend on the rows and columns computed with it", "[kernels]") {
  random_numbers random(2);
  each_multiplier([&](multiplier const& by) {
    // Products of the last are so small that sums vanish: a zero has the same sign wherever it stands.
    for (auto const& [s, scale] : {std::pair{sizes{61, 131, 901}, 1.0F}, std::pair{sizes{30, 70, 40}, 1.0F}, std::pair{sizes{30, 70, 1}, 1e-25F}})
      for (layout const& of_a : layouts)
        for (layout const& of_b : layouts) {
          INFO("depth " << s.k << ", columns together: " << of_a.by_columns << of_b.by_columns << ", bf16: " << of_a.bf16 << of_b.bf16);
          factor const a(s.m, s.k, of_a, random(s.m * s.k, scale), 1), b(s.k, s.n, of_b, random(s.k * s.n, scale), 2);
          outputs whole(s.m, s.n, 0);
          by.multiply({a.view(), b.view(), nullptr, whole.numbers.data(), whole.row, s.m, s.n, s.k});
          for (auto const& [m0, n0, cut] :
               {std::tuple{std::size_t{0}, std::size_t{0}, sizes{1, 1, 0}}, std::tuple{std::size_t{7}, std::size_t{16}, sizes{1, s.n - 16, 0}},
                std::tuple{std::size_t{11}, std::size_t{5}, sizes{13, 33, 0}}, std::tuple{s.m - 2, s.n - 3, sizes{2, 3, 0}},
                std::tuple{std::size_t{0}, std::size_t{1}, sizes{s.m, 48, 0}}}) {
            INFO(cut.m << " rows from " << m0 << ", " << cut.n << " columns from " << n0);
            CHECK(cut_is_the_same(by, a, b, whole, s, m0, n0, cut));
          }
        }
  });
}

TEST_CASE("pieces of the tiles' sizes make up a product", "[kernels]") {
  each_table([](kernel_table const& table) {
    CHECK(table.product.tile_rows > 0);
    CHECK(table.product.tile_columns > 0);
    random_numbers random(3);
    std::size_t const rows = table.product.tile_rows, columns = table.product.tile_columns;
    sizes const s{2 * rows + 1, 2 * columns + 1, 70};
    factor const a(s.m, s.k, {false, false}, random(s.m * s.k), 1), b(s.k, s.n, {true, true}, random(s.k * s.n), 2);
    outputs whole(s.m, s.n, 0);
    table.product.multiply({a.view(), b.view(), nullptr, whole.numbers.data(), whole.row, s.m, s.n, s.k});
    for (std::size_t i = 0; i < s.m; i += rows)
      for (std::size_t j = 0; j < s.n; j += columns)
        CHECK(cut_is_the_same({table.product.multiply, false}, a, b, whole, s, i, j, {std::min(rows, s.m - i), std::min(columns, s.n - j), 0}));
  });
}
