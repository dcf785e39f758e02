// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace kedge::llm {

/// Threads that walk through a computation of many short phases together. A barrier costs about a microsecond, and no
/// thread sleeps within a run: at::parallel_for would start and join a region for each phase, and it is serial in sources
/// that are not compiled with the OpenMP of LibTorch.
class thread_team {
 public:
  explicit thread_team(int threads);
  thread_team(thread_team const&) = delete;
  thread_team& operator=(thread_team const&) = delete;
  ~thread_team();

  [[nodiscard]] int size() const { return size_; }

  /// Calls job on every thread and returns when all are done. The job must not throw.
  void run(std::function<void()> const& job);

  /// The same on this thread alone, where there is too little to do for two: waking a thread costs more than a small step.
  void run_alone(std::function<void()> const& job) {
    int const all = std::exchange(active_, 1);
    job();
    active_ = all;
    next_.store(0, std::memory_order_relaxed);
  }
  /// run, or run_alone for less than about a tenth of a millisecond of work.
  void run_for(std::size_t multiply_adds, std::function<void()> const& job) {
    constexpr std::size_t worth_waking = 4'000'000;
    multiply_adds < worth_waking ? run_alone(job) : run(job);
  }

  /// Within run: nobody goes on before everybody is here.
  void barrier();

  /// Within run: f(i) for every i < n, runs of `chunk` on the thread that comes first, then a barrier.
  template <class F>
  void each(std::size_t n, std::size_t chunk, F const& f) {
    for (std::size_t begin = take(chunk); begin < n; begin = take(chunk))
      for (std::size_t i = begin; i < std::min(n, begin + chunk); ++i) f(i);
    barrier();
  }

 private:
  std::size_t take(std::size_t chunk) { return next_.fetch_add(chunk, std::memory_order_relaxed); }
  void serve();
  void wait_for_change(std::atomic<unsigned> const& value, unsigned old) const;

  int size_;
  int active_;  ///< threads that a barrier waits for
  std::function<void()> const* job_ = nullptr;
  std::atomic<unsigned> started_{0}, generation_{0};
  std::atomic<int> arrived_{0};
  std::atomic<std::size_t> next_{0};  ///< reset by the last to arrive at a barrier
  std::atomic<bool> quit_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace kedge::llm
