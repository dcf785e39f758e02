// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/optimizer.hpp>

namespace kedge::llm::optimizers {
namespace {

// θ ← θ − η (g + λ θ), as torch.optim.SGD without momentum; λ is 0 for vectors.
void update(optimizer_settings const& settings, optimizer_state&, optimizer_step const& step) {
  by_tensor_operations(step, [&](pack const& gradient) {
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      at::Tensor theta = step.theta[i];
      bool const decays = settings.weight_decay != 0 && theta.dim() > 1;
      theta.add_(decays ? at::add(gradient[i], theta, settings.weight_decay) : gradient[i], -step.learning_rate);
    }
  });
}

}  // namespace

extern optimizer const sgd;
optimizer const sgd{.name = "sgd",
                    .help = "stochastic gradient descent without momentum: no state",
                    .bytes = [](std::int64_t, std::int64_t) { return std::int64_t{0}; },
                    .gradient_degree = 1,
                    .update = update};

}  // namespace kedge::llm::optimizers
