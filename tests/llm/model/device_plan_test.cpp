// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/device_plan.hpp>

#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

struct shape {
  int layers, hidden, intermediate, heads, kv_heads, vocabulary;
};

constexpr shape small{30, 576, 1536, 9, 3, 49152}, one_billion{16, 2048, 8192, 32, 8, 128256},
    seven_billion{32, 4096, 11008, 32, 32, 32000}, eleven_billion{48, 4096, 14336, 32, 8, 32000};

transformer_config config_of(shape const& s) {
  return read_config({{"model_type", "llama"},
                      {"hidden_size", s.hidden},
                      {"intermediate_size", s.intermediate},
                      {"num_hidden_layers", s.layers},
                      {"num_attention_heads", s.heads},
                      {"num_key_value_heads", s.kv_heads},
                      {"vocab_size", s.vocabulary},
                      {"max_position_embeddings", 4096},
                      {"tie_word_embeddings", s.hidden < 4096},
                      {"rms_norm_eps", 1e-5}},
                     "test");
}

constexpr std::int64_t in_8_bits(std::int64_t parameters, std::int64_t) { return 2 * parameters + parameters / 32; }

plan_settings with_lora() { return {.lora = lora_settings{.rank = 16, .target_modules = {"all-linear"}}}; }

std::int64_t in_use(gpu_plan const& plan, std::int64_t tokens) {
  return plan.states + plan.head + plan.kept_logits + tokens * (plan.kept + plan.working);
}

std::int64_t next_number(std::int64_t tokens) {
  std::int64_t step = 128;
  while (16 * step <= tokens) step *= 2;
  return tokens + step;
}

}  // namespace

TEST_CASE("a plan for a GPU fills nine tenths of what is free, and not more", "[plan]") {
  for (shape const& s : {small, one_billion, seven_billion, eleven_billion})
    for (double const gigabytes : {24.0, 80.0, 141.0})
      for (plan_settings const& run :
           {plan_settings(), with_lora(), plan_settings{.optimizer = in_8_bits}, plan_settings{.word = 4}}) {
        transformer_config const config = config_of(s);
        std::int64_t const free = free_bytes(gigabytes);
        gpu_plan const plan = plan_gpu(config, run, free);
        CAPTURE(s.hidden, gigabytes, plan.states, plan.tokens);
        CHECK(plan.states == plan_memory(config, run).states());
        CHECK(plan.tokens >= 512);
        CHECK(plan.tokens % 128 == 0);
        if (!plan.fits) continue;
        CHECK(in_use(plan, plan.tokens) <= free / 10 * 9);
        CHECK(in_use(plan, next_number(plan.tokens)) > free / 10 * 9);
        CHECK(plan.head_rows >= 128);
        CHECK(plan.head_rows <= 4096);
        CHECK(plan.head <= free);
      }
}

TEST_CASE("what fits on which GPU", "[plan]") {
  auto const fits = [](shape const& s, plan_settings const& run, double gigabytes) {
    return plan_gpu(config_of(s), run, free_bytes(gigabytes)).fits;
  };
  CHECK(fits(small, {}, 24));
  CHECK_FALSE(fits(one_billion, {}, 24));
  CHECK(fits(one_billion, {}, 80));
  CHECK(fits(seven_billion, with_lora(), 24));
  CHECK_FALSE(fits(seven_billion, {}, 80));
  CHECK(fits(seven_billion, {}, 141));
  CHECK_FALSE(fits(eleven_billion, {}, 141));
  CHECK(fits(eleven_billion, {.optimizer = in_8_bits}, 141));
}

TEST_CASE("more memory is more tokens at once, and a little less of it is as many", "[plan]") {
  transformer_config const config = config_of(one_billion);
  std::int64_t last = 0;
  for (double gigabytes = 30; gigabytes < 150; gigabytes += 10) {
    std::int64_t const tokens = plan_gpu(config, {}, free_bytes(gigabytes)).tokens;
    CHECK(tokens >= last);
    last = tokens;
  }
  std::vector<std::int64_t> numbers;
  for (int megabytes = 0; megabytes < 1000; megabytes += 10)
    numbers.push_back(plan_gpu(config, {}, free_bytes(80) - megabytes * 1'000'000).tokens);
  CHECK(std::is_sorted(numbers.rbegin(), numbers.rend()));
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  CHECK(numbers.size() <= 2);
}

TEST_CASE("a step of eight long pairs is computed as one where there is room for it", "[plan]") {
  constexpr std::int64_t step = 8 * 1024;
  CHECK(plan_gpu(config_of(small), {}, free_bytes(24), {.graphs = true}).tokens >= step);
  CHECK(plan_gpu(config_of(one_billion), {}, free_bytes(80)).tokens >= step);
  CHECK(plan_gpu(config_of(seven_billion), with_lora(), free_bytes(80)).tokens >= step);
}

TEST_CASE("the head takes 2048 to 4096 rows at a time on GPUs of 80 GB, and less where its vocabulary fills the memory",
          "[plan]") {
  for (shape const& s : {small, one_billion})
    for (plan_settings const& run : {plan_settings(), with_lora()}) {
      std::int64_t const rows = plan_gpu(config_of(s), run, free_bytes(80)).head_rows;
      CHECK(rows >= 2048);
      CHECK(rows <= 4096);
    }
  CHECK(plan_gpu(config_of(one_billion), {}, free_bytes(30)).head_rows < 2048);
  CHECK(head_rows_on_processor(config_of(one_billion)) == 130);
}

TEST_CASE("recorded passes have half of what states leave, for models below half a billion parameters", "[plan]") {
  CHECK(graphs_pay(config_of(small)));
  CHECK_FALSE(graphs_pay(config_of(one_billion)));
  gpu_plan const whole = plan_gpu(config_of(small), {}, free_bytes(24)),
                 half = plan_gpu(config_of(small), {}, free_bytes(24), {.graphs = true});
  CHECK(half.states == whole.states);
  CHECK(in_use(half, half.tokens) - half.states <= (free_bytes(24) / 10 * 9 - half.states) / 2);
  CHECK(half.tokens < whole.tokens);
}

TEST_CASE("layers are computed again where less than 1024 tokens would fit without, or as it is asked", "[plan]") {
  transformer_config const config = config_of(eleven_billion);
  plan_settings const run{.optimizer = in_8_bits};
  gpu_plan const open = plan_gpu(config, run, free_bytes(141)),
                 never = plan_gpu(config, run, free_bytes(141), {.layers_again = false});
  CHECK(open.layers_again);
  CHECK(open.kept == 48 * 4 * 4096);
  CHECK(open.tokens > never.tokens);
  CHECK_FALSE(never.layers_again);
  CHECK(never.tokens < 1024);
  gpu_plan const kept = plan_gpu(config_of(one_billion), {}, free_bytes(80)),
                 again = plan_gpu(config_of(one_billion), {}, free_bytes(80), {.layers_again = true});
  CHECK_FALSE(kept.layers_again);
  CHECK(kept.activations >= kept.tokens * kept.kept);
  CHECK(again.activations == 0);
  CHECK(again.tokens > 2 * kept.tokens);
}

TEST_CASE("the optimizer's temporaries are counted where its step is made of tensor operations", "[plan]") {
  transformer_config const config = config_of(seven_billion);
  CHECK(plan_gpu(config, {.optimizer = in_8_bits}, free_bytes(141)).temporaries == 0);
  std::int64_t const largest = std::int64_t{32000} * 4096;
  CHECK(plan_gpu(config, {.optimizer = in_8_bits}, free_bytes(141), {.fused_optimizer = false}).temporaries == 40 * largest);
  CHECK(plan_gpu(config, {}, free_bytes(141), {.fused_optimizer = false}).temporaries == 4 * largest);
}

TEST_CASE("scoring holds the weights alone, and computes more tokens at once than training", "[plan]") {
  transformer_config const config = config_of(seven_billion);
  gpu_plan const plan = plan_gpu_scoring(config, 2, free_bytes(24));
  CHECK(plan.fits);
  CHECK(plan.states == 2 * parameter_count(config));
  CHECK(plan.kept_logits == 0);
  CHECK(plan.tokens > plan_gpu(config, with_lora(), free_bytes(24)).tokens);
  CHECK_FALSE(plan_gpu_scoring(config, 4, free_bytes(24)).fits);
}

TEST_CASE("the description names tokens at once for each GPU, full and with LoRA", "[plan]") {
  transformer_config const config = config_of(one_billion);
  auto const about = describe_gpus(config, {}, {24, 80, 40.5});
  CHECK(about.size() == 6);
  CHECK(about.at("GPU of 24 GB, full").at("fits") == false);
  CHECK(about.at("GPU of 24 GB, full").at("tokens_at_once") == 0);
  CHECK(about.at("GPU of 80 GB, full").at("tokens_at_once") == plan_gpu(config, {}, free_bytes(80)).tokens);
  CHECK(about.at("GPU of 40.5 GB, LoRA of rank 16").at("tokens_at_once") ==
        plan_gpu(config, with_lora(), free_bytes(40.5)).tokens);
}
