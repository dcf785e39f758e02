// SPDX-License-Identifier: Apache-2.0
#include "computation.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/train/optimizer.hpp>

#include "../model/gpu_way.hpp"
#include "host_memory.hpp"
#include "paged_state.hpp"
#include "run_checkpoint.hpp"

namespace kedge::llm {
namespace {

at::ScalarType scalar_type(compute_type choice, at::Device device) {
  switch (choice) {
    case compute_type::automatic:
      break;
    case compute_type::float32:
      return at::kFloat;
    case compute_type::bfloat16:
      return at::kBFloat16;
    case compute_type::float64:
      return at::kDouble;
  }
  return device.is_cuda() || !fast_fp32_products() ? at::kBFloat16 : at::kFloat;
}

bool with_graphs(when choice, at::Device device, transformer_config const& config) {
  if (choice == when::on && !device.is_cuda())
    throw error("--cuda_graphs on: graphs are a GPU's; use --device cuda, or --cuda_graphs auto");
  return device.is_cuda() && (choice == when::on || (choice == when::automatic && graphs_pay(config)));
}

std::string in_gigabytes(std::int64_t bytes) { return short_number(static_cast<double>(bytes) / 1e9) + " GB"; }

// By the checkpoint from which a run goes on; nothing where there is none, or a damaged one, which is told later.
std::optional<std::size_t> tokens_of_checkpoint(run_settings const& run) {
  if (!run.resume_from_checkpoint) return {};
  try {
    return read_json_file(find_checkpoint(run.output_dir, run.resume_from_checkpoint) / "state.json")
        .at("identity")
        .at("micro_batch_tokens")
        .get<std::size_t>();
  } catch (std::exception const&) {
    return {};
  }
}

std::string too_large(gpu_plan const& plan, std::int64_t free) {
  return "warning: the run holds " + in_gigabytes(plan.states) + " of weights, gradients and moments, and the GPU has " +
         in_gigabytes(free) +
         " free, which hardly leaves room for 512 tokens; --optim adamw_8bit, --use_peft, or more processes take less";
}

// Whether a paged state can be one.   returns  a line where it is of no use
std::string look_at_pages(run_settings const& run, at::Device device) {
  if (run.optim->paged && !device.is_cpu())
    throw error("--optim " + std::string(run.optim.name()) + ": a state in a mapped file is the processor's; on a GPU use adamw_8bit, --use_peft, or more processes");
  if (!run.optim->paged && !run.paged_dir.empty())
    throw error("--paged_dir is where a paged optimizer's state lies, and " + std::string(run.optim.name()) + " has its in memory; use --optim paged_adamw_32bit or paged_adamw_8bit, or leave it out");
  std::filesystem::path const& folder = run.paged_dir.empty() ? run.output_dir : run.paged_dir;
  if (!run.optim->paged || !lies_in_memory(folder)) return {};
  return "warning: " + folder.string() + " lies in memory itself, and so does the state that --optim " + std::string(run.optim.name()) +
         " keeps there; give a folder on a disk by --paged_dir";
}

std::size_t least_of(process_group const& group, std::size_t here) {
  if (group.alone()) return here;
  std::size_t least = here;
  for (std::string const& text : group.gather(std::to_string(here))) least = std::min<std::size_t>(least, std::stoull(text));
  return least;
}

}  // namespace

compute_settings computation_on(at::Device device, device_settings const& settings, transformer_config const& config) {
  compute_settings compute;
  compute.device = device;
  compute.type = scalar_type(settings.dtype, device);
  compute.graphs = with_graphs(settings.cuda_graphs, device, config);
  compute.fp8 = settings.fp8;
  if (compute.fp8 && !(device.is_cuda() && compute.type == at::kBFloat16))
    throw error(
        "--fp8: products in 8 bits are a GPU's, beside bfloat16; use --device cuda with --dtype bfloat16, or leave it out");
  return compute;
}

bool uses_tf32(device_settings const& settings, compute_settings const& compute) {
  return compute.device.is_cuda() &&
         (settings.tf32 == when::on || (settings.tf32 == when::automatic && compute.type == at::kFloat));
}

std::size_t fit_scoring(compute_settings& compute, transformer_config const& config, std::int64_t free) {
  if (!compute.device.is_cuda()) {
    compute.head_rows = head_rows_on_processor(config);
    return tokens_at_once::least;
  }
  gpu_plan const plan = plan_gpu_scoring(config, static_cast<std::int64_t>(at::elementSize(compute.type)), free);
  compute.head_rows = plan.head_rows;
  return static_cast<std::size_t>(plan.tokens);
}

fitted_tokens fit_training(compute_settings& compute, transformer_config const& config, plan_settings const& plan,
                           run_settings const& run, std::int64_t free, std::int64_t longest) {
  std::string note = look_at_pages(run, compute.device);
  when const again = run.compute.gradient_checkpointing;
  if (again == when::on) compute.activation_bytes = 0;
  if (again == when::off) compute.activation_bytes = std::numeric_limits<std::int64_t>::max();
  if (!compute.device.is_cuda()) {
    compute.head_rows = head_rows_on_processor(config);
    if (again == when::automatic) compute.activation_bytes = activation_budget(config, plan, free / run.where.local_size);
    return {.note = std::move(note), .plan = plan_on_host(compute, config, plan, run, longest, free / run.where.local_size)};
  }
  gpu_choices const choices{.layers_again = again == when::automatic ? std::nullopt : std::optional(again == when::on),
                            .graphs = compute.graphs,
                            .fused_optimizer = gpu_kernels(compute.device) != nullptr};
  gpu_plan const planned = plan_gpu(config, plan, free, choices);
  compute.head_rows = planned.head_rows;
  compute.kept_logits = planned.kept_logits;
  if (again == when::automatic) compute.activation_bytes = planned.activations;
  return {static_cast<std::size_t>(planned.tokens), planned.fits ? "" : too_large(planned, free)};
}

void settle(run_settings& run, std::size_t room, process_group const& group) {
  if (!run.compute.micro_batch_tokens.automatic()) return;
  run.compute.micro_batch_tokens.settle(least_of(group, tokens_of_checkpoint(run).value_or(room)));
}

nlohmann::ordered_json settled(device_settings const& settings, compute_settings const& compute) {
  auto const switched = [](bool on) { return name_of(on ? when::on : when::off); };
  return {{"micro_batch_tokens", std::size_t{settings.micro_batch_tokens}},
          {"tf32", switched(uses_tf32(settings, compute))},
          {"cuda_graphs", switched(compute.graphs)}};
}

}  // namespace kedge::llm
