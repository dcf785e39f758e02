// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <unordered_map>
#include <vector>

namespace kedge::llm {

/// The batches that a step is made of, as TRL cuts it: so many examples each, in the step's order, the last one with what is left. TRL tells the
/// mean over batches of what it measures in each.
class step_batches {
 public:
  /// size: examples of a batch, over all processes
  step_batches(std::span<std::size_t const> which, std::size_t size) : size_(std::max<std::size_t>(1, size)), examples_(which.size()) {
    for (std::size_t place = 0; place < which.size(); ++place) place_.emplace(which[place], place);
  }

  [[nodiscard]] std::size_t count() const { return (examples_ + size_ - 1) / size_; }
  /// Where an example stands in the step, and in which batch that is.
  [[nodiscard]] std::size_t place(std::size_t example) const { return place_.at(example); }
  [[nodiscard]] std::size_t of(std::size_t example) const { return place(example) / size_; }
  /// The numbers of a batch among those of the step, by place.
  [[nodiscard]] std::span<double const> part(std::span<double const> of_step, std::size_t batch) const {
    return of_step.subspan(batch * size_, std::min(size_, examples_ - batch * size_));
  }

 private:
  std::size_t size_, examples_;
  std::unordered_map<std::size_t, std::size_t> place_;
};

/// How many tokens, or examples, each batch has, and what one of them counts in the mean over batches of their means.
class batch_shares {
 public:
  explicit batch_shares(std::size_t batches) : counts_(batches) {}

  void add(std::size_t batch, std::size_t count) { counts_[batch] += count; }
  [[nodiscard]] bool has(std::size_t batch) const { return counts_[batch] > 0; }
  /// Batches that have one.
  [[nodiscard]] std::size_t batches() const {
    return static_cast<std::size_t>(std::count_if(counts_.begin(), counts_.end(), [](std::size_t count) { return count > 0; }));
  }
  /// Over all batches: one without any counts as 0.   requires has(batch)
  [[nodiscard]] double of(std::size_t batch) const { return of(batch, counts_.size()); }
  /// Over so many batches.   requires has(batch)
  [[nodiscard]] double of(std::size_t batch, std::size_t batches) const { return 1 / (static_cast<double>(batches) * static_cast<double>(counts_[batch])); }

 private:
  std::vector<std::size_t> counts_;
};

}  // namespace kedge::llm
