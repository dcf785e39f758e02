// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/generation.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// What a process draws of the samples of some prompts: all of a prompt's, or where there are fewer prompts than processes, equal parts of
/// them. Dealt out by tokens, so that all are done at about the same time; a sample is the same whoever draws it.
struct dealt_samples {
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<sample_number> numbers;  ///< of each of them, for sampling_settings
  std::size_t samples = 0;             ///< of each of them
  std::size_t of_prompt = 0;           ///< samples of a prompt in all processes

  /// Which of all samples, prompt by prompt, a completion of these prompts is.
  [[nodiscard]] std::size_t place(sampled_completion const& one) const { return numbers[one.prompt].prompt * of_prompt + numbers[one.prompt].sample + one.sample; }
};

/// first: the number of the first prompt; the others follow
/// longest: tokens that a completion may take
[[nodiscard]] dealt_samples deal(process_group const& group, std::span<std::vector<std::int32_t> const> prompts, std::size_t samples, std::size_t longest,
                                 std::size_t first = 0);

/// An object of each process, by rank, in all of them. Numbers stay as they are, NaN and infinity too; texts needn't be UTF-8.
[[nodiscard]] std::vector<nlohmann::json> gather(process_group const& group, nlohmann::json const& mine);

}  // namespace kedge::llm
