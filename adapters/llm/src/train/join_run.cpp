// SPDX-License-Identifier: Apache-2.0
#include "join_run.hpp"

#include <chrono>

namespace kedge::llm {

process_group join_run(run_settings& settings) {
  launch const& here = settings.where;
  if (here.alone()) return {};
  at::Device device(settings.compute.device);
  if (device.is_cuda() && !device.has_index()) device.set_index(static_cast<at::DeviceIndex>(here.local_rank));
  settings.compute.device = device.str();
  return {here, std::chrono::seconds(settings.ddp_timeout), device};
}

}  // namespace kedge::llm
