// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <string>

#include <kedge/detail/check.hpp>
#include <kedge/llm/model/device_plan.hpp>

namespace kedge::llm {
namespace {

constexpr std::int64_t least_tokens = 512, worth_keeping = 1024, tile = 128;

std::int64_t usable(std::int64_t free) { return free / 10 * 9; }

// Numbers of the largest parameter.
std::int64_t largest(transformer_config const& config) {
  std::int64_t most = 0;
  for (parameter const& p : parameters_of(config))
    most = std::max(most, std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>()));
  return most;
}

// Tensor operations step over one parameter at a time: narrow moments are read to fp32, and rounded by random numbers of 64 bits.
std::int64_t temporaries_of(plan_settings const& run, std::int64_t numbers) {
  constexpr std::int64_t wide = 4, of_wide_moments = 4, of_narrow_moments = 40;
  bool const narrow = run.optimizer(numbers, wide) < adamw_state_bytes(numbers, wide) && run.optimizer(numbers, wide) > 0;
  return numbers * (narrow ? of_narrow_moments : of_wide_moments);
}

// The largest multiple up to n of a tile, and of an eighth of the power of two below it: a little more or less of free memory is the same number.
std::int64_t rounded_down(std::int64_t n) {
  if (n < least_tokens) return least_tokens;
  auto const below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n)));
  std::int64_t const step = std::max(tile, below / 8);
  return n / step * step;
}

std::int64_t working_bytes(transformer_config const& config, std::int64_t word) {
  return 2 * activation_bytes_per_token(config, std::max<std::int64_t>(word, 4)) / std::max<std::int64_t>(config.layers, 1);
}

void plan_head(gpu_plan& plan, transformer_config const& config, std::int64_t word, std::int64_t room, bool trained) {
  if (!config.lm_head) return;
  constexpr std::int64_t in_fp32 = 8, most = 4096;  // logits, and probabilities less the target
  std::int64_t const row = config.vocabulary * (in_fp32 + word);
  plan.head_rows = std::clamp(room / 4 / row / tile * tile, tile, most);
  plan.head = plan.head_rows * row + (trained ? word * config.vocabulary * config.hidden : 0);
  plan.kept_logits = trained ? room / 8 : 0;
}

}  // namespace

gpu_plan plan_gpu(transformer_config const& config, plan_settings const& run, std::int64_t free, gpu_choices const& choices) {
  std::int64_t const layers = std::max<std::int64_t>(config.layers, 1),
                     residual = std::max<std::int64_t>(run.word, 4) * config.hidden;
  gpu_plan plan{.states = plan_memory(config, run).states()};
  std::int64_t const left = usable(free) - plan.states, room = std::max<std::int64_t>(left, 0) / (choices.graphs ? 2 : 1);
  if (!choices.fused_optimizer && !run.lora) plan.temporaries = temporaries_of(run, largest(config));
  plan_head(plan, config, run.word, room, !run.lora);
  std::int64_t const bytes = std::max<std::int64_t>(room - plan.head - plan.kept_logits, 0) / run.models;
  plan.kept = activation_bytes_per_token(config, run.word);
  plan.working = working_bytes(config, run.word);
  std::int64_t const without = bytes / (plan.kept + plan.working);
  plan.layers_again = choices.layers_again.value_or(without < worth_keeping);
  plan.activations = choices.layers_again.value_or(false) ? 0 : without * plan.kept;
  if (plan.layers_again) {
    plan.working += plan.kept / layers;
    plan.kept = layers * residual;
  }
  plan.tokens = rounded_down(bytes / (plan.kept + plan.working));
  plan.fits = left >= plan.temporaries && bytes >= least_tokens * (plan.kept + plan.working);
  return plan;
}

gpu_plan plan_gpu_scoring(transformer_config const& config, std::int64_t word, std::int64_t free) {
  gpu_plan plan{.states = word * parameter_count(config)};
  std::int64_t const room = std::max<std::int64_t>(usable(free) - plan.states, 0);
  plan_head(plan, config, word, room, /*trained=*/false);
  plan.working = working_bytes(config, word);
  std::int64_t const bytes =
      std::max<std::int64_t>(room - plan.head, 0) / 2;  // the other half is for keys and values, and other models
  plan.tokens = rounded_down(bytes / plan.working);
  plan.fits = bytes >= least_tokens * plan.working;
  return plan;
}

bool graphs_pay(transformer_config const& config) {
  constexpr std::int64_t most = 500'000'000;
  return parameter_count(config) < most;
}

std::int64_t head_rows_on_processor(transformer_config const& config) {
  constexpr std::int64_t logits_at_a_time = 64 << 20, least = 16;
  return std::max(least, logits_at_a_time / (config.vocabulary * std::int64_t{sizeof(float)}));
}

std::int64_t free_bytes(double gigabytes) { return static_cast<std::int64_t>(gigabytes * 0x1p30 / 50 * 49); }

nlohmann::ordered_json describe_gpus(transformer_config const& config, described_run const& run,
                                     std::vector<double> const& gigabytes) {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  lora_settings const adapter{.rank = 16, .target_modules = {"all-linear"}};
  for (double const size : gigabytes)
    for (bool const full : {true, false}) {
      plan_settings const settings{
          .lora = full ? std::nullopt : std::optional(adapter), .optimizer = run.optimizer, .processes = run.processes, .divided = run.divided};
      bool const graphs = graphs_pay(config);
      gpu_plan const plan = plan_gpu(config, settings, free_bytes(size), {.graphs = graphs});
      all["GPU of " + detail::text(size) + " GB, " + (full ? "full" : "LoRA of rank 16")] = {
          {"bytes", plan.states},
          {"fits", plan.fits},
          {"tokens_at_once", plan.fits ? plan.tokens : 0},
          {"head_rows", plan.head_rows},
          {"gradient_checkpointing", plan.layers_again},
          {"cuda_graphs", graphs}};
    }
  return all;
}

}  // namespace kedge::llm
