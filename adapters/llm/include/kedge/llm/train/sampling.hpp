// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/data/reading.hpp>
#include <kedge/llm/scale/launch.hpp>
#include <kedge/llm/train/device_settings.hpp>

namespace kedge::llm {

/// What `kedge generate` is asked. What is left open is taken from the model's generation_config.json, and where that says
/// nothing: temperature 1, no truncation. Its rules (repetition_penalty, suppress_tokens and so on) apply as in transformers' generate.
struct generate_settings {
  std::filesystem::path model, prompts;
  device_settings compute;
  std::size_t num_samples = 1;
  std::optional<std::size_t> max_new_tokens;  ///< none: the model's, within its max_length; else 256
  std::optional<double> temperature, top_p, min_p;
  std::optional<std::size_t> top_k;
  std::uint64_t seed = 42;
  std::size_t batch_size = 48;
  std::size_t max_samples = 0;   ///< prompts; 0: all
  data_format dataset_format = data_format::automatic;
  bool ignore_eos = false;       ///< no stop tokens: every completion has max_new_tokens
  bool logprobs = false;         ///< write "logp" and "logp_tokens" too
  bool skip_bad_lines = false;
  bool quiet = false;
  screen tells{};                ///< progress, and how many lines were skipped
  launch where{};                ///< which of several processes this is; they divide the prompts
  std::size_t ddp_timeout = 1800;

  /// How the prompts are read.
  [[nodiscard]] reading reads() const { return {.format = dataset_format, .most = max_samples, .skip_bad_lines = skip_bad_lines}; }
};

/// What a run of `kedge generate` did.
struct generate_report {
  std::size_t prompts = 0, samples = 0, tokens = 0;
  bool interrupted = false;
  double seconds = 0;  ///< of generation; loading and tokenising are not counted
};

/// Samples completions, one JSON object a line, prompts in order and the samples of a prompt in a row, each written as soon
/// as it and all before it are done: {"prompt", "completion", "tokens", "finished"}, tokens being how many were sampled.
/// Completions are texts without special tokens. The model stops at the eos_token_id of its generation_config.json or
/// config.json. `write` gets whole lines; of several processes that of the leading one gets all of them.
/// throws  error naming file and line of a prompt that can't be used
generate_report generate_completions(generate_settings const& settings, std::function<void(std::string_view)> const& write);

}  // namespace kedge::llm
