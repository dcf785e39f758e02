// SPDX-License-Identifier: Apache-2.0
#include "code_point_set.hpp"

#include <algorithm>  // sort, max
#include <cstddef>    // size_t
#include <utility>    // pair

namespace kedge::llm::text {

code_point_set::code_point_set(std::vector<char32_t> ranges) {
  std::vector<std::pair<char32_t, char32_t>> sorted;
  for (std::size_t i = 0; i + 1 < ranges.size(); i += 2) sorted.emplace_back(ranges[i], ranges[i + 1]);
  std::sort(sorted.begin(), sorted.end());
  for (auto const& [first, last] : sorted) {
    if (!ranges_.empty() && first <= ranges_.back() + 1)
      ranges_.back() = std::max(ranges_.back(), last);
    else
      ranges_.insert(ranges_.end(), {first, last});
  }
}

void code_point_set::add(code_point_set const& other) {
  std::vector<char32_t> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  *this = code_point_set(std::move(both));
}

code_point_set code_point_set::complement() const {
  std::vector<char32_t> out;
  char32_t next = 0;
  for (std::size_t i = 0; i < ranges_.size(); i += 2) {
    if (ranges_[i] > next) out.insert(out.end(), {next, ranges_[i] - 1});
    next = ranges_[i + 1] + 1;
  }
  if (next < 0x110000) out.insert(out.end(), {next, 0x10FFFF});
  return code_point_set(std::move(out));
}

code_point_set code_point_set::intersection(code_point_set const& other) const {
  code_point_set outside = complement();
  outside.add(other.complement());
  return outside.complement();
}

bool code_point_set::contains(char32_t value) const {
  for (std::size_t i = 0; i < ranges_.size(); i += 2)
    if (value >= ranges_[i] && value <= ranges_[i + 1]) return true;
  return false;
}

}  // namespace kedge::llm::text
