// SPDX-License-Identifier: Apache-2.0

#include "../adapters/llm/src/train/dealt_samples.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "llm/scale/groups.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::in_a_group;

TEST_CASE("every sample is dealt to one process and keeps its number", "[scale]") {
  struct {
    std::size_t prompts, samples;
  } const cases[] = {{7, 1}, {7, 3}, {1, 8}, {2, 6}, {1, 1}, {3, 5}};
  for (auto const& [count, samples] : cases) {
    std::vector<std::vector<std::int32_t>> prompts(count);
    for (std::size_t i = 0; i < count; ++i) prompts[i].resize(i + 1, static_cast<std::int32_t>(i));
    std::mutex mutex;
    std::vector<std::size_t> places, loads;
    in_a_group(4, [&](process_group const& group) {
      dealt_samples const mine = deal(group, prompts, samples, 10, 2);
      std::lock_guard const lock(mutex);
      loads.push_back(mine.prompts.size() * mine.samples);
      for (std::size_t i = 0; i < mine.prompts.size(); ++i) {
        CHECK(mine.prompts[i] == prompts[mine.numbers[i].prompt - 2]);
        for (std::size_t k = 0; k < mine.samples; ++k) places.push_back(mine.place({.prompt = i, .sample = k, .tokens = {}, .logp = {}, .finished = false}));
      }
    });
    std::sort(places.begin(), places.end());
    std::vector<std::size_t> all(count * samples);
    std::iota(all.begin(), all.end(), 2 * samples);
    CHECK(places == all);
    std::size_t const busy = static_cast<std::size_t>(std::count_if(loads.begin(), loads.end(), [](std::size_t load) { return load > 0; }));
    CHECK(busy >= std::min<std::size_t>(4, count * samples) - (samples == 1 ? 0 : 1));
  }
}

TEST_CASE("what processes gather keeps infinities and bytes that are no text", "[scale]") {
  in_a_group(3, [](process_group const& group) {
    std::vector<nlohmann::json> const all = gather(group, {group.rank(), -std::numeric_limits<double>::infinity(), 1.0 / 3, "\xff\xfe"});
    CHECK(all.size() == 3);
    for (std::size_t r = 0; r < all.size(); ++r) {
      CHECK(all[r][0] == r);
      CHECK(std::isinf(all[r][1].get<double>()));
      CHECK(all[r][2].get<double>() == 1.0 / 3);
      CHECK(all[r][3].get<std::string>() == "\xff\xfe");
    }
  });
}

TEST_CASE("a wish to stop of one process is known to all within a moment", "[scale]") {
  in_a_group(3, [](process_group const& group) {
    CHECK_FALSE(group.asked_to_stop());
    static_cast<void>(group.any(false));  // all have looked
    if (group.rank() == 1) group.ask_to_stop();
    while (!group.asked_to_stop()) {}
    CHECK_FALSE(process_group().asked_to_stop());
  });
}
