// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.hpp"

#include <algorithm>
#include <chrono>

namespace kedge::llm {
namespace {

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

void wait_for_change(std::atomic<unsigned> const& value, unsigned old) {
  using clock = std::chrono::steady_clock;
  constexpr auto patience = std::chrono::microseconds(100);
  auto const since = clock::now();
  do
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      relax();
    }
  while (clock::now() - since < patience);
  value.wait(old, std::memory_order_acquire);
}

unsigned processors() { return std::max(1U, std::thread::hardware_concurrency()); }

}  // namespace

thread_pool::thread_pool(unsigned threads) {
  unsigned const all = threads == 0 ? processors() : threads;
  shares_ = std::make_unique<share[]>(all);
  for (std::size_t i = 1; i < all; ++i) helpers_.emplace_back([this, i] { serve(i); });
}

thread_pool::~thread_pool() {
  quit_ = true;
  started_.fetch_add(1);
  started_.notify_all();
  for (auto& helper : helpers_) helper.join();
}

// Calls job on every thread; the caller holds at_work_.
void thread_pool::together(std::function<void()> const& job) {
  auto const outer_pool = std::exchange(works_for_, this);
  auto const outer_index = std::exchange(index_, 0);
  job_ = &job;
  walkers_ = static_cast<int>(size());
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  job();
  barrier();
  works_for_ = outer_pool;
  index_ = outer_index;
}

void thread_pool::run(std::size_t count, task const& work) {
  std::unique_lock lock(at_work_, std::defer_lock);
  if (count < 2 || size() == 1 || works_for_ == this || !lock.try_lock()) {
    std::size_t const worker = works_for_ == this ? index_ : 0;
    for (std::size_t i = 0; i < count; ++i) work(i, worker);
    return;
  }
  next_ = 0;
  failure_ = nullptr;
  together([&] { take_tasks(count, work); });
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void thread_pool::take_tasks(std::size_t count, task const& work) {
  for (std::size_t i = next_++; i < count; i = next_++) try {
      work(i, index_);
    } catch (...) {
      std::lock_guard const lock(failing_);
      if (!failure_ || i < failed_) {
        failure_ = std::current_exception();
        failed_ = i;
      }
      next_ = count;  // what has started is finished, nothing else begins
    }
}

void thread_pool::walk(std::size_t multiply_adds, std::function<void()> const& job) {
  constexpr std::size_t worth_waking = 4'000'000;
  std::lock_guard const lock(at_work_);
  if (size() > 1 && multiply_adds >= worth_waking) return together(job);
  walkers_ = 1;
  job();
}

void thread_pool::barrier() {
  unsigned const mine = generation_.load(std::memory_order_acquire);
  int const all = walkers_;  // read before arriving: once all are here, it may change
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < all) return wait_for_change(generation_, mine);
  arrived_.store(0, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void thread_pool::open(std::size_t whose, unsigned phase, std::size_t n) {
  auto const all = static_cast<std::size_t>(walkers_);
  std::uint64_t const tag = phase & 0xffff;
  std::uint64_t seen = shares_[whose].left.load(std::memory_order_acquire);
  if (seen >> 48 == tag) return;
  // Should another have been faster, its range is the same.
  shares_[whose].left.compare_exchange_strong(seen, tag << 48 | n * whose / all << 24 | n * (whose + 1) / all, std::memory_order_acq_rel);
}

std::optional<std::size_t> thread_pool::take(std::size_t whose, bool front) {
  constexpr std::uint64_t number = (1U << 24) - 1, one_begin = 1U << 24;
  std::atomic<std::uint64_t>& left = shares_[whose].left;
  std::uint64_t seen = left.load(std::memory_order_acquire);
  for (;;) {
    std::uint64_t const begin = seen >> 24 & number, end = seen & number;
    if (begin >= end) return std::nullopt;
    if (left.compare_exchange_weak(seen, front ? seen + one_begin : seen - 1, std::memory_order_acq_rel)) return front ? begin : end - 1;
  }
}

void thread_pool::serve(std::size_t index) {
  index_ = index;
  works_for_ = this;
  for (unsigned seen = 0;; ++seen) {
    wait_for_change(started_, seen);
    if (quit_) return;
    (*job_)();
    barrier();
  }
}

namespace {

// One pool for each number of threads that was asked for: who has one may keep it while another is used.
struct pools {
  std::mutex mutex;
  std::vector<std::unique_ptr<thread_pool>> all;
  thread_pool* used = nullptr;

  thread_pool& use(unsigned threads) {
    auto const found = std::find_if(all.begin(), all.end(), [&](auto const& pool) { return pool->size() == threads; });
    used = found != all.end() ? found->get() : all.emplace_back(std::make_unique<thread_pool>(threads)).get();
    return *used;
  }
};

pools& known_pools() {
  static pools known;
  return known;
}

}  // namespace

thread_pool& shared_pool() {
  pools& known = known_pools();
  std::lock_guard const lock(known.mutex);
  return known.used ? *known.used : known.use(processors());
}

void use_threads(unsigned threads) {
  pools& known = known_pools();
  std::lock_guard const lock(known.mutex);
  known.use(threads == 0 ? processors() : threads);
}

}  // namespace kedge::llm
