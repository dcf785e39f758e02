// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "batch_inputs.hpp"
#include "context_parallel.hpp"
#include "head.hpp"
#include "layer.hpp"
#include "recorded_passes.hpp"
#include "rope.hpp"

namespace kedge::llm {

struct causal_lm::tape {
  batch_inputs batch;
  ops::rotations rotations;
  std::vector<layer_tape> layers;   // empty where layers are computed again, from
  std::vector<at::Tensor> inputs;
  ops::rms_norm final_norm;
  completion_head head;
  scalar_head scalar;
  std::vector<std::int64_t> sequence;       // of each row
  std::vector<double> weights;              // of each row in it; empty: 1
  std::shared_ptr<context_part const> part; // what of the batch is this process's; null: all of it
  std::int64_t most_tokens = 0;             // that one of the processes then has
  std::shared_ptr<recorded_pass> recorded;  // where it is, that has all but the two above
};

}  // namespace kedge::llm
