// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include "gpu_way.hpp"

namespace kedge::llm {

std::unique_ptr<decoder> make_decoder(causal_lm const& model, pack const& weights, thread_pool& threads) {
  if (goes_gpu_way(model.settings().device)) return make_tensor_decoder(model, weights);
  pack narrow;  // fp32 weights are for training: steps of generation wait for memory, and bf16 is half of it
  if (model.settings().fp32_weights)
    for (at::Tensor const& t : weights) narrow.push_back(t.to(model.settings().type));
  if (auto fast = make_cpu_decoder(model, narrow.empty() ? weights : narrow, threads)) return fast;
  return make_tensor_decoder(model, weights);
}

}  // namespace kedge::llm
