// SPDX-License-Identifier: Apache-2.0
#include "optimizer.hpp"

#include "../model/profile.hpp"

namespace kedge::llm {

pack zeros_like(pack const& theta) {
  pack zeros;
  zeros.reserve(theta.size());
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros_like(t));
  return zeros;
}

adamw::adamw(pack const& theta, settings settings) : first(zeros_like(theta)), second(zeros_like(theta)), settings_(settings) {}

void adamw::step_group(pack& theta, pack const& gradient, bool matrices, double learning_rate) {
  pack p, g, m, v;
  for (std::size_t i = 0; i < theta.size(); ++i) {
    if ((theta[i].dim() > 1) != matrices) continue;
    p.push_back(theta[i]);
    g.push_back(gradient[i]);
    m.push_back(first[i]);
    v.push_back(second[i]);
  }
  if (p.empty()) return;
  pack const count(p.size(), at::full({}, static_cast<double>(steps), p.front().options().dtype(at::kFloat)));
  at::_fused_adamw_(p, g, m, v, {}, count, learning_rate, settings_.beta1, settings_.beta2,
                    matrices ? settings_.weight_decay : 0, settings_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

void adamw::step(pack& theta, pack const& gradient, double learning_rate) {
  at::NoGradGuard const no_grad;
  timed const scope(phase::optimizer);
  ++steps;
  step_group(theta, gradient, true, learning_rate);
  step_group(theta, gradient, false, learning_rate);
}

double clip_gradients(pack& gradient, double max_norm) {
  at::NoGradGuard const no_grad;
  timed const scope(phase::optimizer);
  double const norm = at::stack(at::_foreach_norm(gradient, 2)).norm().item<double>();
  if (max_norm > 0 && norm > max_norm) at::_foreach_mul_(gradient, max_norm / (norm + 1e-6));
  return norm;
}

}  // namespace kedge::llm
