// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include <kedge/adapters/torch.hpp>

namespace kedge::llm {

/// Where graphs take their memory. Those of one pool may overwrite each other's: nothing of one is read after another has run.
using graph_pool = std::pair<std::uint64_t, std::uint64_t>;
[[nodiscard]] graph_pool new_graph_pool(at::Device device);

struct recorded_work;

/// Work on a device that is recorded once and then replayed, without the host's part of it.
/// On a host the work itself is called each time: the same results, nothing saved.
class device_graph {
 public:
  device_graph(at::Device device, graph_pool pool);
  device_graph(device_graph&&) noexcept;
  ~device_graph();

  /// `work` must ask for the same operations on the same memory each time, neither read from the device nor write to it from the host, and must
  /// have run once before, so that libraries are ready. What it allocates stays in place.
  /// throws  error where recording fails, or a GPU's library is missing
  void run(std::function<void()> const& work);

 private:
  at::Device device_;
  graph_pool pool_;
  std::unique_ptr<recorded_work> recorded_;
};

}  // namespace kedge::llm
