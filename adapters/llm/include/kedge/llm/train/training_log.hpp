// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// What one optimiser step did. Names as TRL logs them.
struct step_report {
  std::size_t round = 1;                          ///< from 1
  std::size_t step = 0, steps = 0;                ///< in the round, from 1
  double epoch = 0;
  double loss = 0, grad_norm = 0, learning_rate = 0;
  double rewards_chosen = 0, rewards_rejected = 0, accuracy = 0;
  double logps_chosen = 0, logps_rejected = 0;
  std::size_t pairs = 0, tokens = 0, padded_like_tokens = 0;
};

/// metrics.jsonl, averaged over logging_steps as TRL does, and progress on stderr: a bar on a terminal, lines in a pipe.
class training_log {
 public:
  training_log(std::filesystem::path const& file, std::size_t logging_steps, std::size_t all_steps, bool quiet);

  void step(step_report const& report);
  /// A line of its own, such as an evaluation.
  void record(nlohmann::ordered_json const& line);
  /// A sentence on stderr, above the bar.
  void say(std::string const& sentence);
  void finish();

  /// Window averages and position in the file, for a resume; restoring cuts the file where the checkpoint stood.
  [[nodiscard]] nlohmann::ordered_json save();
  void restore(nlohmann::ordered_json const& saved);

  [[nodiscard]] std::size_t global_step() const { return global_step_; }
  [[nodiscard]] std::size_t trained_pairs() const { return pairs_; }
  [[nodiscard]] std::size_t useful_tokens() const { return tokens_; }

 private:
  void write_window(step_report const& last);
  void draw(step_report const& last);
  void clear_bar();

  std::filesystem::path path_;
  std::ofstream file_;
  std::size_t logging_steps_, all_steps_;
  bool quiet_, terminal_, bar_drawn_ = false;
  std::size_t global_step_ = 0, steps_at_start_ = 0, pairs_ = 0, tokens_ = 0, padded_like_tokens_ = 0;
  std::size_t in_window_ = 0;
  step_report window_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// "1:02:03" or "02:03".
[[nodiscard]] std::string clock_text(double seconds);

}  // namespace kedge::llm
