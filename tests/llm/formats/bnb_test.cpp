// SPDX-License-Identifier: Apache-2.0
// Against bitsandbytes: tests/golden/make_quantised.py wrote what it makes of two matrices.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include <kedge/llm/formats/safetensors.hpp>

#include "../adapters/llm/src/formats/bnb.hpp"
#include "../adapters/llm/src/kernels/kernels.hpp"
#include "../adapters/llm/src/kernels/stored_rows.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

class golden_file {
 public:
  golden_file() : file_(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "quantised" / "bnb.safetensors") {}

  [[nodiscard]] safetensors_entry const& entry(std::string const& name) const {
    for (safetensors_entry const& t : file_.tensors())
      if (t.name == name) return t;
    FAIL("no tensor " << name);
    return file_.tensors().front();
  }
  [[nodiscard]] std::vector<float> floats(std::string const& name) const {
    safetensors_entry const& t = entry(name);
    std::vector<float> all(t.bytes.size() / 4);
    std::memcpy(all.data(), t.bytes.data(), t.bytes.size());
    return all;
  }
  [[nodiscard]] std::vector<std::uint8_t> bytes(std::string const& name) const {
    safetensors_entry const& t = entry(name);
    auto const* const at = reinterpret_cast<std::uint8_t const*>(t.bytes.data());
    return {at, at + t.bytes.size()};
  }

 private:
  safetensors_file file_;
};

double largest_difference(std::span<float const> a, std::span<float const> b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) / (std::abs(static_cast<double>(b[i])) + 1e-6));
  return most;
}

// All numbers of a matrix again, by the kernels in use.
std::vector<float> numbers_of(quantised_rows const& rows, std::size_t out) {
  std::vector<float> all(out * rows.in);
  for (std::size_t r = 0; r < out; ++r) kernels().quantised.dequantise(rows, r, 0, rows.in, &all[r * rows.in]);
  return all;
}

}  // namespace

TEST_CASE("codes, scales and numbers in 4 bits are those of bitsandbytes", "[golden][quantised]") {
  golden_file const golden;
  for (std::string const name : {"ragged", "large"})
    for (four_bit_type const type : {four_bit_type::nf4, four_bit_type::fp4})
      for (bool const twice : {false, true}) {
        std::string const key = name + "." + std::string(name_of(type)) + (twice ? "_double" : "");
        INFO(key);
        std::vector<float> const x = golden.floats(name);
        auto const in = static_cast<std::size_t>(golden.entry(name).shape[1]);
        bnb::four_bits const made = bnb::quantise_4bit(x, type, twice);
        CHECK(made.codes == golden.bytes(key + ".codes"));
        if (twice) {
          CHECK(made.scale_codes == golden.bytes(key + ".scales"));
          CHECK(largest_difference(made.scale_scales, golden.floats(key + ".scale_scales")) < 1e-6);
          CHECK(std::abs(made.offset - golden.floats(key + ".offset").front()) < 1e-7F * made.offset);
        } else {
          CHECK(made.scales == golden.floats(key + ".scales"));
        }
        CHECK(largest_difference(numbers_of(rows_of(made, type, in), x.size() / in), golden.floats(key + ".numbers")) < (twice ? 5e-6 : 1e-12));
      }
}

TEST_CASE("rows in 8 bits are those of bitsandbytes", "[golden][quantised]") {
  golden_file const golden;
  for (std::string const name : {"ragged", "large"}) {
    INFO(name);
    std::vector<float> const x = golden.floats(name);
    auto const in = static_cast<std::size_t>(golden.entry(name).shape[1]);
    bnb::eight_bits const made = bnb::quantise_8bit(x, in);
    CHECK(made.codes == golden.bytes(name + ".int8.codes"));
    CHECK(largest_difference(numbers_of(rows_of(made, in), x.size() / in), golden.floats(name + ".int8.numbers")) < 3e-7);
  }
}

TEST_CASE("the map of scales in 8 bits is that of bitsandbytes", "[golden][quantised]") {
  CHECK(largest_difference(bnb::dynamic_map(), golden_file().floats("dynamic_map")) < 2e-7);
}

TEST_CASE("what is zero stays zero in 4 and 8 bits", "[quantised]") {
  std::vector<float> const zeros(130, 0.0F);
  for (bool const twice : {false, true})
    for (float const x : numbers_of(rows_of(bnb::quantise_4bit(zeros, four_bit_type::nf4, twice), four_bit_type::nf4, 65), 2)) CHECK(x == 0);
  for (float const x : numbers_of(rows_of(bnb::quantise_8bit(zeros, 65), 65), 2)) CHECK(x == 0);
}
