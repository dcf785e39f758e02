// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/memory_plan.hpp>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

#include "../kernels/kernels.hpp"
#include "adapter_layout.hpp"
#include "slots.hpp"

namespace kedge::llm {
namespace {

constexpr std::int64_t device_bytes = 80'000'000'000, usable_bytes = device_bytes / 10 * 9;

std::int64_t adapter_parameters(transformer_config const& c, lora_settings const& lora) {
  std::int64_t count = 0;
  adapter_layout const layout(c, lora);
  for (parameter const& p : layout.parameters()) count += std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>());
  return count;
}

std::string shared_by(division divided) {
  return divided == division::none ? "moments shared" : divided == division::gradients ? "moments and gradients shared" : "all shared";
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

namespace {

struct unit_sizes {
  std::int64_t embedding = 0, layer = 0, rest = 0;  // numbers; layer: the largest
};

unit_sizes units_of(transformer_config const& config) {
  slots const at(config);
  std::vector<std::int64_t> before{0};  // numbers before each tensor
  for (parameter const& p : parameters_of(config))
    before.push_back(before.back() + std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>()));
  unit_sizes units{before[1], 0, before.back() - before[at.final_norm()]};
  for (std::int64_t i = 0; i < config.layers; ++i)
    units.layer = std::max(units.layer, before[at.of(i + 1, layer_slots)] - before[at.of(i, layer_slots)]);
  return units;
}

// What is whole of a divided model when the backward pass begins, which is when activations are all there: what stands behind the layers, the
// embedding where that is the head, and the last layer's weights, which are on their way; and their gradients.
std::int64_t gathered_bytes(transformer_config const& config, division what, std::int64_t read, std::int64_t wide) {
  if (what == division::none) return 0;
  unit_sizes const units = units_of(config);
  std::int64_t const head = units.rest + (config.lm_head && config.tied_embeddings ? units.embedding : 0);
  std::int64_t const gradients = wide * std::max({head, units.rest + units.layer, units.layer + units.embedding});
  return gradients + (what == division::weights ? read * (head + units.layer) : 0);
}

}  // namespace

memory_plan plan_memory(transformer_config const& config, plan_settings const& s) {
  std::int64_t const wide = std::max<std::int64_t>(s.word, 4);
  memory_plan plan;
  plan.parameters = parameter_count(config);
  plan.trained = s.lora ? adapter_parameters(config, *s.lora) : plan.parameters;
  std::int64_t const frozen = s.lora ? plan.parameters : 0, copied = s.word < wide && !s.reads_masters ? plan.trained : 0;
  // What stays quantised is shared by the models that stand on it.
  plan.weights = s.frozen_bytes && s.lora ? *s.frozen_bytes + s.models * s.word * copied : s.models * s.word * (frozen + copied);
  plan.masters = plan.gradients = s.models * wide * plan.trained;
  if (s.divided != division::none && !s.lora && s.processes > 1) {
    auto const share = [&](std::int64_t bytes) { return (bytes + s.processes - 1) / s.processes; };
    plan.gradients = share(plan.gradients);
    plan.gathered = gathered_bytes(config, s.divided, s.reads_masters ? wide : s.word, wide);
    if (s.divided == division::weights) {
      plan.masters = share(plan.masters);
      plan.weights = share(plan.weights);
    }
  }
  plan.moments = (s.models * s.optimizer(plan.trained, wide) + s.processes - 1) / s.processes;
  plan.points = s.points * wide * plan.trained;
  if (s.divided == division::weights && !s.lora) plan.points = (plan.points + s.processes - 1) / s.processes;
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
    if (settings.processes > 1) settings.divided = run.divided;
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
          {"gathered", own.gathered},
          {"moments", own.moments},
          {"activations_per_token", own.activations},
          {"1 x 80 GB", on_one_device(plan({}))},
          {"1 x 80 GB, LoRA of rank 16", on_one_device(plan({.lora = lora_settings{.rank = 16, .target_modules = {"all-linear"}}}))},
          {std::to_string(devices) + " x 80 GB, each, " + shared_by(run.divided), on_one_device(plan({.processes = devices}))},
          {"host, bfloat16, 512 tokens at once", on_host({.reads_masters = kernels().tile_product == nullptr})},
          {"host, float32, 512 tokens at once", on_host({.word = 4})}};
}

}  // namespace kedge::llm
