// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>  // min, max
#include <atomic>     // atomic
#include <cstddef>    // size_t
#include <exception>  // exception_ptr
#include <optional>   // optional
#include <thread>     // thread
#include <vector>     // vector

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {

/// f(0), …, f(n − 1) on several threads, results in order. Values for which f throws kedge::llm::error are left out and
/// counted if `skip`, else the error of the lowest index is thrown, whatever the number of threads.
template <class F>
auto parallel_map(std::size_t n, unsigned threads, bool skip, std::size_t& skipped, F const& f) {
  using result = decltype(f(std::size_t{0}));
  std::vector<std::optional<result>> results(n);
  std::vector<std::exception_ptr> errors(n);
  std::atomic<std::size_t> next{0};
  auto const work = [&] {
    constexpr std::size_t chunk = 8;
    for (std::size_t begin = next.fetch_add(chunk); begin < n; begin = next.fetch_add(chunk))
      for (std::size_t i = begin; i < std::min(n, begin + chunk); ++i) try {
          results[i].emplace(f(i));
        } catch (...) {
          errors[i] = std::current_exception();
        }
  };
  std::size_t const wanted = threads == 0 ? std::max(1U, std::thread::hardware_concurrency()) : threads;
  std::vector<std::thread> helpers;
  for (std::size_t t = 1; t < std::min(wanted, n / 16 + 1); ++t) helpers.emplace_back(work);
  work();
  for (auto& helper : helpers) helper.join();

  std::vector<result> out;
  out.reserve(n);
  skipped = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (results[i]) {
      out.push_back(std::move(*results[i]));
      continue;
    }
    try {
      std::rethrow_exception(errors[i]);
    } catch (error const&) {
      if (!skip) throw;
      ++skipped;
    }
  }
  return out;
}

}  // namespace kedge::llm
