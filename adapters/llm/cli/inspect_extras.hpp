// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/data/reading.hpp>
#include <kedge/llm/model/memory_plan.hpp>

// What `kedge inspect` does only where LibTorch is. inspect_trainer.cpp does it; in a program without LibTorch inspect_formats.cpp has
// none of these flags.

namespace kedge::cli {

/// Adds --optim. Returns the moments of the optimizer that the command line chose, once it is read.
[[nodiscard]] std::function<llm::state_bytes()> declare_optimizer(llm::settings_list& settings);

/// Adds --device. Returns what adds to the facts on a model, once the command line is read, what GPUs there are, and to its problems why they
/// can't be used.
[[nodiscard]] std::function<void(nlohmann::ordered_json& about)> declare_device(llm::settings_list& settings);

/// How a model ranks pairs before any training.
struct pair_scoring {
  std::function<std::size_t()> pairs;  ///< how many to score, once the command line is read; 0: none
  std::function<nlohmann::ordered_json(std::filesystem::path const& data, llm::reading const& how, std::filesystem::path const& model, std::size_t max_length)>
      score;
};

/// Adds --score and the flags of the arithmetic that it takes.
[[nodiscard]] pair_scoring declare_scoring(llm::settings_list& settings);

}  // namespace kedge::cli
