// SPDX-License-Identifier: Apache-2.0
#include "llm/kernels/support.hpp"

using namespace kedge::testing;
using kedge::llm::kernel_table;

TEST_CASE("numbers become bf16 as rounding to nearest has it and come back as they were", "[kernels]") {
  random_numbers random(5);
  each_table([&](kernel_table const& table) {
    for (std::size_t n = 1; n <= 67; ++n) {
      floats x(random(n, 10), n % 4);
      x[n / 2] = n % 3 == 0 ? not_a_number : n % 3 == 1 ? infinity : 1e-40F;
      guarded<std::uint16_t> bits(n, (n + 1) % 4);
      floats back(n, (n + 2) % 4);
      table.convert.narrow(x.data(), n, bits.data());
      table.convert.widen(bits.data(), n, back.data());
      std::vector<float> expected;
      for (float const v : x.span()) expected.push_back(rounded_to_bf16(static_cast<double>(v)));
      CHECK(same_bits(back.span(), expected));
      CHECK(bits.kept_its_ends());
      CHECK(back.kept_its_ends());
    }
  });
}
