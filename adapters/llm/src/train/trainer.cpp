// SPDX-License-Identifier: Apache-2.0
#include "trainer.hpp"

#include <sys/resource.h>

#include <torch/version.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/kernels/instruction_set.hpp>
#include <kedge/version.hpp>

#include "../base/thread_pool.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

// What a run was made with, beside its results.
nlohmann::ordered_json facts_of(compute_settings const& compute, std::size_t processes, run_identity const& identity) {
  return {{"kedge", KEDGE_VERSION_STRING},
          {"libtorch", TORCH_VERSION},
          {"instruction_set", instruction_set()},
          {"device", compute.device.str()},
          {"dtype", std::string(at::toString(compute.type))},
          {"threads", shared_pool().size()},
          {"processes", processes},
          {"about", identity.about},
          {"settings", identity.settings},
          {"defaults", identity.defaults},
          {"identity", identity.fixed}};
}

}  // namespace

trainer::trainer(run_settings const& settings, compute_settings const& compute, std::vector<parameter> parameters, process_group group,
                 divided_pack division)
    : settings_(settings), compute_(compute), parameters_(std::move(parameters)), group_(std::move(group)), division_(std::move(division)) {
  group_.lead([this] {
    prepare_folder();
    return "";
  });
}

void trainer::prepare_folder() const {
  fs::path const& out = settings_.output_dir;
  if (out.empty()) throw error("--output_dir is missing; say where the model shall go");
  std::error_code failed;
  bool const resuming = static_cast<bool>(settings_.resume_from_checkpoint);
  if (!resuming && !settings_.overwrite_output_dir)
    for (char const* name : {"config.json", "checkpoints", "metrics.jsonl"})
      if (fs::exists(out / name, failed))
        throw error(out.string() + ": already holds a model or a run; choose another --output_dir, resume, or pass --overwrite_output_dir");
  fs::create_directories(out, failed);
  if (failed) throw error(out.string() + ": can't be created (" + failed.message() + "); choose another --output_dir");
  if (resuming) return;
  for (char const* name : {"metrics.jsonl", "run.json", "report.html", "checkpoints", "rounds", "runs", "samples"}) fs::remove_all(out / name, failed);
}

void trainer::open(training_method& method) {
  method_ = &method;
  identity_ = method.identity();
  check_evaluations(settings_, eval_steps(), settings_.save_steps, method.measures(), method.steps());
  log_.emplace(group_.leads() ? settings_.output_dir / "metrics.jsonl" : fs::path(), settings_.logging_steps.of(method.steps()), method.steps(),
               settings_.says(), method.shown());
  interrupt_.emplace();
  if (settings_.profile) profile_.emplace(compute_);
  if (!settings_.profile_trace.empty() && group_.leads()) trace_.emplace(settings_.profile_trace, compute_.device);
}

bool trainer::resume(training_method& method) {
  if (!settings_.resume_from_checkpoint) return false;
  checkpoint_reader const from(find_checkpoint(settings_.output_dir, settings_.resume_from_checkpoint), parameters_, &division_);
  try {
    require_same(from.state.at("identity"), identity_.fixed, from.path().string());
    method.restore(from);
    log_->restore(from.state.at("log"));
    restore_part(from, "best", best_, at::kCPU);
  } catch (nlohmann::json::exception const& e) {
    throw error((from.path() / "state.json").string() + ": damaged (" + reason_of(e) + "); use an earlier checkpoint");
  }
  result_.checkpoint = from.path();
  log_->say("resumed from " + from.path().string());
  return true;
}

run_result trainer::run(training_method& method) {
  open(method);
  bool const resumed = resume(method);
  begin_record(resumed);
  kedge::status ended = kedge::status::stopped;
  try {
    method.begin(resumed);
    ended = method.train();
  } catch (sampling_stopped const&) {
    method.forget_samples();
  } catch (judge_failed const& problem) {
    method.forget_samples();
    save_and_fail(problem.what());
  } catch (...) {
    record(run_status::failed);
    throw;
  }
  end(ended);
  return result();
}

void trainer::begin_record(bool resumed) {
  if (!group_.leads()) return;
  record_.emplace(settings_.output_dir, facts_of(compute_, static_cast<std::size_t>(settings_.where.size), identity_), settings_.writes_events(),
                  resumed ? std::optional(log_->global_step()) : std::nullopt);
  log_->on_line = [this](nlohmann::ordered_json const& line) { record_->add(line); };
  record(run_status::running);
}

void trainer::record(run_status status) {
  if (!record_) return;
  run_result const r = result();
  nlohmann::ordered_json outcome{{"steps", r.steps}, {"examples", r.examples}, {"tokens", r.tokens}, {"peak_memory_bytes", r.peak_memory_bytes}};
  if (r.best_step && best_.metric) outcome.update({{"metric", settings_.metric()}, {"best_metric", r.best_metric}, {"best_step", *r.best_step}});
  if (std::string const problem = record_->write(status, std::move(outcome)); !problem.empty()) log_->say(problem);
}

void trainer::save() {
  result_.checkpoint = checkpoint_at(log_->global_step());
  if (best_.step && group_.any(group_.leads() && (*best_.step == log_->global_step() || fs::exists(checkpoint_at(*best_.step))))) best_.checkpoint = best_.step;
  if (group_.any(group_.leads() && fs::exists(result_.checkpoint))) return;
  checkpoint_writer to(result_.checkpoint, parameters_, group_, &division_);
  method_->save(to);
  to.state["log"] = log_->save();
  save_part(to, "best", best_);
  to.state["identity"] = identity_.fixed;
  to.commit();
  if (group_.leads()) remove_old_checkpoints(settings_.output_dir, settings_.save_total_limit, best_.checkpoint);
  record(run_status::running);
}

void trainer::tell_profile() {
  if (trace_) {
    trace_->write();
    log_->say("trace written to " + settings_.profile_trace.string());
    trace_.reset();
  }
  if (!profile_) return;
  nlohmann::ordered_json const report = profile_->report();
  profile_.reset();
  log_->record({{"step", log_->global_step()}, {"profile", report}});
  log_->say(step_profile::text(report));
}

void trainer::log_step(step_report const& report) {
  log_->step(report);
  result_.final_loss = report.loss;
  ++steps_here_;
  if (report.metric_or_nan("grad_clipped") > 0) ++clipped_here_;
}

// Every so many steps, and after the last; or after each epoch, a run that ends inside one included.
bool trainer::evaluation_is_due(step_report const& report) const {
  std::size_t const step = log_->global_step();
  switch (settings_.eval_strategy) {
    case interval::no: return false;
    case interval::steps: return settings_.eval_delay <= static_cast<double>(step) && (step % eval_steps().of(method_->steps()) == 0 || is_last());
    case interval::epoch: return settings_.eval_delay <= report.epoch && (report.ends_epoch || is_last());
  }
  return false;
}

bool trainer::save_is_due(step_report const& report, bool best) const {
  std::size_t const every = settings_.save_steps.of(method_->steps());
  switch (settings_.save_strategy) {
    case saving::no: return false;
    case saving::steps: return (every > 0 && log_->global_step() % every == 0) || (settings_.load_best_model_at_end && is_last());
    case saving::epoch: return report.ends_epoch || is_last();
    case saving::best: return best;
  }
  return false;
}

step_count trainer::eval_steps() const { return settings_.eval_steps.value > 0 ? settings_.eval_steps : settings_.logging_steps; }

void trainer::measure_here() {
  if (!method_->measures() || best_.measured == log_->global_step()) return;
  figures_ = method_->measure();
  best_.measured = log_->global_step();
}

bool trainer::measure_and_save(step_report const& report) {
  bool best = false;
  if (evaluation_is_due(report)) {
    measure_here();
    best = best_.take(settings_, figures_, log_->global_step());
    result_.stopped_early = settings_.early_stopping_patience > 0 && best_.no_better >= settings_.early_stopping_patience && !is_last();
  }
  if (save_is_due(report, best)) save();
  return !group_.any(stop_requested()) && !result_.stopped_early;
}

bool trainer::after_step(step_report const& report) {
  log_step(report);
  return measure_and_save(report);
}

void trainer::save_and_fail(std::string const& problem) {
  log_->finish();
  if (log_->global_step() > 0) save();
  record(run_status::failed);
  if (log_->global_step() == 0) throw error(problem);  // there is nothing to save
  throw error(problem + ". The run is saved: go on with --resume_from_checkpoint latest");
}

// The model that is written is that of the best evaluation.
void trainer::take_best_weights() {
  if (!settings_.load_best_model_at_end || !best_.checkpoint) return;
  if (!fs::exists(checkpoint_at(*best_.checkpoint)))
    throw error(checkpoint_at(*best_.checkpoint).string() + ": the checkpoint of the best model is gone; resume with --load_best_model_at_end false to write the last one");
  checkpoint_reader const from(checkpoint_at(*best_.checkpoint), parameters_, &division_);
  method_->take_weights(from);
  log_->say("the model of step " + std::to_string(*best_.checkpoint) + " is written, the best that was saved: its " + settings_.metric() + " is " +
            short_number(*best_.metric));
}

void trainer::tell_clipping() {
  if (clipped_here_ == 0) return;
  log_->say("the gradient was clipped in " + std::to_string(clipped_here_) + " of " + std::to_string(steps_here_) +
            " steps (--max_grad_norm " + short_number(settings_.max_grad_norm) + ")");
}

void trainer::end(kedge::status ended) {
  log_->finish();
  tell_clipping();
  tell_profile();
  if (result_.stopped_early && ended == kedge::status::stopped) {
    log_->say("stopped early after step " + std::to_string(log_->global_step()) + ": " + std::to_string(best_.no_better) + " evaluations in a row were no better than " +
              settings_.metric() + " " + short_number(*best_.metric) + " of step " + std::to_string(*best_.step));
    ended = kedge::status::done;
  }
  if (ended == kedge::status::diverged) {
    record(run_status::diverged);
    throw error(method_->where() + ": the loss or its gradient is NaN or infinite; nothing was saved of this step. Lower --learning_rate, or use --dtype float32");
  }
  if (ended == kedge::status::stopped) {
    result_.interrupted = true;
    save();
    record(run_status::interrupted);
    log_->say("stopped after step " + std::to_string(log_->global_step()) + "; go on with --resume_from_checkpoint latest");
  } else {
    take_best_weights();
    method_->prepare_to_write();
    group_.lead([&] {
      method_->write();
      record(result_.stopped_early ? run_status::stopped_early : run_status::finished);
      if (std::string const note = record_->write_card(); !note.empty()) log_->say(note);
      return "";
    });
  }
  interrupt_.reset();
}

run_result trainer::result() const {
  run_result result = result_;
  result.steps = log_->global_step();
  result.best_step = best_.step;
  result.best_metric = best_.metric.value_or(0);
  result.examples = log_->trained_examples();
  result.tokens = log_->useful_tokens();
  result.peak_memory_bytes = peak_memory();
  return result;
}

}  // namespace kedge::llm
