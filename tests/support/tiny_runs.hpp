// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::testing {

/// Four steps on a tiny model of golden/tiny as make_sft_reward.py and make_experts.py take them, each logged and none saved.
template <class Settings>
Settings four_steps(std::filesystem::path const& output, char const* model) {
  Settings s;
  s.model = std::filesystem::path(KEDGE_TESTS_DIR) / "golden/tiny" / model;
  s.output_dir = output;
  s.compute.dtype = llm::compute_type::float32;
  s.compute.threads = 1;  // the model is too small for two
  s.learning_rate = 1e-3;
  s.lr_scheduler_type = llm::lr_scheduler::constant;
  s.per_device_train_batch_size = 4;
  s.max_steps = 4;
  s.logging_steps = 1;
  s.save_steps = 0;
  s.shuffle = false;
  s.quiet = true;
  return s;
}

}  // namespace kedge::testing
