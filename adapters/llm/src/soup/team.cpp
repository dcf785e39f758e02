// SPDX-License-Identifier: Apache-2.0
#include "team.hpp"

#include <algorithm>  // max

namespace kedge::llm {

team::team(unsigned threads) {
  unsigned const wanted = threads == 0 ? std::max(1U, std::thread::hardware_concurrency()) : threads;
  for (std::size_t worker = 1; worker < wanted; ++worker) threads_.emplace_back([this, worker] { loop(worker); });
}

team::~team() {
  {
    std::lock_guard const lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void team::run(std::size_t count, task const& work) {
  work_ = &work;
  count_ = count;
  next_ = 0;
  failure_ = nullptr;
  bool const alone = count < 2 || threads_.empty();
  if (!alone) {
    std::lock_guard const lock(mutex_);
    ++round_;
    busy_ = threads_.size();
  }
  if (!alone) wake_.notify_all();
  take_part(0);
  if (!alone) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return busy_ == 0; });
  }
  if (failure_) std::rethrow_exception(failure_);
}

void team::loop(std::size_t worker) {
  for (std::size_t seen = 0;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return ending_ || round_ != seen; });
      if (ending_) return;
      seen = round_;
    }
    take_part(worker);
    std::lock_guard const lock(mutex_);
    if (--busy_ == 0) done_.notify_one();
  }
}

void team::take_part(std::size_t worker) {
  for (std::size_t index = next_++; index < count_; index = next_++) try {
      (*work_)(index, worker);
    } catch (...) {
      std::lock_guard const lock(mutex_);
      if (!failure_ || index < failed_) {
        failure_ = std::current_exception();
        failed_ = index;
      }
      next_ = count_;  // what has started is finished, nothing else begins
    }
}

}  // namespace kedge::llm
