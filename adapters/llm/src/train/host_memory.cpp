// SPDX-License-Identifier: Apache-2.0
#include "host_memory.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/device_plan.hpp>
#include <kedge/llm/train/optimizer.hpp>
#include <kedge/llm/train/training_log.hpp>

namespace kedge::llm {
namespace {

constexpr std::int64_t ceiling_of(std::int64_t n, std::int64_t parts) { return (n + parts - 1) / parts; }

std::string in_gigabytes(std::int64_t bytes) { return short_number(static_cast<double>(bytes) / 1e9) + " GB"; }

// A run that is planned, or another that would do its work.
struct planned_run {
  transformer_config const& config;
  plan_settings plan;
  std::int64_t tokens;
  std::int64_t budget;

  [[nodiscard]] host_need need() const { return host_need_of(config, plan, tokens, budget); }
};

// Settings that take less, the least change first.
struct way_out {
  std::string flags;
  planned_run run;
};

std::vector<way_out> ways_out(planned_run const& run, run_settings const& settings) {
  std::vector<way_out> all;
  auto const add = [&](std::string flags, std::function<void(planned_run&)> const& change) {
    planned_run other = run;
    change(other);
    if (other.need().bytes() < run.need().bytes()) all.push_back({std::move(flags), std::move(other)});
  };
  add("--gradient_checkpointing on", [](planned_run& r) { r.budget = 0; });
  std::string const again = settings.compute.gradient_checkpointing == when::off ? " --gradient_checkpointing on" : "";
  std::vector<std::pair<std::string, bool>> widths{{"", false}};
  if (run.plan.word == 2 && !run.plan.reads_masters && !settings.use_peft)
    widths.emplace_back("--dtype float32 ", true);  // bf16 copies beside fp32 masters
  for (auto const& [dtype, wide] : widths) {
    auto const with = [&, wide = wide](state_bytes bytes) {
      return [=](planned_run& r) {
        if (wide) r.plan.word = 4;
        r.plan.optimizer = bytes;
        r.budget = 0;
      };
    };
    for (std::string_view const name : {"adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"}) {
      optimizer_choice const other(name);
      if (other != settings.optim && !(settings.optim->paged && !other->paged))
        add(dtype + "--optim " + std::string(name) + again, with(other.bytes()));
    }
    if (wide) add("--dtype float32" + again, with(run.plan.optimizer));
  }
  if (!settings.use_peft)
    add("--use_peft" + again, [&](planned_run& r) {
      r.plan.lora = settings.lora;
      r.plan.reads_masters = false;
      r.budget = 0;
    });
  return all;
}

// A length of sequences for which the rest has room, where a pair has two of them; 0: none.
std::int64_t fitting_length(planned_run run, std::int64_t free) {
  std::int64_t fits = 0;
  for (run.tokens = 512; run.tokens < (std::int64_t{1} << 30); run.tokens *= 2) {
    if (run.need().bytes() > free) break;
    fits = run.tokens / 2;
  }
  return fits;
}

[[noreturn]] void refuse(planned_run const& run, run_settings const& settings, std::int64_t examples, std::int64_t free) {
  host_need const need = run.need();
  std::string text = "the run takes " + in_gigabytes(need.bytes()) + " (weights, gradients and moments " +
                     in_gigabytes(need.states) + ", " + std::to_string(run.tokens) + " tokens at once " +
                     in_gigabytes(need.kept + need.working) + "), and " + in_gigabytes(free) + " are free";
  std::vector<way_out> ways = ways_out(run, settings);
  std::string fitting;
  std::int64_t const length = fitting_length(run, free);
  if (length > 0 && 2 * length < examples)
    fitting += "--max_length " + std::to_string(length) + " (" + in_gigabytes(free) + " at most)";
  for (way_out const& way : ways)
    if (std::int64_t const bytes = way.run.need().bytes(); bytes <= free)
      fitting += (fitting.empty() ? "" : ", ") + way.flags + " (" + in_gigabytes(bytes) + ")";
  if (!fitting.empty()) throw error(text + "; what fits: " + fitting);
  auto const least = std::min_element(
      ways.begin(), ways.end(), [](way_out const& a, way_out const& b) { return a.run.need().bytes() < b.run.need().bytes(); });
  throw error(
      text + "; no setting fits" +
      (least == ways.end() ? "" : ", the least is " + least->flags + " (" + in_gigabytes(least->run.need().bytes()) + ")") +
      ": take a smaller model, or a machine with more memory");
}

}  // namespace

host_need host_need_of(transformer_config const& config, plan_settings const& plan, std::int64_t tokens, std::int64_t budget) {
  std::int64_t const layers = std::max<std::int64_t>(config.layers, 1), wide = std::max<std::int64_t>(plan.word, 4),
                     all = activation_bytes_per_token(config, plan.word);
  host_need need{.states = plan_memory(config, plan).states()};
  need.layers_again = tokens > budget / all;
  need.kept = tokens * plan.models * (need.layers_again ? layers * wide * config.hidden + all / layers : all);
  std::int64_t const layer = 3 * tokens * activation_bytes_per_token(config, wide) / layers;
  std::int64_t const logits =
      std::min(tokens, head_rows_on_processor(config)) * config.vocabulary * wide;  // and as many probabilities
  need.working = layer + 2 * logits + std::min(default_kept_logits, tokens * config.vocabulary * plan.word);
  return need;
}

std::string plan_on_host(compute_settings const& compute, transformer_config const& config, plan_settings const& plan,
                         run_settings const& run, std::int64_t longest, std::int64_t free) {
  auto const micro = static_cast<std::int64_t>(std::size_t{run.compute.micro_batch_tokens});
  std::int64_t const tokens = ceiling_of(std::max(micro, longest), static_cast<std::int64_t>(run.context_parallel_size));
  planned_run const planned{config, plan, tokens, compute.activation_bytes};
  host_need const need = planned.need();
  if (need.bytes() > free) refuse(planned, run, longest, free);
  constexpr std::int64_t worth_a_line = 1'000'000'000;
  if (need.bytes() < worth_a_line) return {};
  std::string moments = " of weights, gradients and moments";
  if (run.optim->paged) {
    std::int64_t const all =
        plan.models * run.optim->bytes(plan_memory(config, plan).trained, std::max<std::int64_t>(plan.word, 4));
    moments = " of weights and gradients, and " + in_gigabytes(all / plan.processes) + " of moments on disk";
  }
  return "memory: " + in_gigabytes(need.bytes()) + " of " + in_gigabytes(free) +
         " that are free: " + in_gigabytes(need.states) + moments + "; " + std::to_string(tokens) + " tokens at once, layers " +
         (need.layers_again ? "computed again on the way back" : "kept");
}

}  // namespace kedge::llm
