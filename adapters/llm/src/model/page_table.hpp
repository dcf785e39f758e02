// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "decoder.hpp"

namespace kedge::llm {

/// Counts who uses which page of keys and values; free pages are used again before new ones are made.
class page_pool {
 public:
  [[nodiscard]] std::int32_t take() {
    if (free_.empty()) {
      users_.push_back(1);
      return static_cast<std::int32_t>(users_.size()) - 1;
    }
    std::int32_t const page = free_.back();
    free_.pop_back();
    users_[static_cast<std::size_t>(page)] = 1;
    return page;
  }
  void share(std::int32_t page) { ++users_[static_cast<std::size_t>(page)]; }
  void release(std::int32_t page) {
    if (--users_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
  }
  /// Pages ever taken.
  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(users_.size()); }

 private:
  std::vector<std::int32_t> users_, free_;
};

/// The pages of one sequence, given back when it ends.
class page_table {
 public:
  explicit page_table(page_pool& pool) : pool_(&pool) {}
  page_table(page_table&& other) noexcept
      : pool_(other.pool_), pages_(std::move(other.pages_)), length_(std::exchange(other.length_, 0)) {
    other.pages_.clear();
  }
  page_table& operator=(page_table&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(pages_, other.pages_);
    std::swap(length_, other.length_);
    return *this;
  }
  ~page_table() {
    for (std::int32_t const page : pages_) pool_->release(page);
  }

  /// Makes room for one position more, and returns it.
  std::int64_t append() {
    if (length_ == static_cast<std::int64_t>(pages_.size()) * page_tokens) pages_.push_back(pool_->take());
    return length_++;
  }

  /// A sequence that goes on from this one: whole pages are shared, a page begun is copied by copy(from, to).
  template <class Copy>
  [[nodiscard]] page_table fork(Copy const& copy) const {
    page_table other(*pool_);
    other.length_ = length_;
    auto const whole = static_cast<std::size_t>(length_ / page_tokens);
    for (std::size_t i = 0; i < whole; ++i) {
      pool_->share(pages_[i]);
      other.pages_.push_back(pages_[i]);
    }
    if (whole < pages_.size()) {
      other.pages_.push_back(pool_->take());
      copy(pages_[whole], other.pages_.back());
    }
    return other;
  }

  [[nodiscard]] std::vector<std::int32_t> const& pages() const { return pages_; }
  [[nodiscard]] std::int64_t length() const { return length_; }

 private:
  page_pool* pool_;
  std::vector<std::int32_t> pages_;
  std::int64_t length_ = 0;
};

}  // namespace kedge::llm
