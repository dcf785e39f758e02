// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace kedge::llm {

class process_group;

/// What torchrun tells a process of a run in its environment: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
/// Without WORLD_SIZE a process is on its own.
struct launch {
  int rank = 0, size = 1;              ///< of all processes
  int local_rank = 0, local_size = 1;  ///< of those on this machine
  std::string address;                 ///< where the processes meet
  std::uint16_t port = 0;
  std::string interface;               ///< of the network, by GLOO_SOCKET_IFNAME; empty: the usual one
  bool hosted = false;                 ///< torchrun keeps the meeting place; otherwise the process of rank 0 does
  std::string attempt;                 ///< how often torchrun has started the run anew: each attempt meets apart
  std::shared_ptr<process_group> met;  ///< the group, once it has met: runs of a program, one after the other, share it

  [[nodiscard]] bool alone() const { return size == 1; }

  /// throws  error naming the variable that is missing or can't be
  [[nodiscard]] static launch of_environment();
};

}  // namespace kedge::llm
