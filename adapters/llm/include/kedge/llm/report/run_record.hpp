// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/report/event_file.hpp>

namespace kedge::llm {

/// How a run stands.
enum class run_status { running, finished, stopped_early, interrupted, diverged, failed };
constexpr auto names(run_status) {
  return std::array{named{run_status::running, "running"},
                    named{run_status::finished, "finished"},
                    named{run_status::stopped_early, "stopped early"},
                    named{run_status::interrupted, "interrupted"},
                    named{run_status::diverged, "diverged"},
                    named{run_status::failed, "failed"}};
}

/// What a run leaves for people beside its model: run.json, TensorBoard's events, report.html, and the model card.
class run_record {
 public:
  /// Begins one, or goes on with the one in the folder where the run goes on after a step.
  /// facts: what is known at the start, see docs/reports.md
  /// throws  error naming the file that can't be written
  run_record(std::filesystem::path folder, nlohmann::ordered_json facts, bool with_events,
             std::optional<std::size_t> goes_on_after);

  /// A line of metrics.jsonl: its numbers go to TensorBoard, under transformers' names.
  void add(nlohmann::ordered_json const& line);

  /// Writes run.json and report.html as the run stands; `outcome` is what has come out so far.
  /// returns  what couldn't be written, in a sentence; empty: nothing. A report that fails is no reason to lose a run
  [[nodiscard]] std::string write(run_status status, nlohmann::ordered_json outcome);

  /// Writes the model card, README.md; where there is one that kedge didn't write, or that was changed, beside it.
  /// returns  what people should know of it, in a sentence; empty: nothing
  [[nodiscard]] std::string write_card();

  /// Seconds that the run has taken so far, loading left out, those before a resume included.
  [[nodiscard]] double seconds() const;

 private:
  std::filesystem::path folder_;
  nlohmann::ordered_json facts_;
  std::optional<event_file> events_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double seconds_before_ = 0;
};

}  // namespace kedge::llm
