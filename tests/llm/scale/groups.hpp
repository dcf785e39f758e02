// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "../adapters/llm/src/scale/process_group.hpp"
#include "support/free_port.hpp"

namespace kedge::testing {

/// Calls `work` once for each process of a group; here they are threads of one process, joined by Gloo as processes are.
inline void in_a_group(int size, std::function<void(llm::process_group const& group)> const& work) {
  std::uint16_t const port = free_port();
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(size));
  std::vector<std::thread> members;
  for (int rank = 0; rank < size; ++rank)
    members.emplace_back([&, rank] {
      try {
        llm::launch where;
        where.rank = where.local_rank = rank;
        where.size = where.local_size = size;
        where.address = "127.0.0.1";
        where.port = port;
        work(llm::process_group(where, std::chrono::seconds(60), at::kCPU));
      } catch (...) {
        failures[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  for (std::thread& member : members) member.join();
  for (std::exception_ptr const& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace kedge::testing
