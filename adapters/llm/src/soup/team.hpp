// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>              // atomic
#include <condition_variable>  // condition_variable
#include <cstddef>             // size_t
#include <exception>           // exception_ptr
#include <functional>          // function
#include <mutex>               // mutex
#include <thread>              // thread
#include <vector>              // vector

namespace kedge::llm {

/// Threads that work through numbered tasks together. The caller is one of them.
class team {
 public:
  /// A task and the number of the thread that runs it, from 0 to size() − 1.
  using task = std::function<void(std::size_t index, std::size_t worker)>;

  explicit team(unsigned threads);
  team(team const&) = delete;
  team& operator=(team const&) = delete;
  ~team();

  std::size_t size() const noexcept { return threads_.size() + 1; }

  /// Runs tasks 0 to count − 1 and returns when all are done. A task that throws keeps new ones from starting; what the
  /// lowest of those that threw has thrown is thrown again.
  void run(std::size_t count, task const& work);

 private:
  void loop(std::size_t worker);
  void take_part(std::size_t worker);

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::size_t round_ = 0, busy_ = 0;
  bool ending_ = false;

  task const* work_ = nullptr;
  std::size_t count_ = 0;
  std::atomic<std::size_t> next_{0};
  std::size_t failed_ = 0;
  std::exception_ptr failure_;

  std::vector<std::thread> threads_;
};

}  // namespace kedge::llm
