// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/memory_plan.hpp>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

#include "../kernels/kernels.hpp"
#include "adapter_layout.hpp"

namespace kedge::llm {
namespace {

constexpr std::int64_t device_bytes = 80'000'000'000, usable_bytes = device_bytes / 10 * 9;

std::int64_t adapter_parameters(transformer_config const& c, lora_settings const& lora) {
  std::int64_t count = 0;
  adapter_layout const layout(c, lora);
  for (parameter const& p : layout.parameters()) count += std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>());
  return count;
}

nlohmann::ordered_json on_one_device(memory_plan const& plan) {
  std::int64_t const left = std::max<std::int64_t>(usable_bytes - plan.states(), 0);
  return {{"bytes", plan.states()}, {"fits", plan.states() < usable_bytes}, {"tokens_at_once", left / plan.activations}};
}

}  // namespace

std::int64_t activation_bytes_per_token(transformer_config const& c, std::int64_t bytes) {
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, wide = std::max<std::int64_t>(bytes, 4);
  std::int64_t layer = 2 * wide * c.hidden + bytes * (2 * q + 2 * kv + 2 * std::max(c.intermediate * (c.experts.count > 0 ? 0 : 1), c.experts.intermediate * c.experts.chosen)) + wide * c.heads;
  for (std::string_view const after : {c.norms.after_attention, c.norms.after_mlp})
    if (!after.empty()) layer += wide * c.hidden;
  if (c.qk_norms != query_key_norms::none) layer += wide * (q + kv);
  return c.layers * layer;
}

memory_plan plan_memory(transformer_config const& config, plan_settings const& s) {
  std::int64_t const wide = std::max<std::int64_t>(s.word, 4);
  memory_plan plan;
  plan.parameters = parameter_count(config);
  plan.trained = s.lora ? adapter_parameters(config, *s.lora) : plan.parameters;
  std::int64_t const frozen = s.lora ? plan.parameters : 0, copied = s.word < wide && !s.reads_masters ? plan.trained : 0;
  // What stays quantised is shared by the models that stand on it.
  plan.weights = s.frozen_bytes && s.lora ? *s.frozen_bytes + s.models * s.word * copied : s.models * s.word * (frozen + copied);
  plan.masters = plan.gradients = s.models * wide * plan.trained;
  plan.moments = (s.models * s.optimizer(plan.trained, wide) + s.processes - 1) / s.processes;
  plan.points = s.points * wide * plan.trained;
  plan.activations = s.models * activation_bytes_per_token(config, s.word);
  return plan;
}

std::int64_t activation_budget(transformer_config const& config, plan_settings const& s, std::int64_t available) {
  return std::max<std::int64_t>(available / 5 * 4 - plan_memory(config, s).states(), 0) / s.models;
}

std::int64_t resident_bytes(memory_plan const& plan, std::int64_t tokens, std::int64_t kept_logits) {
  constexpr std::int64_t program = 200'000'000;
  return plan.states() + tokens * plan.activations + kept_logits + program;
}

nlohmann::ordered_json describe_memory(transformer_config const& config, described_run const& run) {
  constexpr std::int64_t tokens = 512;
  std::int64_t const probability = sizeof(float), kept_logits = std::min(default_kept_logits, tokens * config.vocabulary * probability);
  std::int64_t const devices = run.processes > 1 ? run.processes : 8;
  auto const plan = [&](plan_settings settings) {
    settings.optimizer = run.optimizer;
    return plan_memory(config, settings);
  };
  memory_plan const own = plan({.processes = run.processes});
  auto const on_host = [&](plan_settings settings) {
    settings.processes = run.processes;
    return resident_bytes(plan(settings), tokens, kept_logits);
  };
  return {{"processes", run.processes},
          {"weights", own.weights},
          {"masters", own.masters},
          {"gradients", own.gradients},
          {"moments", own.moments},
          {"activations_per_token", own.activations},
          {"1 x 80 GB", on_one_device(plan({}))},
          {"1 x 80 GB, LoRA of rank 16", on_one_device(plan({.lora = lora_settings{.rank = 16, .target_modules = {"all-linear"}}}))},
          {std::to_string(devices) + " x 80 GB, each, moments shared", on_one_device(plan({.processes = devices}))},
          {"host, bfloat16, 512 tokens at once", on_host({.reads_masters = kernels().tile_product == nullptr})},
          {"host, float32, 512 tokens at once", on_host({.word = 4})}};
}

}  // namespace kedge::llm
