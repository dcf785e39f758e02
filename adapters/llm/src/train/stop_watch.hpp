// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace kedge::llm {

/// Seconds since it was made.
class stop_watch {
 public:
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace kedge::llm
