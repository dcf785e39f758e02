// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/loop.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/report/run_record.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../model/profile.hpp"
#include "best_model.hpp"
#include "run_checkpoint.hpp"
#include "run_identity.hpp"
#include "trace.hpp"

namespace kedge::llm {

/// Thrown where sampling was asked to stop: nothing has been rewarded, nothing has moved.
struct sampling_stopped {};

/// Thrown where the judge failed: nothing has been trained on since the last step, so that the run can be saved.
struct judge_failed : error {
  using error::error;
};

/// What is trained, and how: the part of a run that differs between preference pairs, PPO, demonstrations and reward models.
/// It is called in the order of its members.
class training_method {
 public:
  virtual ~training_method() = default;

  /// Steps of the whole run, and the metrics worth a place on a terminal.
  [[nodiscard]] virtual std::size_t steps() const = 0;
  [[nodiscard]] virtual std::vector<shown_metric> shown() const = 0;
  /// What it was made with, and what a run that goes on must share.
  [[nodiscard]] virtual run_identity identity() = 0;
  virtual void restore(checkpoint_reader const& from) = 0;
  /// There are held-out data.
  [[nodiscard]] virtual bool measures() const = 0;
  /// Measures the model as it stands on them, and keeps, logs and tells the figures.
  /// returns  them, under their names in metrics.jsonl
  [[nodiscard]] virtual nlohmann::ordered_json measure() = 0;
  /// Takes the weights of a checkpoint of this run, to be written.
  virtual void take_weights(checkpoint_reader const& from) = 0;
  /// Says what is trained, and measures the start; a resumed run only what it has not measured yet.
  virtual void begin(bool resumed) = 0;
  /// Trains to the end, or until the trainer says stop.
  [[nodiscard]] virtual kedge::status train() = 0;
  /// Leaves what it had sampled for a step that doesn't come.
  virtual void forget_samples() {}
  virtual void save(checkpoint_writer& to) const = 0;
  /// Where it stands, for people: "round 2, step 7".
  [[nodiscard]] virtual std::string where() const = 0;
  /// Makes the model ready for write(), in all processes.
  virtual void prepare_to_write() {}
  /// Writes the model, in the leading process.
  virtual void write() const = 0;
};

/// The one trainer, whatever is trained: the output folder, metrics.jsonl, checkpoints, resumes, Ctrl-C, and the end. Of several
/// processes the leading one speaks and writes.
class trainer {
 public:
  /// Makes the folder, or refuses one that holds another run. `parameters`: of the packs in its checkpoints; `compute`: how its
  /// models compute.
  /// `division`: of the models that are trained
  trainer(run_settings const& settings, compute_settings const& compute, std::vector<parameter> parameters, process_group group = {},
          divided_pack division = {});

  /// Runs a method from its start, or from the checkpoint that the settings name, to its end.
  /// returns  steps, examples, tokens, memory, and the last checkpoint
  /// throws  error in one line: another run's checkpoint, divergence, a judge that failed (the run is saved then)
  run_result run(training_method& method);

  /// Logs a step, and measures and saves where it is time to.
  /// returns  false once somebody asked one of the processes for a stop, or evaluations have stopped getting better
  bool after_step(step_report const& report);
  /// The two halves of it, for methods that do something in between.
  void log_step(step_report const& report);
  bool measure_and_save(step_report const& report);
  /// Measures at the start, between rounds and at the end, where it isn't done already.
  void measure_here();
  [[nodiscard]] bool stop_requested() const { return interrupt_ && interrupt_->requested(); }

  [[nodiscard]] training_log& log() { return *log_; }

 private:
  void prepare_folder() const;
  void open(training_method& method);
  bool resume(training_method& method);
  void begin_record(bool resumed);
  void record(run_status status);
  [[noreturn]] void save_and_fail(std::string const& problem);
  void end(kedge::status ended);
  void save();
  [[nodiscard]] bool evaluation_is_due(step_report const& report) const;
  [[nodiscard]] bool save_is_due(step_report const& report, bool best) const;
  [[nodiscard]] step_count eval_steps() const;
  [[nodiscard]] bool is_last() const { return log_->global_step() == method_->steps(); }
  void take_best_weights();
  [[nodiscard]] std::filesystem::path checkpoint_at(std::size_t step) const { return settings_.output_dir / "checkpoints" / ("step-" + std::to_string(step)); }
  void tell_clipping();
  void tell_profile();
  [[nodiscard]] run_result result() const;

  run_settings const& settings_;
  compute_settings compute_;
  std::vector<parameter> parameters_;
  process_group group_;
  divided_pack division_;
  std::optional<training_log> log_;
  std::optional<run_record> record_;  // of the leading process
  std::optional<interrupt_guard> interrupt_;
  std::optional<step_profile> profile_;
  std::optional<operation_trace> trace_;
  training_method* method_ = nullptr;  // while it runs
  run_identity identity_;
  best_model best_;
  nlohmann::ordered_json figures_;  // of the last evaluation
  run_result result_;
  std::size_t steps_here_ = 0, clipped_here_ = 0;  // since it was started or resumed
};

}  // namespace kedge::llm
