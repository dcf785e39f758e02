// SPDX-License-Identifier: Apache-2.0

// What a run takes of a host's memory, said before it begins, and refused with settings that fit.

#include "../adapters/llm/src/train/host_memory.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>

#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::contains;

namespace {

// Qwen2.5-1.5B.
transformer_config large() {
  transformer_config c;
  c.vocabulary = 151936;
  c.hidden = 1536;
  c.intermediate = 8960;
  c.layers = 28;
  c.heads = 12;
  c.kv_heads = 2;
  c.head_dim = 128;
  c.tied_embeddings = true;
  return c;
}

plan_settings plan_of(run_settings const& run) {
  return {.optimizer = run.optim.bytes(), .word = run.compute.dtype == compute_type::float32 ? 4 : 2};
}

compute_settings computing(run_settings const& run) {
  compute_settings compute;
  if (run.compute.gradient_checkpointing == when::on) compute.activation_bytes = 0;
  return compute;
}

std::string said(run_settings const& run, std::int64_t longest, std::int64_t free) {
  try {
    return plan_on_host(computing(run), large(), plan_of(run), run, longest, free);
  } catch (error const& e) {
    return e.what();
  }
}

constexpr std::int64_t gigabyte = 1'000'000'000;

}  // namespace

TEST_CASE("a run that fits says what it takes and one that doesn't is refused with settings that do", "[memory]") {
  run_settings run;
  CHECK(said(run, 0, 40 * gigabyte).rfind("memory: ", 0) == 0);
  std::string const refused = said(run, 0, 17 * gigabyte);
  CHECK_THAT(refused, contains("the run takes "));
  CHECK_THAT(refused, contains("17 GB are free; what fits: "));
  for (std::string const way :
       {"--optim paged_adamw_32bit", "--optim paged_adamw_8bit", "--dtype float32 --optim adamw_8bit", "--use_peft"})
    CHECK_THAT(refused, contains(way + " ("));
  CHECK(refused.find("--gradient_checkpointing on (") == std::string::npos);  // that alone would not do
  CHECK(refused.find('\n') == std::string::npos);
}

TEST_CASE("every optimizer that a refusal names fits and takes what it says", "[memory]") {
  for (std::int64_t free = 13 * gigabyte; free < 30 * gigabyte; free += gigabyte) {
    std::string const refused = said({}, 0, free);
    INFO(refused);
    for (compute_type const dtype : {compute_type::automatic, compute_type::float32})
      for (std::string const name : {"adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"}) {
        run_settings other;
        other.optim = name;
        other.compute.dtype = dtype;
        other.compute.gradient_checkpointing = when::on;
        std::string const way =
            (dtype == compute_type::float32 ? " --dtype float32" : std::string(": ")) + " --optim " + name + " (";
        bool const fits = said(other, 0, free).rfind("memory: ", 0) == 0;
        if (refused.rfind("memory: ", 0) != 0 && dtype == compute_type::float32)
          CHECK((refused.find(way.substr(1)) != std::string::npos) == fits);
      }
  }
}

TEST_CASE("long examples are refused with a length that fits, and shared ones fit", "[memory]") {
  run_settings run;
  run.optim = "adamw_8bit";
  run.compute.gradient_checkpointing = when::on;
  CHECK_THAT(said(run, 65536, 24 * gigabyte), contains("what fits: --max_length "));
  run.context_parallel_size = 16;
  CHECK(said(run, 65536, 24 * gigabyte).rfind("memory: ", 0) == 0);
}

TEST_CASE("where nothing fits the least is named", "[memory]") {
  CHECK_THAT(said({}, 0, gigabyte), contains("no setting fits, the least is --use_peft"));
}

TEST_CASE("moments on a disk are told", "[memory]") {
  run_settings run;
  run.optim = "paged_adamw_32bit";
  CHECK_THAT(said(run, 0, 20 * gigabyte), contains("12.35 GB of moments on disk"));
}

TEST_CASE("a small run says nothing", "[memory]") {
  transformer_config small;
  small.vocabulary = 50;
  small.hidden = 16;
  small.intermediate = 32;
  small.layers = small.heads = small.kv_heads = 2;
  small.head_dim = 8;
  CHECK(plan_on_host({}, small, {}, {}, 0, gigabyte).empty());
}
