// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

#include <kedge/llm/files/error.hpp>

namespace kedge::llm {

/// Learning rate over the steps of one round, as in transformers: warm-up from 0, then constant, linear or cosine to 0.
struct lr_schedule {
  std::string type = "linear";  ///< linear | cosine | constant | constant_with_warmup
  double peak = 1e-6;
  std::size_t warmup_steps = 0;
  std::size_t total_steps = 1;

  /// Rate of step k = 0, 1, …
  [[nodiscard]] double at(std::size_t k) const {
    auto const step = static_cast<double>(k), warmup = static_cast<double>(warmup_steps), total = static_cast<double>(total_steps);
    if (type == "constant") return peak;
    if (k < warmup_steps) return peak * step / std::max(1.0, warmup);
    if (type == "constant_with_warmup") return peak;
    double const progress = (step - warmup) / std::max(1.0, total - warmup);
    if (type == "linear") return peak * std::max(0.0, 1 - progress);
    if (type == "cosine") return peak * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    throw error("--lr_scheduler_type " + type + " is not known; use linear, cosine, constant or constant_with_warmup");
  }
};

}  // namespace kedge::llm
