// SPDX-License-Identifier: Apache-2.0
// Rows that stay quantised: decoded as their formats are, and multiplied as their numbers would be.
#include <algorithm>
#include <cstring>
#include <functional>

#include <kedge/llm/formats/gguf.hpp>

#include "../adapters/llm/src/kernels/stored_rows.hpp"
#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;
using llm::quantised_rows;

namespace {

// A matrix in some format, and its numbers.
struct stored {
  std::string name;
  std::vector<std::byte> blocks;
  std::shared_ptr<void const> made;
  quantised_rows rows;
  std::vector<float> numbers;
  std::size_t out, in;

  [[nodiscard]] float at(std::size_t row, std::size_t k) const { return numbers[row * in + k]; }
};

// Finite numbers of binary16 at even places of any block: no exponent of five ones.
void tame(std::vector<std::byte>& blocks) {
  for (std::size_t i = 1; i < blocks.size(); i += 2) blocks[i] &= std::byte{0xbb};
  for (std::size_t i = 0; i < blocks.size(); i += 2) blocks[i] &= std::byte{0xbb};
}

stored of_gguf(std::uint32_t type, std::size_t out, std::size_t least_in, unsigned seed) {
  llm::gguf_block const block = llm::gguf_block_of(type).value();
  std::size_t const in = (least_in + block.elements - 1) / block.elements * block.elements;
  stored m{llm::gguf_type_name(type), std::vector<std::byte>(out * in / block.elements * block.bytes), {}, {}, std::vector<float>(out * in), out, in};
  std::mt19937 engine(seed);
  for (std::byte& b : m.blocks) b = static_cast<std::byte>(engine() & 0xffU);
  tame(m.blocks);
  llm::dequantise(type, m.blocks, m.numbers);
  m.rows = llm::rows_of_blocks(type, m.blocks, in);
  return m;
}

stored of_bnb(bool eight, llm::four_bit_type type, bool twice, std::size_t out, std::size_t in, unsigned seed) {
  random_numbers random(seed);
  std::vector<float> const x = random(out * in);
  stored m{eight ? "int8" : std::string(llm::name_of(type)) + (twice ? " twice" : ""), {}, {}, {}, std::vector<float>(out * in), out, in};
  if (eight) {
    auto made = std::make_shared<llm::bnb::eight_bits const>(llm::bnb::quantise_8bit(x, in));
    for (std::size_t i = 0; i < x.size(); ++i) m.numbers[i] = static_cast<float>(static_cast<std::int8_t>(made->codes[i])) * made->scales[i / in];
    m.rows = llm::rows_of(*made, in);
    m.made = std::move(made);
    return m;
  }
  auto made = std::make_shared<llm::bnb::four_bits const>(llm::bnb::quantise_4bit(x, type, twice));
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::size_t const block = i / llm::bnb::block;
    unsigned const code = i % 2 == 0 ? made->codes[i / 2] >> 4U : made->codes[i / 2] & 15U;
    float const scale = twice ? llm::bnb::dynamic_map()[made->scale_codes[block]] * made->scale_scales[block / llm::bnb::scale_block] + made->offset
                              : made->scales[block];
    m.numbers[i] = llm::bnb::table_of(type)[code] * scale;
  }
  m.rows = llm::rows_of(*made, type, in);
  m.made = std::move(made);
  return m;
}

// f(matrix) for a matrix of every format, with at least so many numbers a row.
template <class F>
void each_format(std::size_t out, std::size_t in, F const& f) {
  for (std::uint32_t type = 0; type < 64; ++type)
    if (auto const block = llm::gguf_block_of(type); block && block->elements > 1) f(of_gguf(type, out, in, type + static_cast<unsigned>(out)));
  for (llm::four_bit_type const type : {llm::four_bit_type::nf4, llm::four_bit_type::fp4})
    for (bool const twice : {false, true}) f(of_bnb(false, type, twice, out, in, static_cast<unsigned>(out)));
  f(of_bnb(true, {}, false, out, in, static_cast<unsigned>(out)));
}

// Scales in 8 bits may be an ulp off, where a product and a sum are one instruction.
bool as_decoded(stored const& m, std::span<float const> found, std::span<float const> wanted) {
  if (m.name.ends_with("twice"))
    return std::equal(found.begin(), found.end(), wanted.begin(), [](float a, float b) { return std::abs(a - b) <= 4e-7F * std::abs(b); });
  return same_bits(found, wanted);
}

struct sizes {
  std::size_t m, n, k;
};

// The product of rows with part of a matrix, from row `out` and number `in` on, and what it should be: with the numbers in fp32, to the bit where
// decoding is, and within 1e-6 of the terms' sum in fp64.
void check_product(kernel_table const& table, bool tiles, stored const& w, bool transposed, sizes const& s, std::size_t out, std::size_t in, bool onto, unsigned seed) {
  random_numbers random(seed);
  std::vector<float> const a = random(s.m * s.k), from = random(s.m * s.n);
  std::vector<float> found(from), plain(from), b(s.k * s.n);
  for (std::size_t k = 0; k < s.k; ++k)
    for (std::size_t n = 0; n < s.n; ++n) b[k * s.n + n] = transposed ? w.at(out + n, in + k) : w.at(out + k, in + n);
  llm::matrix_view const of_a{a.data(), s.k, 1, false};
  auto const by = tiles ? table.quantised_product.multiply_by_tiles : table.quantised_product.multiply;
  by({.a = of_a, .w = &w.rows, .first_out = out, .first_in = in, .transposed = transposed, .onto = onto ? found.data() : nullptr, .c = found.data(),
      .c_row = s.n, .m = s.m, .n = s.n, .k = s.k});
  auto const dense = tiles ? table.tile_product : table.product.multiply;
  dense({of_a, {b.data(), s.n, 1, false}, onto ? plain.data() : nullptr, plain.data(), s.n, s.m, s.n, s.k});
  if (!w.name.ends_with("twice")) CHECK(same_bits(found, plain));
  if (tiles) return;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < s.m; ++i)
    for (std::size_t j = 0; j < s.n; ++j) {
      double sum = onto ? static_cast<double>(from[i * s.n + j]) : 0, size = std::abs(sum);
      for (std::size_t k = 0; k < s.k; ++k) {
        double const term = static_cast<double>(a[i * s.k + k]) * static_cast<double>(b[k * s.n + j]);
        sum += term;
        size += std::abs(term);
      }
      wrong += std::abs(static_cast<double>(found[i * s.n + j]) - sum) > 1e-6 * size;
    }
  CHECK(wrong == 0);
}

void check_products(stored const& w, bool transposed, sizes const& s, std::size_t out, std::size_t in) {
  INFO(w.name << ", " << s.m << " x " << s.k << " x " << s.n << (transposed ? " by rows" : " by columns"));
  each_table([&](kernel_table const& table) {
    check_product(table, false, w, transposed, s, out, in, s.m % 2 == 0, static_cast<unsigned>(s.m));
    if (table.tile_product) check_product(table, true, w, transposed, s, out, in, s.m % 2 == 0, static_cast<unsigned>(s.m));
  });
}

}  // namespace

TEST_CASE("every format's rows are decoded by vectors as its blocks are", "[kernels][quantised]") {
  each_format(3, 320, [&](stored const& m) {
    INFO(m.name);
    each_table([&](kernel_table const& table) {
      for (std::size_t count = 1; count <= 67; ++count)
        for (std::size_t const first : {std::size_t{0}, mixed(count, 5), m.in - count}) {
          floats out(count, count % 4);
          table.quantised.dequantise(m.rows, count % 3, first, count, out.data());
          CHECK(as_decoded(m, out.span(), std::span(m.numbers).subspan(count % 3 * m.in + first, count)));
          CHECK(out.kept_its_ends());
        }
      std::vector<float> row(m.in);
      table.quantised.dequantise(m.rows, 2, 0, m.in, row.data());
      CHECK(as_decoded(m, row, std::span(m.numbers).subspan(2 * m.in)));
    });
  });
}

TEST_CASE("rows in rotary pairs are found where the file has them", "[kernels][quantised]") {
  stored m = of_gguf(8, 16, 32, 4);
  m.rows.head_rows = 8;
  each_table([&](kernel_table const& table) {
    std::vector<float> row(32);
    for (std::size_t r = 0; r < 16; ++r) {
      table.quantised.dequantise(m.rows, r, 0, 32, row.data());
      std::size_t const head = r / 8, half = r % 8 / 4, pair = r % 4;
      CHECK(same_bits(row, std::span(m.numbers).subspan((8 * head + 2 * pair + half) * 32, 32)));
    }
    quantised_rows some = m.rows;
    some.first_row = 9;
    table.quantised.dequantise(some, 2, 0, 32, row.data());
    CHECK(same_bits(row, std::span(m.numbers).subspan((8 + 2 * 3) * 32, 32)));
  });
}

TEST_CASE("products with quantised rows are those with their numbers, forward and backward, at every small size", "[kernels][quantised]") {
  each_format(68, 70, [&](stored const& w) {
    for (std::size_t i = 1; i <= 67; i += w.name == "Q4_K" || w.name == "Q8_0" || w.name == "nf4" ? 1 : 11) {
      std::size_t const m = mixed(i, 29), n = mixed(i, 43), k = mixed(i, 1);
      check_products(w, true, {m, n, k}, 68 - n, w.in - k);
      check_products(w, false, {m, n, k}, 68 - k, w.in - n);
    }
  });
}

TEST_CASE("products with quantised rows deeper and wider than what stays near have the sums of their blocks", "[kernels][quantised]") {
  stored const w = of_gguf(12, 900, 2304, 3), of_table = of_bnb(false, {}, false, 1100, 901, 5);
  check_products(w, true, {13, 601, 2304}, 5, 0);
  check_products(w, false, {7, 1500, 899}, 1, 300);
  check_products(of_table, true, {5, 1099, 901}, 1, 0);
  check_products(of_table, false, {4, 777, 1100}, 0, 101);
}
