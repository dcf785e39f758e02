// SPDX-License-Identifier: Apache-2.0

// Learning rates against transformers: tests/golden/lr/schedules.json, which make_lr.py wrote.

#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/lr_schedule.hpp>

#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

TEST_CASE("every schedule gives transformers' rate at every step whatever the warm-up", "[lr]") {
  auto const golden = nlohmann::json::parse(std::ifstream(KEDGE_TESTS_DIR "/golden/lr/schedules.json"));
  REQUIRE(golden.at("cases").size() == 52);
  for (auto const& given : golden.at("cases")) {
    INFO(given.at("type") << ", warm-up " << given.at("warmup_steps") << ", " << given.at("kwargs"));
    lr_scheduler const type = from_name<lr_scheduler>(given.at("type").get<std::string>()).value();
    lr_schedule const schedule{type, golden.at("peak"), given.at("warmup_steps"), golden.at("steps"), read_lr_scheduler_kwargs(given.at("kwargs").dump())};
    for (std::size_t k = 0; k < schedule.total_steps; ++k)
      CHECK_THAT(schedule.at(k), WithinAbs(given.at("rates").at(k).get<double>(), 1e-17));
  }
}

TEST_CASE("a warm-up below one is a share of the steps and above it their number", "[lr]") {
  lr_schedule s{.total_steps = 23};
  for (auto const& [given, steps] : {std::pair{0.0, 0}, {0.04, 1}, {0.5, 12}, {0.999, 23}, {1.0, 1}, {4.0, 4}}) {
    s.warmup_steps = given;
    CHECK(s.warmup() == static_cast<std::size_t>(steps));
  }
}

TEST_CASE("what a schedule does not read or cannot use is refused by its name", "[lr]") {
  auto const read = [](char const* text, lr_scheduler by) {
    lr_scheduler_kwargs const kwargs = read_lr_scheduler_kwargs(text);
    require_read(kwargs, by);
    return kwargs;
  };
  CHECK_THROWS_WITH(read("{\"power\": 2}", lr_scheduler::cosine), contains("power means nothing to cosine; it reads num_cycles"));
  CHECK_THROWS_WITH(read("{\"num_cycles\": 2}", lr_scheduler::constant), contains("it reads none"));
  CHECK_THROWS_WITH(read("{\"lr_end\": -1}", lr_scheduler::polynomial), contains("lr_end must be a number of at least 0"));
  CHECK_THROWS_WITH(read("{\"timescale\": \"long\"}", lr_scheduler::inverse_sqrt), contains("timescale must be a number of at least 1"));
  CHECK_THROWS_WITH(read("3", lr_scheduler::cosine), contains("not a JSON object"));
  CHECK_THROWS_WITH((lr_schedule{.type = lr_scheduler::cosine_with_min_lr}.at(0)), contains("one of min_lr and min_lr_rate"));
  CHECK_THROWS_WITH((lr_schedule{.type = lr_scheduler::polynomial, .peak = 1e-8}.at(0)), contains("above --learning_rate 1e-08"));
  CHECK(as_json(read("{\"num_cycles\": 3}", lr_scheduler::cosine_with_restarts)).dump() == "{\"num_cycles\":3.0}");
}
