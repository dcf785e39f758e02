// SPDX-License-Identifier: Apache-2.0
#include "join_run.hpp"

#include <chrono>
#include <utility>

namespace kedge::llm {

process_group join(launch const& where, device_settings& compute, std::size_t timeout) {
  if (where.alone()) return {};
  at::Device device(compute.device);
  if (device.is_cuda() && !device.has_index()) device.set_index(static_cast<at::DeviceIndex>(where.local_rank));
  compute.device = device.str();
  if (where.met && !where.met->alone()) return *where.met;
  launch here = where;
  here.met.reset();  // the group is kept there, and keeps this
  process_group group(std::move(here), std::chrono::seconds(timeout), device);
  if (where.met) *where.met = group;
  return group;
}

process_group join_run(run_settings& settings) { return join(settings.where, settings.compute, settings.ddp_timeout); }

}  // namespace kedge::llm
