// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/files/interrupt.hpp>
#include <kedge/llm/train/settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../model/profile.hpp"
#include "run_checkpoint.hpp"
#include "run_identity.hpp"
#include "trace.hpp"

namespace kedge::llm {

/// What is the same in every run, whatever it trains: the output folder, metrics.jsonl, checkpoints, Ctrl-C, and the end. Of several
/// processes the leading one speaks and writes.
class run_host {
 public:
  /// What a run adds to a checkpoint and takes from it, and what it must share with a run that goes on from it.
  struct contents {
    std::function<void(checkpoint_writer&)> save;
    std::function<void(checkpoint_reader const&)> restore;
    run_identity identity;
  };

  /// Makes the folder, or refuses one that holds another run. `parameters`: of the packs in its checkpoints; `compute`: how its
  /// models compute.
  run_host(run_settings const& settings, compute_settings const& compute, std::vector<parameter> parameters, process_group group = {});

  /// Opens the log and, where the settings ask for it, goes on from a checkpoint.
  /// returns  true if it did
  bool begin(std::size_t all_steps, std::vector<shown_metric> shown, contents what);

  /// Logs a step and saves where it is time to. returns  false once somebody asked one of the processes for a stop
  bool after_step(step_report const& report);
  /// The two halves of it, for runs that do something in between.
  void log_step(step_report const& report);
  bool save_if_due();
  [[nodiscard]] bool stop_requested() const { return interrupt_ && interrupt_->requested(); }

  /// Saves a run that can't go on for now, if it has come to its first step, and throws the problem with what to do.
  [[noreturn]] void save_and_fail(std::string const& problem);

  /// Ends the run: an error if it diverged, a checkpoint if it was stopped, else what `write_model` writes.
  void end(kedge::status ended, std::string const& where, std::function<void()> const& write_model);

  [[nodiscard]] training_log& log() { return *log_; }
  /// Steps, examples, tokens, memory, and the last checkpoint.
  [[nodiscard]] run_result result() const;

 private:
  void prepare_folder() const;
  void save();
  void tell_profile();

  run_settings const& settings_;
  compute_settings compute_;
  std::vector<parameter> parameters_;
  process_group group_;
  std::optional<training_log> log_;
  std::optional<interrupt_guard> interrupt_;
  std::optional<step_profile> profile_;
  std::optional<operation_trace> trace_;
  contents what_;
  run_result result_;
};

/// "0.1235": four digits that count.
[[nodiscard]] std::string short_number(double value);

/// "512", "9.4k", "33k", "135M", "6.7B": how many of something there are.
[[nodiscard]] std::string short_count(std::int64_t count);

}  // namespace kedge::llm
