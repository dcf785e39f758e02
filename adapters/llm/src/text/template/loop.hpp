// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>  // max
#include <string>     // string
#include <vector>     // vector

#include "evaluator.hpp"

namespace kedge::llm::text::jinja {

/// The special variable `loop`.
class loop_object final : public object, public std::enable_shared_from_this<loop_object> {
 public:
  loop_object(std::vector<value> over, std::size_t nesting) : items(std::move(over)), level(nesting) {
    for (value const& v : items) held_ = std::max(held_, deeper(depth_of(v)));
  }

  std::vector<value> items;
  std::size_t at = 0;
  std::size_t level;  ///< of recursion
  statement const* recursive = nullptr;  ///< set for `recursive` loops
  scope* closure = nullptr;

  [[nodiscard]] std::string_view kind() const override { return "LoopContext"; }
  [[nodiscard]] bool callable() const override { return true; }
  [[nodiscard]] value attribute(std::string const& name) const override;
  value call(evaluator& e, arguments const& a) override;
  [[nodiscard]] int depth() const override { return held_; }

 private:
  int held_ = 0;
  mutable value last_changed_;
  mutable bool has_changed_ = false;
};

}  // namespace kedge::llm::text::jinja
