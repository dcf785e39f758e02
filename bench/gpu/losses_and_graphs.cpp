// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "check.hpp"

namespace kedge::gpu_check {

bool first_loss(at::Device device) {
  transformer_config const c = tiny_llama();
  bool all = true;
  for (at::ScalarType const type : {at::kFloat, at::kBFloat16})
    for (bool const recorded : {false, true}) {
      ragged_batch const batch = random_pairs(c.vocabulary, 5, 17, 11);
      causal_lm const model(c, {.type = type, .device = device, .graphs = recorded});
      pack const weights = random_weights(c, device, type);
      std::vector<double> const reference = model.log_probs(weights, batch), policy = model.forward(weights, batch).logp;
      double loss = 0, largest = 0;
      for (std::size_t i = 0; i + 1 < policy.size(); i += 2) {
        double const margin = (policy[i] - reference[i]) - (policy[i + 1] - reference[i + 1]);
        largest = std::max(largest, std::abs(margin));
        loss += std::log1p(std::exp(-0.1 * margin)) / static_cast<double>(policy.size() / 2);
      }
      all &= say({{"dtype", at::toString(type)},
                  {"graphs", recorded},
                  {"loss", loss},
                  {"largest margin", largest},
                  {"holds", largest == 0 && std::abs(loss - std::log(2.0)) < 1e-12}});
    }
  return all;
}

// Up to what the padding of their batches changes in rounding. On the host nothing is recorded, and all else is the same.
bool graphs(at::Device device) {
  transformer_config const c = tiny_llama();
  bool all = true;
  for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
    double const allowed = type == at::kFloat ? 1e-4 : 2e-2;
    causal_lm const computes(c, {.type = type, .device = device}), replays(c, {.type = type, .device = device, .graphs = true});
    pack const weights = random_weights(c, device, type);
    pack gradient = zeros_of(weights, at::kFloat);  // recordings are of one gradient's memory
    errors worst;
    for (std::size_t step = 0; step < 9; ++step) {
      ragged_batch const batch = random_pairs(c.vocabulary, 3 + step % 3, 17 + step % 2, 11);
      passes wanted = run(computes, weights, batch);
      wanted.gradient = moved(wanted.gradient, at::kCPU, at::kDouble);
      for (at::Tensor const& t : gradient) t.zero_();
      auto [logp, pullback] = replays.forward(weights, batch);
      std::vector<double> cotangent;
      for (std::size_t i = 0; i < logp.size(); ++i) cotangent.push_back(i % 2 == 0 ? -0.5 : 0.5);
      pullback(cotangent, gradient);
      errors const e = errors_of({logp, gradient}, wanted);
      worst = {std::max(worst.logp, e.logp), std::max(worst.gradient, e.gradient), std::max(worst.tensor, e.tensor)};
    }
    bool const recordable = !device.is_cuda() || type == at::kBFloat16;
    all &= say({{"dtype", at::toString(type)},
                {"log-probabilities", worst.logp},
                {"gradient", worst.gradient},
                {"worst tensor", worst.tensor},
                {"allowed", allowed},
                {"recorded runs", replays.recorded_runs()},
                {"holds", worst.logp < allowed && worst.gradient < 5 * allowed && (replays.recorded_runs() > 0) == recordable}});
  }
  return all;
}

}  // namespace kedge::gpu_check
