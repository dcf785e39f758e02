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

thread_team::thread_team(int threads)
    : size_(std::max(1, threads)), active_(size_), shares_(std::make_unique<share[]>(static_cast<std::size_t>(size_))) {
  for (int i = 1; i < size_; ++i) helpers_.emplace_back([this, i] { serve(static_cast<std::size_t>(i)); });
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
  generation_.fetch_add(1, std::memory_order_release);
}

void thread_team::open(std::size_t whose, unsigned phase, std::size_t n) {
  auto const all = static_cast<std::size_t>(active_);
  std::uint64_t const tag = phase & 0xffff;
  std::uint64_t seen = shares_[whose].left.load(std::memory_order_acquire);
  if (seen >> 48 == tag) return;
  // Should another have been faster, its range is the same.
  shares_[whose].left.compare_exchange_strong(seen, tag << 48 | n * whose / all << 24 | n * (whose + 1) / all, std::memory_order_acq_rel);
}

std::optional<std::size_t> thread_team::take(std::size_t whose, bool front) {
  constexpr std::uint64_t number = (1U << 24) - 1, one_begin = 1U << 24;
  std::atomic<std::uint64_t>& left = shares_[whose].left;
  std::uint64_t seen = left.load(std::memory_order_acquire);
  for (;;) {
    std::uint64_t const begin = seen >> 24 & number, end = seen & number;
    if (begin >= end) return std::nullopt;
    if (left.compare_exchange_weak(seen, front ? seen + one_begin : seen - 1, std::memory_order_acq_rel)) return front ? begin : end - 1;
  }
}

void thread_team::serve(std::size_t index) {
  index_ = index;
  for (unsigned seen = 0;; ++seen) {
    started_.wait(seen, std::memory_order_acquire);
    if (quit_) return;
    (*job_)();
    barrier();
  }
}

}  // namespace kedge::llm
