// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <kedge/llm/scale/launch.hpp>

namespace kedge::llm {

/// Bytes of the tensors that a process has handed to operations of its group. In a ring of W, of which c10d's backends make theirs, it sends
/// 2 (W − 1)/W of what is summed, and (W − 1)/W of what is summed by parts or gathered; `sent`: to one other.
struct group_traffic {
  std::int64_t summed = 0, summed_by_parts = 0, gathered = 0, broadcast = 0, sent = 0;
};

/// The processes that share a run, as one of them sees them. All of them call the same members in the same order. A group of one
/// has nobody to wait for: every member returns at once.
/// throws  error in one line from every member that waits, once another process has gone, failed, or not answered in time
class process_group {
 public:
  process_group() = default;
  /// Meets the others: by Gloo, or by NCCL where tensors live on a GPU.
  /// timeout: how long to wait for the others, here and later
  process_group(launch where, std::chrono::seconds timeout, at::Device device);

  [[nodiscard]] int rank() const { return launch_.rank; }
  [[nodiscard]] int size() const { return launch_.size; }
  [[nodiscard]] bool alone() const { return launch_.alone(); }
  /// The one process that speaks and writes.
  [[nodiscard]] bool leads() const { return launch_.rank == 0; }

  /// What waits for an operation under way to be done.
  using pending = std::function<void()>;
  /// Begins to put the sum over all processes in place of a contiguous tensor. All processes get the same bits.
  [[nodiscard]] pending begin_sum(at::Tensor tensor) const;
  /// This process's part of contiguous numbers, one of size() equal parts of them, as a view.   numbers: as many as size() divides
  [[nodiscard]] at::Tensor own_part(at::Tensor const& numbers) const;
  /// Begins to put the sum over all processes in place of the own part of numbers. What the others' parts hold then isn't said.
  [[nodiscard]] pending begin_sum_of_own_part(at::Tensor numbers) const;
  /// Begins to put every process's own part of numbers in its place in all of them.
  [[nodiscard]] pending begin_exchange_of_parts(at::Tensor numbers) const;
  /// Begins to put the tensor of process `root` in place of all others'.
  [[nodiscard]] pending begin_broadcast(at::Tensor tensor, int root) const;
  /// Begins to send a contiguous tensor to another process, which begins to receive one of the same size and tag.
  [[nodiscard]] pending begin_send(at::Tensor tensor, int to, int tag) const;
  [[nodiscard]] pending begin_receive(at::Tensor tensor, int from, int tag) const;
  /// A smaller group with this process as `rank` of `size`. All processes of this group call it together; those that give the same name meet.
  [[nodiscard]] process_group divided(std::string const& name, int rank, int size) const;

  /// Sums over all processes, number by number: the same bits everywhere, exact where all but one have 0.
  void sum(std::vector<double>& numbers) const;
  /// True if it is true in one of the processes.
  [[nodiscard]] bool any(bool here) const;
  /// The texts of all processes, by rank.
  [[nodiscard]] std::vector<std::string> gather(std::string const& text) const;
  /// Does something in the leading process while the others wait for its end. returns  what it returned
  /// throws  in all processes what it threw in that one
  std::string lead(std::function<std::string()> const& task) const;

  /// Tells all processes that they shall come to an end, whatever they are doing; those that look find out within a moment.
  void ask_to_stop() const;
  /// Whether one of them has been told so. Cheap enough for a loop over tokens.
  [[nodiscard]] bool asked_to_stop() const;

  /// Begins to put every process's own numbers into `all`, by rank.   all: as many as size() times those of own
  [[nodiscard]] pending begin_gather(at::Tensor all, at::Tensor own) const;

  /// Takes part in operations of a kind that another process begins by begin_turn, doing nothing else. May be called whenever this process waits
  /// for the others, by the members above too.
  using partner = std::function<void(std::int64_t what)>;
  static constexpr int partner_bits = 10;  ///< so many partners a group can have in its life
  /// All processes add theirs in the same order.   returns  its number
  [[nodiscard]] std::int64_t add_partner(partner joins) const;
  void remove_partner(std::int64_t number) const;
  /// Waits until it is this process's turn with operations that all take part in, and which the others needn't want: theirs is joined meanwhile.
  /// what: their kind, >= 0 and below 2^52; those of all processes that want the same at once go together
  void begin_turn(std::int64_t partner_number, std::int64_t what) const;
  void end_turn() const;

  /// Since the group met.
  [[nodiscard]] group_traffic traffic() const;

 private:
  class engine;
  template <class Begin>
  [[nodiscard]] pending begin(Begin const& operation) const;
  [[nodiscard]] pending begin_gather_on_host(at::Tensor all, at::Tensor own) const;
  [[nodiscard]] std::int64_t first_wish(std::int64_t own) const;
  void join(std::int64_t wish) const;
  void settle() const;

  launch launch_;
  at::Device device_ = at::kCPU;
  std::shared_ptr<engine> engine_;
};

}  // namespace kedge::llm
