// SPDX-License-Identifier: Apache-2.0
#include "../adapters/llm/src/train/computation.hpp"

#include <filesystem>
#include <fstream>
#include <limits>

#include "../adapters/llm/src/train/margin_probe.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;

namespace {

at::Device const gpu(at::kCUDA, 0);

transformer_config large() {
  transformer_config config = plain::tiny_config(true);
  config.vocabulary = 600'000'000 / config.hidden;
  return config;
}

}  // namespace

TEST_CASE("on a GPU it is bfloat16, and graphs for models below half a billion parameters, unless it is said",
          "[computation]") {
  transformer_config const small = plain::tiny_config(true);
  compute_settings const open = computation_on(gpu, {}, small);
  CHECK(open.type == at::kBFloat16);
  CHECK(open.graphs);
  CHECK_FALSE(open.fp8);
  CHECK_FALSE(computation_on(gpu, {}, large()).graphs);
  CHECK(computation_on(gpu, {.cuda_graphs = when::on}, large()).graphs);
  CHECK_FALSE(computation_on(gpu, {.cuda_graphs = when::off}, small).graphs);
  CHECK_FALSE(computation_on(at::kCPU, {}, small).graphs);
  CHECK_THROWS_WITH(computation_on(at::kCPU, {.cuda_graphs = when::on}, small), contains("--device cuda"));
}

TEST_CASE("products in TF32 are those of a run in float32 on a GPU, unless it is said", "[computation]") {
  transformer_config const config = plain::tiny_config(true);
  auto const used = [&](at::Device device, device_settings const& settings) {
    return uses_tf32(settings, computation_on(device, settings, config));
  };
  CHECK(used(gpu, {.dtype = compute_type::float32}));
  CHECK_FALSE(used(gpu, {.dtype = compute_type::float32, .tf32 = when::off}));
  CHECK_FALSE(used(gpu, {}));
  CHECK(used(gpu, {.tf32 = when::on}));
  CHECK_FALSE(used(gpu, {.dtype = compute_type::float64}));
  CHECK_FALSE(used(at::kCPU, {.dtype = compute_type::float32, .tf32 = when::on}));
}

TEST_CASE("products in 8 bits are refused but on a GPU beside bfloat16", "[computation]") {
  transformer_config const config = plain::tiny_config(true);
  CHECK(computation_on(gpu, {.fp8 = true}, config).fp8);
  for (auto const& [device, type] :
       {std::pair(gpu, compute_type::float32), std::pair(at::Device(at::kCPU), compute_type::bfloat16)})
    CHECK_THROWS_WITH(computation_on(device, {.dtype = type, .fp8 = true}, config), contains("--fp8"));
}

TEST_CASE("a computation is fitted into the memory of a GPU by its plan, and on a processor as ever", "[computation]") {
  transformer_config const config = plain::tiny_config(true);
  constexpr std::int64_t free = 1'000'000'000;
  run_settings run;
  plan_settings const planned{.word = 2};
  compute_settings on_gpu = computation_on(gpu, {}, config), on_host = computation_on(at::kCPU, {}, config);
  gpu_plan const plan = plan_gpu(config, planned, free, {.graphs = true, .fused_optimizer = false});
  CHECK(fit_training(on_gpu, config, planned, run, free).at_once == static_cast<std::size_t>(plan.tokens));
  CHECK(on_gpu.head_rows == plan.head_rows);
  CHECK(on_gpu.kept_logits == plan.kept_logits);
  CHECK(on_gpu.activation_bytes == plan.activations);
  CHECK(fit_training(on_host, config, planned, run, free).at_once == 512);
  CHECK(on_host.head_rows == head_rows_on_processor(config));
  CHECK(on_host.activation_bytes == activation_budget(config, planned, free));
  run.where.local_size = 2;
  CHECK(fit_training(on_host, config, planned, run, free).at_once == 512);
  CHECK(on_host.activation_bytes == activation_budget(config, planned, free / 2));
  run.compute.gradient_checkpointing = when::on;
  CHECK(fit_training(on_gpu, config, planned, run, free).at_once > static_cast<std::size_t>(plan.tokens));
  CHECK(on_gpu.activation_bytes == 0);
  run.compute.gradient_checkpointing = when::off;
  CHECK(fit_training(on_gpu, config, planned, run, free).at_once == static_cast<std::size_t>(plan.tokens));
  CHECK(on_gpu.activation_bytes == std::numeric_limits<std::int64_t>::max());
  CHECK(fit_training(on_gpu, config, planned, run, free).note.empty());
  CHECK_THAT(fit_training(on_gpu, config, planned, run, 1'000'000).note, contains("0.001 GB free"));
  CHECK(fit_scoring(on_gpu, config, free) == static_cast<std::size_t>(plan_gpu_scoring(config, 2, free).tokens));
  CHECK(fit_scoring(on_host, config, free) == 512);
}

TEST_CASE("tokens at once are what is given, else the checkpoint's from which a run goes on, else what there is room for",
          "[computation]") {
  scratch_folder const folder;
  std::filesystem::create_directories(folder / "checkpoints/step-3");
  auto const saved = [&](char const* text) { std::ofstream(folder / "checkpoints/step-3/state.json") << text; };
  run_settings run;
  run.output_dir = folder / "";
  auto const settled_to = [&](tokens_at_once given, bool resumed) {
    run.compute.micro_batch_tokens = given;
    run.resume_from_checkpoint = resumed ? resume_point("latest") : resume_point();
    settle(run, 4096, {});
    return std::size_t{run.compute.micro_batch_tokens};
  };
  saved(R"({"identity": {"micro_batch_tokens": 1024}})");
  CHECK(settled_to({}, false) == 4096);
  CHECK(settled_to({}, true) == 1024);
  CHECK(settled_to(64, false) == 64);
  CHECK(settled_to(64, true) == 64);
  CHECK(std::size_t{tokens_at_once()} == 512);
  saved("damaged");
  CHECK(settled_to({}, true) == 4096);
  CHECK(settled(run.compute, computation_on(gpu, {}, plain::tiny_config(true))) ==
        nlohmann::ordered_json{{"micro_batch_tokens", 4096}, {"tf32", "off"}, {"cuda_graphs", "on"}});
}

TEST_CASE("the probe of margins takes at most 2.5 % of a round, by the numbers of passes", "[computation]") {
  for (double const cost : {cost_of_fp32(gpu, false), cost_of_fp32(gpu, true), 8.0, 1.0})
    for (std::size_t const points : {1U, 2U})
      for (std::size_t const trained : {100U, 1000U, 10'000U, 100'000U}) {
        auto const count = static_cast<double>(probed_pairs(trained, trained, points, cost, 0));
        double const forward_in_bf16 = 1, forward_and_backward = 3;
        double const probe = count * (static_cast<double>(points) * cost + cost + forward_in_bf16),
                     round = forward_and_backward * static_cast<double>(trained);
        CAPTURE(cost, points, trained, count);
        CHECK(probe <= 0.025 * round);
        if (count > 0) CHECK(probe * (count + 1) / count > 0.025 * round);
        CHECK(count != 1);
      }
  CHECK(cost_of_fp32(gpu, false) > 10);
  CHECK(probed_pairs(10, 10, 1, 1, 2) == 2);
  CHECK(probed_pairs(1, 10'000, 1, 1, 2) == 1);
  CHECK(probed_pairs(0, 10'000, 1, 1, 2) == 0);
}
