// SPDX-License-Identifier: Apache-2.0
#include "thread_team.hpp"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kedge::llm {
namespace {

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

thread_team::thread_team(int threads) : size_(std::max(1, threads)), active_(size_) {
  for (int i = 1; i < size_; ++i) helpers_.emplace_back([this] { serve(); });
}

thread_team::~thread_team() {
  quit_ = true;
  started_.fetch_add(1);
  started_.notify_all();
  for (auto& helper : helpers_) helper.join();
}

void thread_team::run(std::function<void()> const& job) {
  job_ = &job;
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  job();
  barrier();
}

// Spins for some microseconds, then lets others have the core: on a busy machine the thread waited for may need it.
void thread_team::wait_for_change(std::atomic<unsigned> const& value, unsigned old) const {
  for (int i = 0; value.load(std::memory_order_acquire) == old; ++i) {
    if (i < 500)
      relax();
    else
      std::this_thread::yield();
  }
}

void thread_team::barrier() {
  unsigned const mine = generation_.load(std::memory_order_acquire);
  int const all = active_;  // read before arriving: once all are here, it may change
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < all) return wait_for_change(generation_, mine);
  arrived_.store(0, std::memory_order_relaxed);
  next_.store(0, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
}

void thread_team::serve() {
  for (unsigned seen = 0;; ++seen) {
    started_.wait(seen, std::memory_order_acquire);
    if (quit_) return;
    (*job_)();
    barrier();
  }
}

}  // namespace kedge::llm
