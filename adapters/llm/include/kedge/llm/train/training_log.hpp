// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/screen.hpp>

namespace kedge::llm {

/// What a figure of several processes is: the sum of theirs, or an extreme of theirs.
enum class across { sum, least, most };

/// A figure under the name that TRL logs it by.
struct metric {
  std::string name;
  double value;
  across processes = across::sum;
  std::size_t batches = 1;  ///< it is the mean over so many batches of the step: a window of steps counts it so often
};

/// What one optimiser step did.
struct step_report {
  std::size_t round = 1;                          ///< from 1
  std::size_t step = 0, steps = 0;                ///< in the round, from 1
  double epoch = 0;
  bool ends_epoch = false;
  double loss = 0, grad_norm = 0, learning_rate = 0;
  std::size_t examples = 0, tokens = 0, padded_like_tokens = 0;
  std::vector<metric> metrics;                    ///< in the same order in all processes; a step may be without one

  /// Adds `share` of a value to the metric of that name, which appears where it is first added.
  void add(std::string_view name, double value, double share = 1, across processes = across::sum);
  /// A metric that will be added to, the mean over so many batches; without any it isn't there.
  void begin(std::string_view name, std::size_t batches);
  [[nodiscard]] double metric_or_nan(std::string_view name) const;
};

/// A metric worth a place on a terminal: its name, and the short word for it.
struct shown_metric {
  char const* name;
  char const* label;
};

/// metrics.jsonl, averaged over the batches of logging_steps as TRL does, and progress on a screen: a bar on a terminal, lines in a pipe.
class training_log {
 public:
  /// An empty name: nothing is written.
  training_log(std::filesystem::path const& file, std::size_t logging_steps, std::size_t all_steps, screen to,
               std::vector<shown_metric> shown);

  /// Called with every line of metrics.jsonl once it is written.
  std::function<void(nlohmann::ordered_json const& line)> on_line{};

  void step(step_report const& report);
  /// A line of its own, such as an evaluation.
  void record(nlohmann::ordered_json const& line);
  /// A sentence on the screen, above the bar.
  void say(std::string const& sentence);
  void finish();

  /// Window averages and position in the file, for a resume; restoring cuts the file where the checkpoint stood.
  [[nodiscard]] nlohmann::ordered_json save();
  void restore(nlohmann::ordered_json const& saved);

  [[nodiscard]] std::size_t global_step() const { return global_step_; }
  [[nodiscard]] std::size_t trained_examples() const { return examples_; }
  [[nodiscard]] std::size_t useful_tokens() const { return tokens_; }
  /// Tokens trained on as TRL counts them: a prompt with each of its completions.
  [[nodiscard]] std::size_t num_tokens() const { return padded_like_tokens_; }

 private:
  void write_window(step_report const& last);
  void draw(step_report const& last);
  void clear_bar();
  [[nodiscard]] std::string figures(step_report const& report) const;

  std::filesystem::path path_;
  std::vector<shown_metric> shown_;
  std::ofstream file_;
  std::size_t logging_steps_, all_steps_;
  screen screen_;
  bool bar_drawn_ = false;
  std::size_t global_step_ = 0, steps_at_start_ = 0, examples_ = 0, tokens_ = 0, padded_like_tokens_ = 0;
  std::size_t in_window_ = 0;
  step_report window_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// "0.1235": four digits that count.
[[nodiscard]] std::string short_number(double value);

/// "512", "9.4k", "33k", "135M", "6.7B": how many of something there are.
[[nodiscard]] std::string short_count(std::int64_t count);

/// "1:02:03" or "02:03".
[[nodiscard]] std::string clock_text(double seconds);

/// "12/48 pairs  00:31 left" drawn on a terminal; wiped when all are done.
void show_progress(screen const& to, std::size_t done, std::size_t all, char const* what, double seconds);

}  // namespace kedge::llm
