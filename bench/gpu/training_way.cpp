// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/device_plan.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>

#include "kit.hpp"

namespace kedge::gpu_kit {

training_way way_that_fits(llm::transformer_config const& config, std::int64_t bytes) {
  llm::lora_settings const lora{.rank = 16, .target_modules = {"all-linear"}};
  struct candidate {
    training_way way;
    llm::plan_settings plan;
  };
  candidate all[] = {
      {{"adamw", {}}, {}},
      {{"adamw_8bit", {"--optim", "adamw_8bit"}}, {.optimizer = llm::optimizer_choice("adamw_8bit").bytes()}},
      {{"lora", {"--use_peft", "--lora_r", "16", "--lora_target_modules", "all-linear"}}, {.lora = lora}},
  };
  for (candidate& one : all) {
    llm::gpu_plan const plan = llm::plan_gpu(config, one.plan, bytes, {.graphs = llm::graphs_pay(config)});
    if (!plan.fits) continue;
    one.way.fixed = plan.states + plan.head;
    one.way.of_token = plan.layers_again ? plan.working : plan.kept + plan.working;
    one.way.tokens = plan.tokens;
    one.way.kept_logits = plan.kept_logits;
    return one.way;
  }
  throw llm::error("no way to train " + std::to_string(llm::parameter_count(config)) + " parameters fits in " + std::to_string(bytes) + " bytes");
}

}  // namespace kedge::gpu_kit
