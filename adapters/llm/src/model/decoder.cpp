// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

namespace kedge::llm {

std::unique_ptr<decoder> make_decoder(causal_lm const& model, pack const& weights, thread_team& team) {
  if (auto fast = make_cpu_decoder(model, weights, team)) return fast;
  return make_tensor_decoder(model, weights);
}

}  // namespace kedge::llm
