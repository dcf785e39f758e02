// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace kedge::llm {

/// Threads that work together on what the caller asks for; the caller is one of them. A thread that waits polls for a tenth of a millisecond, which is
/// how long the next piece of a computation takes to come, and then sleeps: on a busy machine the thread waited for may need the processor.
class thread_pool {
 public:
  /// A task and the number of the thread that runs it, from 0 to size() − 1.
  using task = std::function<void(std::size_t index, std::size_t worker)>;

  /// threads: 0 for as many as the machine has processors
  explicit thread_pool(unsigned threads = 0);
  thread_pool(thread_pool const&) = delete;
  thread_pool& operator=(thread_pool const&) = delete;
  ~thread_pool();

  [[nodiscard]] std::size_t size() const noexcept { return helpers_.size() + 1; }

  /// Tasks 0 to count − 1, begun in that order as threads become free; returns when all are done. A task that throws keeps new ones from starting;
  /// what the lowest of those that threw has thrown is thrown again. Where the pool is at work already, the caller runs all of them.
  void run(std::size_t count, task const& work);

  /// f(begin, end) over parts of 0 … n − 1, each of at least `grain`, at most one a thread: what is worth less than two grains stays on this
  /// thread. Parts differ with the number of threads, so that no result may depend on where they are cut. f must not throw.
  template <class F>
  void divide(std::size_t n, std::size_t grain, F const& f) {
    std::size_t const pieces = std::min(n / std::max<std::size_t>(1, grain), size());
    if (pieces < 2) {
      if (n > 0) f(std::size_t{0}, n);
      return;
    }
    run(pieces, [&](std::size_t i, std::size_t) { f(n * i / pieces, n * (i + 1) / pieces); });
  }

  /// A computation of many short phases: calls job on every thread, or on this one alone where all of it is less than about a tenth of a
  /// millisecond of work, and returns when all are done. Within it, each() is a phase. The job must not throw.
  void walk(std::size_t multiply_adds, std::function<void()> const& job);

  /// Within walk: f(i) for every i < n < 2^24; nobody goes on before all are done. Every thread begins with a range of its own, the same in every
  /// phase of n, so that what it wrote and what it reads ahead is near. Idle threads take from the end of another thread's range.
  template <class F>
  void each(std::size_t n, F const& f) {
    if (walkers_ == 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
      return;
    }
    auto const all = static_cast<std::size_t>(walkers_), mine = index_;
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

  void together(std::function<void()> const& job);
  void take_tasks(std::size_t count, task const& work);
  void barrier();
  /// The first who comes in a phase writes the range of a thread, its owner or not.
  void open(std::size_t whose, unsigned phase, std::size_t n);
  /// The next of a range from its front or back, or none.
  std::optional<std::size_t> take(std::size_t whose, bool front);
  void serve(std::size_t index);

  std::mutex at_work_;
  int walkers_ = 1;  ///< threads that a barrier waits for
  std::function<void()> const* job_ = nullptr;
  std::atomic<unsigned> started_{0}, generation_{0};
  std::atomic<int> arrived_{0};
  std::unique_ptr<share[]> shares_;
  std::atomic<bool> quit_{false};

  std::atomic<std::size_t> next_{0};
  std::mutex failing_;
  std::size_t failed_ = 0;
  std::exception_ptr failure_;

  std::vector<std::thread> helpers_;
  static inline thread_local std::size_t index_ = 0;                 ///< of a thread within the pool it works for
  static inline thread_local thread_pool const* works_for_ = nullptr;
};

/// The pool of the model's computations: as many threads as the machine has processors until use_threads says otherwise.
[[nodiscard]] thread_pool& shared_pool();

/// From now on. A pool that somebody holds stays. threads: 0 for as many as the machine has processors
void use_threads(unsigned threads);

}  // namespace kedge::llm
