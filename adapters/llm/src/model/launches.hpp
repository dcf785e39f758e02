// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <vector>

#include <ATen/record_function.h>

#include <kedge/adapters/torch.hpp>

namespace kedge::llm {

/// As long as it lives, what is done is one launch, or so many, of a kernel of this name that reads or writes these tensors. Whoever watches by
/// at::RecordFunction is told, and so it stands in traces. Operations within it are its own.
class launch_mark {
 public:
  launch_mark(char const* name, std::initializer_list<at::Tensor> touched, std::int64_t launches = 1) : mark_(at::RecordScope::USER_SCOPE) {
    if (!mark_.isActive()) return;
    told_.emplace_back(launches);
    for (at::Tensor const& x : touched)
      if (x.defined()) told_.emplace_back(x);
    mark_.before(name, c10::ArrayRef<c10::IValue const>(told_.data(), told_.size()));
  }
  launch_mark(launch_mark const&) = delete;
  launch_mark& operator=(launch_mark const&) = delete;

 private:
  std::vector<c10::IValue> told_;
  at::RecordFunction mark_;
};

/// As long as it lives, what is launched is a part's of this name.
struct section : launch_mark {
  explicit section(char const* name) : launch_mark(name, {}, 0) {}
};

}  // namespace kedge::llm
