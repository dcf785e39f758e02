// SPDX-License-Identifier: Apache-2.0

// What processes send each other, and how much of it.

#include <vector>

#include "llm/scale/groups.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

TEST_CASE("a process gets the sum of its own part, and everybody's part is sent to all", "[scale]") {
  for (int const size : {1, 2, 3, 4}) {
    std::vector<std::vector<at::Tensor>> seen(static_cast<std::size_t>(size));
    std::vector<group_traffic> sent(seen.size());
    in_a_group(size, [&](process_group const& group) {
      at::Tensor const places = at::arange(12 * size, at::kDouble);
      at::Tensor const numbers = places.add(100 * (group.rank() + 1));
      group.begin_sum_of_own_part(numbers)();
      at::Tensor const sum = group.own_part(numbers).clone();
      at::Tensor const all = at::full({12 * size}, -1, at::kBFloat16);
      group.own_part(all).fill_(group.rank() + 0.5);
      group.begin_exchange_of_parts(all)();
      seen[static_cast<std::size_t>(group.rank())] = {sum, all};
      sent[static_cast<std::size_t>(group.rank())] = group.traffic();
    });
    for (int rank = 0; rank < size; ++rank) {
      INFO("process " << rank << " of " << size);
      auto const place = static_cast<std::size_t>(rank);
      double const hundreds = 100.0 * size * (size + 1) / 2;
      CHECK(at::equal(seen[place][0], at::arange(12 * rank, 12 * (rank + 1), at::kDouble).mul(size).add(hundreds)));
      for (int other = 0; other < size; ++other)
        CHECK(at::equal(seen[place][1].narrow(0, 12 * other, 12), at::full({12}, other + 0.5, at::kBFloat16)));
      CHECK(sent[place].summed == (size == 1 ? 0 : 12 * size * 8));
      CHECK(sent[place].gathered == (size == 1 ? 0 : 12 * size * 2));
      CHECK(sent[place].broadcast == 0);
    }
  }
}
