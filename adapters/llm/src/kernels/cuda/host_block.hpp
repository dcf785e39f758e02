// SPDX-License-Identifier: Apache-2.0
#pragma once

// Blocks of threads of this host: one thread that does all in turn, or several at once, with which a missing sync() is a race that a detector sees.

#include <barrier>
#include <cstring>
#include <thread>
#include <type_traits>
#include <vector>

#include "block.hpp"

namespace kedge::llm::gpu {

/// What the threads of a block have in common.
struct host_team {
  static constexpr std::size_t most_bytes = 64;  // of what is reduced

  host_team(int threads, std::size_t shared_bytes)
      : barrier(threads), shared(shared_bytes / sizeof(std::max_align_t) + 1), reduced(2 * static_cast<std::size_t>(threads) * most_bytes) {}

  std::barrier<> barrier;
  std::vector<std::max_align_t> shared;
  std::vector<std::byte> reduced;
};

class host_block {
 public:
  host_block(host_team& team, int thread, int threads, std::int64_t blocks) : team_(team), thread_(thread), threads_(threads), blocks_(blocks) {}

  [[nodiscard]] std::int64_t index() const { return index_; }
  [[nodiscard]] std::int64_t blocks() const { return blocks_; }
  [[nodiscard]] int thread() const { return thread_; }
  [[nodiscard]] int threads() const { return threads_; }
  void sync() {
    if (threads_ > 1) team_.barrier.arrive_and_wait();
  }
  template <class T>
  [[nodiscard]] T* shared() {
    return reinterpret_cast<T*>(team_.shared.data());
  }

  template <class T, class F>
  [[nodiscard]] T reduced(T const& x, F const& f) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= host_team::most_bytes);
    if (threads_ == 1) return x;
    // Of two places in turn: nobody writes what another still reads.
    turn_ = 1 - turn_;
    auto const at = [&](int thread) { return team_.reduced.data() + static_cast<std::size_t>(turn_ * threads_ + thread) * host_team::most_bytes; };
    std::memcpy(at(thread_), &x, sizeof x);
    sync();
    T all, one;
    std::memcpy(&all, at(0), sizeof all);
    for (int i = 1; i < threads_; ++i) {
      std::memcpy(&one, at(i), sizeof one);
      all = f(all, one);
    }
    return all;
  }

  /// `run` of every block in turn.
  template <class Body>
  void run_all(typename Body::arguments const& arguments) {
    for (index_ = 0; index_ < blocks_; ++index_) {
      Body::run(*this, arguments);
      sync();
    }
  }

 private:
  host_team& team_;
  int thread_, threads_;
  std::int64_t blocks_, index_ = 0;
  int turn_ = 0;
};

/// A device of `threads` threads a block, one block after the other.
template <int threads>
struct host_device {
  template <class Body>
  static void launch(gpu_stream, typename Body::arguments const& arguments) {
    gpu_grid const grid = Body::grid(arguments);
    if (grid.blocks == 0) return;
    host_team team(threads, grid.shared_bytes);
    auto const work = [&](int thread) { host_block(team, thread, threads, grid.blocks).run_all<Body>(arguments); };
    std::vector<std::jthread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
    work(0);
  }
};

}  // namespace kedge::llm::gpu
