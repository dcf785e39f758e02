// SPDX-License-Identifier: Apache-2.0
#pragma once

// What bench/gpu.sh needs besides kedge itself, without LibTorch: models and data of random numbers, rates of runs, and the page.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/config.hpp>

namespace kedge::gpu_kit {

using json = nlohmann::ordered_json;

/// A model of random bf16 weights as a Hugging Face folder: config.json as given, and a tokenizer that has a word of its own, " " and four
/// letters, for every id that no byte and no special token takes.
/// throws  llm::error if the config is none of kedge's, or the folder can't be written
void write_model(std::filesystem::path const& config, std::filesystem::path const& folder);

/// The word of an id of such a tokenizer, the space in front included.
[[nodiscard]] std::string word_of(std::int64_t id);
/// The first id with a word.
inline constexpr std::int64_t first_word = 257;

/// Lengths of a data set, in tokens. Each text has between three quarters of them and all.
struct text_lengths {
  std::int64_t pairs = 8, prompt = 128, completion = 128;
};

/// Preference pairs of random words.
void write_pairs(std::filesystem::path const& file, std::int64_t vocabulary, text_lengths const& lengths);

/// What of a data set's operations depends on: means over its pairs. The end token that a completion gets counts.
struct pair_work {
  double tokens = 0;  ///< of a prompt, and its two completions
  double rows = 0;    ///< completion tokens
  double seen = 0;    ///< keys that queries see, the prompt computed once
};
[[nodiscard]] pair_work work_of(std::filesystem::path const& pairs);

/// Operations of a training step on a pair, forward and backward, each parameter 6 a token, or 4 where it is frozen under an adapter; attention 12
/// a head's number and key that is seen. What is computed twice or padded counts once.
[[nodiscard]] double operations_of(llm::transformer_config const& config, pair_work const& work, bool adapter);

/// How a shape is trained where there are so many free bytes, by kedge's own plan: with full moments, with 8-bit ones, or by LoRA, the first that fits.
struct training_way {
  std::string name;                ///< "adamw", "adamw_8bit" or "lora"
  std::vector<std::string> flags;  ///< of kedge dpo
  std::int64_t fixed = 0;          ///< planned bytes whatever is computed at once: states, and what the head takes
  std::int64_t of_token = 0;       ///< planned bytes of a token that is computed
  std::int64_t tokens = 0;         ///< most tokens at once
  std::int64_t kept_logits = 0;    ///< most bytes of the head's probabilities that are kept for the way back
};
[[nodiscard]] training_way way_that_fits(llm::transformer_config const& config, std::int64_t bytes);

/// Seconds of each logged step after the first, by the times in the event file of a run's folder.
[[nodiscard]] std::vector<double> seconds_of_steps(std::filesystem::path const& run);

/// Rows that parts have left in a folder (NAME.jsonl), what became of each (parts.tsv) and the machine (machine.json) as one object.
[[nodiscard]] json gathered(std::filesystem::path const& folder);
/// The page on it.
[[nodiscard]] std::string page_of(json const& all);
/// A line a part, for a terminal.
[[nodiscard]] std::string summary_of(json const& all);

}  // namespace kedge::gpu_kit
