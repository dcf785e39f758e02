// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
  }
  /// run, or run_alone for less than about a tenth of a millisecond of work.
  void run_for(std::size_t multiply_adds, std::function<void()> const& job) {
    constexpr std::size_t worth_waking = 4'000'000;
    multiply_adds < worth_waking ? run_alone(job) : run(job);
  }

  /// Within run: nobody goes on before everybody is here.
  void barrier();

  /// Within run: f(i) for every i < n < 2^24, then a barrier. Every thread begins with a range of its own, the same in every
  /// phase of n, so that what it wrote and what it reads ahead is near; who is done takes from the ends of the others.
  template <class F>
  void each(std::size_t n, F const& f) {
    if (active_ == 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
      return;
    }
    auto const all = static_cast<std::size_t>(active_), mine = index_;
    unsigned const phase = generation_.load(std::memory_order_acquire);
    open(mine, phase, n);
    while (auto const i = take(mine, true)) f(*i);
    for (std::size_t next = 1; next < all; ++next) {
      std::size_t const other = (mine + next) % all;
      open(other, phase, n);
      while (auto const i = take(other, false)) f(*i);
    }
    barrier();
  }

 private:
  /// What is left of a thread's range: 16 bits of the phase it was opened in, 24 of its begin, 24 of its end. Before the first: nothing.
  struct alignas(64) share {
    std::atomic<std::uint64_t> left{~std::uint64_t{0}};
  };

  /// The first who comes in a phase writes the range of a thread, its owner or not.
  void open(std::size_t whose, unsigned phase, std::size_t n);
  /// The next of a range from its front or back, or none.
  std::optional<std::size_t> take(std::size_t whose, bool front);
  void serve(std::size_t index);
  void wait_for_change(std::atomic<unsigned> const& value, unsigned old) const;

  int size_;
  int active_;  ///< threads that a barrier waits for
  std::function<void()> const* job_ = nullptr;
  std::atomic<unsigned> started_{0}, generation_{0};
  std::atomic<int> arrived_{0};
  std::unique_ptr<share[]> shares_;
  std::atomic<bool> quit_{false};
  std::vector<std::thread> helpers_;
  static inline thread_local std::size_t index_ = 0;  ///< of a helper within its team; 0 for whoever calls run
};

}  // namespace kedge::llm
