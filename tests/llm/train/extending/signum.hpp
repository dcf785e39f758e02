// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/train/optimizer.hpp>

// m ← β₁ m + (1 − β₁) g,  θ ← θ − η (sign m + λ θ)        Bernstein et al. 2018, Signum
inline kedge::llm::optimizer const signum{
    .name = "signum",
    .help = "signs of a running mean of gradients: 4 bytes a parameter",
    .bytes = [](std::int64_t parameters, std::int64_t word) { return word * parameters; },
    .gradient_degree = 0,
    .init = [](kedge::llm::pack const& theta) { return kedge::llm::optimizer_state{.parts = {{"mean-gradient", kedge::llm::zeros_like(theta)}}}; },
    .update =
        [](kedge::llm::optimizer_settings const& settings, kedge::llm::optimizer_state& state, kedge::llm::optimizer_step const& step) {
          kedge::llm::by_tensor_operations(step, [&](kedge::llm::pack const& gradient) {
            for (std::size_t i = 0; i < gradient.size(); ++i) {
              at::Tensor theta = step.theta[i], mean = state.parts[0].values[i];
              mean.mul_(settings.beta1).add_(gradient[i], 1 - settings.beta1);
              if (theta.dim() > 1) theta.mul_(1 - step.learning_rate * settings.weight_decay);
              theta.add_(mean.sign(), -step.learning_rate);
            }
          });
        }};
