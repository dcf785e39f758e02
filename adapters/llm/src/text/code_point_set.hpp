// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>  // vector

namespace kedge::llm::text {

/// A set of code points as sorted, disjoint ranges [first, last], first₀, last₀, first₁, …
class code_point_set {
 public:
  code_point_set() = default;
  /// `ranges` in any order, overlapping or not.
  explicit code_point_set(std::vector<char32_t> ranges);

  void add(char32_t first, char32_t last) { add(code_point_set({first, last})); }
  void add(code_point_set const& other);
  [[nodiscard]] code_point_set complement() const;
  [[nodiscard]] code_point_set intersection(code_point_set const& other) const;
  [[nodiscard]] bool contains(char32_t value) const;
  [[nodiscard]] std::vector<char32_t> const& ranges() const { return ranges_; }

 private:
  std::vector<char32_t> ranges_;
};

}  // namespace kedge::llm::text
