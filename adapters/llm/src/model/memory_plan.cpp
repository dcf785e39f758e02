// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/memory_plan.hpp>

#include <algorithm>

#include "adapter_layout.hpp"

namespace kedge::llm {
namespace {

constexpr std::int64_t device_bytes = 80'000'000'000, usable_bytes = device_bytes / 10 * 9;

std::int64_t adapter_parameters(transformer_config const& c, std::int64_t rank) {
  std::int64_t count = 0;
  for (parameter const& p : adapter_layout(c, {.rank = rank, .target_modules = {"all-linear"}}).parameters()) count += p.shape[0] * p.shape[1];
  return count;
}

nlohmann::ordered_json on_one_device(std::int64_t states, memory_plan const& plan) {
  std::int64_t const left = std::max<std::int64_t>(usable_bytes - states, 0);
  return {{"bytes", states}, {"fits", states < usable_bytes}, {"tokens_at_once", left / plan.activations}};
}

}  // namespace

std::int64_t activation_bytes_per_token(transformer_config const& c, std::int64_t bytes) {
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, wide = std::max<std::int64_t>(bytes, 4);
  std::int64_t layer = 2 * wide * c.hidden + bytes * (2 * q + 2 * kv + 2 * c.intermediate) + wide * c.heads;
  if (c.output_norms) layer += 2 * wide * c.hidden;
  if (c.qk_norms) layer += wide * (q + kv);
  return c.layers * layer;
}

std::int64_t activation_budget(transformer_config const& c, std::int64_t bytes, std::int64_t available) {
  std::int64_t const wide = std::max<std::int64_t>(bytes, 4), held = parameter_count(c) * (6 * wide + (bytes < wide ? bytes : 0));
  return std::max<std::int64_t>(available / 5 * 4 - held, 0);
}

memory_plan plan_memory(transformer_config const& config, plan_settings const& s) {
  memory_plan plan;
  plan.parameters = parameter_count(config);
  plan.trained = s.lora_rank > 0 ? adapter_parameters(config, s.lora_rank) : plan.parameters;
  std::int64_t const frozen = s.lora_rank > 0 ? plan.parameters : 0, copied = s.word < 4 ? plan.trained : 0;
  plan.weights = s.word * (frozen + copied);
  plan.masters = plan.gradients = 4 * plan.trained;
  plan.moments = moment_bytes(s.moments, plan.trained);
  plan.activations = activation_bytes_per_token(config, s.word);
  return plan;
}

std::int64_t resident_bytes(memory_plan const& plan, std::int64_t tokens, std::int64_t kept_logits) {
  constexpr std::int64_t program = 200'000'000;
  return plan.states() + tokens * plan.activations + kept_logits + program;
}

nlohmann::ordered_json describe_memory(transformer_config const& config, moment_type moments) {
  constexpr std::int64_t devices = 8;
  constexpr std::int64_t tokens = 512, kept_logits = 96 << 20;
  memory_plan const full = plan_memory(config, {.moments = moments}), lora = plan_memory(config, {.lora_rank = 16, .moments = moments}),
                    wide = plan_memory(config, {.moments = moments, .word = 4});
  memory_plan on_host = full;
  on_host.weights = 0;  // products read the masters
  std::int64_t const shared_optimiser = full.weights + full.gradients + (full.masters + full.moments) / devices;
  std::int64_t const shared_states = full.weights + (full.gradients + full.masters + full.moments) / devices;
  return {{"weights", full.weights},
          {"masters", full.masters},
          {"gradients", full.gradients},
          {"moments", full.moments},
          {"activations_per_token", full.activations},
          {"1 x 80 GB", on_one_device(full.states(), full)},
          {"1 x 80 GB, LoRA of rank 16", on_one_device(lora.states(), lora)},
          {"8 x 80 GB, each, optimiser shared", on_one_device(shared_optimiser, full)},
          {"8 x 80 GB, each, optimiser and gradients shared", on_one_device(shared_states, full)},
          {"host, bfloat16, 512 tokens at once", resident_bytes(on_host, tokens, kept_logits)},
          {"host, float32, 512 tokens at once", resident_bytes(wide, tokens, kept_logits)}};
}

}  // namespace kedge::llm
