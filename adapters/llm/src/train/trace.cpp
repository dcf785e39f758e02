// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <fstream>
#include <set>
#include <utility>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {

namespace profiler = torch::profiler::impl;

operation_trace::operation_trace(std::filesystem::path file, at::Device device) : file_(std::move(file)) {
  if (!std::ofstream(file_)) throw error("--profile_trace " + file_.string() + ": can't be written; choose another file");
  profiler::ProfilerConfig const config(profiler::ProfilerState::KINETO);
  std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
  if (device.is_cuda()) activities.insert(profiler::ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  recording_ = true;
}

operation_trace::~operation_trace() {
  if (recording_) torch::autograd::profiler::disableProfiler();
}

void operation_trace::write() {
  recording_ = false;
  torch::autograd::profiler::disableProfiler()->save(file_.string());
}

}  // namespace kedge::llm
