// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <cmath>
#include <optional>

#include <kedge/loop.hpp>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/model/weights.hpp>
#include <kedge/llm/train/settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "interrupt.hpp"
#include "preference_problem.hpp"
#include "rounds.hpp"
#include "run_checkpoint.hpp"
#include "session.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

void check(training_settings const& s, round_settings const& r) {
  auto require = [](bool holds, std::string const& message) {
    if (!holds) throw error(message);
  };
  require(!s.dataset.empty(), "--dataset is missing; give a JSONL file of preference pairs");
  require(s.loss.beta > 0, "--beta must be positive");
  require(s.learning_rate >= 0, "--learning_rate must not be negative");
  require(s.per_device_train_batch_size > 0 && s.gradient_accumulation_steps > 0 && s.per_device_eval_batch_size > 0,
          "batch sizes and --gradient_accumulation_steps must be at least 1");
  require(s.num_train_epochs > 0 || s.max_steps > 0, "--num_train_epochs must be positive");
  require(r.chunks == 0 || s.dataset.size() == 1, "--chunks cuts one data set; give one file, or leave --chunks out and give one file a round");
  require(r.momentum == "none" || r.momentum == "constant" || r.momentum == "nesterov",
          "--momentum " + r.momentum + " is not known; use none, constant or nesterov");
  require(r.extrapolate == "weights" || r.extrapolate == "log-probs",
          "--extrapolate " + r.extrapolate + " is not known; use weights or log-probs");
}

// The momentum and schedule of a run, chosen once; everything below is generic over them.
template <class Use>
auto with_momentum(round_settings const& r, Use&& use) {
  if (r.momentum == "constant") return use(constant_momentum{r.alpha});
  if (r.momentum == "nesterov") return use(nesterov_momentum{r.nesterov_s});
  return use(no_momentum{});
}

template <class Use>
auto with_schedule(round_settings const& r, Use&& use) {
  if (r.momentum == "none") return use(hand_off{});
  return with_momentum(r, [&](auto const& rule) {
    if (r.extrapolate == "log-probs") return use(extrapolated_log_probs<std::decay_t<decltype(rule)>>{rule});
    return use(extrapolated_weights<std::decay_t<decltype(rule)>>{rule});
  });
}

class preference_run {
 public:
  preference_run(training_settings const& settings, round_settings const& rounds)
      : settings_(settings),
        round_settings_(rounds),
        loss_(make_loss(settings.loss)),
        session_(settings.model, settings.compute),
        model_(session_.config, session_.compute) {
    prepare_output();
    if (!settings.eval_dataset.empty()) held_out_ = read(settings.eval_dataset, settings.eval_min_score_gap, settings.max_eval_samples);
    pack theta = session_.load();
    problem_.emplace(model_, settings_, loss_, read_rounds(theta));
    state_.emplace(std::move(theta));
    log_.emplace(settings_.output_dir / "metrics.jsonl", settings_.logging_steps, problem_->all_steps(), settings_.quiet);
  }

  training_result run() {
    fingerprint_ = describe();
    if (!settings_.resume_from_checkpoint.empty())
      resume();
    else
      start();
    interrupt_guard const interrupt;
    problem_->on_step = [&](step_report const& report) { return after_step(report, interrupt); };
    kedge::status const ended = with_schedule(round_settings_, [&](auto const& schedule) {
      return kedge::run(*state_, schedule, *problem_, round_count(), *this);
    });
    log_->finish();
    if (ended == kedge::status::diverged) fail_of_divergence();
    if (ended == kedge::status::stopped) {
      result_.interrupted = true;
      result_.checkpoint = save();
      log_->say("stopped after step " + std::to_string(log_->global_step()) + "; go on with --resume_from_checkpoint latest");
    } else {
      write_model(settings_.output_dir, session_.source, session_.config, state_->theta, dtype_from_name(settings_.save_dtype));
    }
    return summary();
  }

  // Observer of kedge::run.
  void on_round_start(training_state const& state, std::vector<preference_pair> const& pairs) {
    if (round_count() > 1)
      log_->say("round " + std::to_string(state.round + 1) + " of " + std::to_string(round_count()) + ": " + std::to_string(pairs.size()) + " pairs");
  }
  void on_round_end(training_state const&) { evaluate(); }

 private:
  void prepare_output() const {
    fs::path const& out = settings_.output_dir;
    if (out.empty()) throw error("--output_dir is missing; say where the model shall go");
    std::error_code failed;
    bool const resuming = !settings_.resume_from_checkpoint.empty();
    if (!resuming && !settings_.overwrite_output_dir)
      for (char const* name : {"config.json", "checkpoints", "metrics.jsonl"})
        if (fs::exists(out / name, failed))
          throw error(out.string() + ": already holds a model or a run; choose another --output_dir, resume, or pass --overwrite_output_dir");
    fs::create_directories(out, failed);
    if (failed) throw error(out.string() + ": can't be created (" + failed.message() + "); choose another --output_dir");
    if (!resuming) {
      fs::remove(out / "metrics.jsonl", failed);
      fs::remove_all(out / "checkpoints", failed);
    }
  }

  [[nodiscard]] std::vector<preference_pair> read(fs::path const& file, double min_gap, std::size_t most) const {
    std::vector<preference_pair> pairs = session_.read_pairs(file, settings_.max_length, settings_.skip_bad_lines);
    if (min_gap > 0) pairs = keep_clear_pairs(std::move(pairs), min_gap);
    if (most > 0 && pairs.size() > most) pairs.resize(most);
    if (pairs.empty()) throw error(file.string() + ": no pair is left; lower the score gap asked for");
    return pairs;
  }

  [[nodiscard]] std::vector<std::vector<preference_pair>> read_rounds(pack const& theta) const {
    std::vector<std::vector<preference_pair>> rounds;
    for (fs::path const& file : settings_.dataset) rounds.push_back(read(file, settings_.min_score_gap, settings_.max_train_samples));
    if (round_settings_.chunks > 0) {
      difficulty_score easiness = score_gaps;
      if (round_settings_.difficulty == "logp-margin")
        easiness = [&](std::vector<preference_pair> const& pairs) {
          pair_log_probs margins = score_in_order(model_, model_.weights_for(theta), pairs, settings_.per_device_eval_batch_size, settings_.compute.micro_batch_tokens);
          axpby(-1, margins.rejected, 1, margins.chosen);
          return margins.chosen;
        };
      else if (round_settings_.difficulty != "score-gap")
        throw error("--difficulty " + round_settings_.difficulty + " is not known; use score-gap or logp-margin");
      rounds = cut_into_rounds(std::move(rounds.front()), round_settings_.chunks, round_settings_.order, settings_.seed, easiness);
    }
    if (loss_.reads_scores)
      for (auto const& pairs : rounds) static_cast<void>(score_gaps(pairs));
    return rounds;
  }

  [[nodiscard]] std::size_t round_count() const { return round_settings_.chunks > 0 ? round_settings_.chunks : settings_.dataset.size(); }

  // What a resumed run must share with the one that was stopped.
  [[nodiscard]] json describe() const {
    json files = json::array();
    for (auto const& file : settings_.dataset) files.push_back(file.filename().string());
    return {{"method", round_settings_.method},   {"rounds", round_count()},
            {"chunks", round_settings_.chunks},   {"order", round_settings_.order},
            {"momentum", round_settings_.momentum}, {"alpha", round_settings_.alpha},
            {"extrapolate", round_settings_.extrapolate}, {"dataset", files},
            {"steps", problem_->all_steps()},     {"loss_type", loss_.name},
            {"beta", settings_.loss.beta},        {"learning_rate", settings_.learning_rate},
            {"lr_scheduler_type", settings_.lr_scheduler_type}, {"warmup_ratio", settings_.warmup_ratio},
            {"warmup_steps", settings_.warmup_steps},
            {"batch", settings_.per_device_train_batch_size * settings_.gradient_accumulation_steps},
            {"max_length", settings_.max_length}, {"max_grad_norm", settings_.max_grad_norm},
            {"weight_decay", settings_.weight_decay}, {"seed", settings_.seed},
            {"shuffle", settings_.shuffle}, {"min_score_gap", settings_.min_score_gap},      {"dtype", std::string(at::toString(session_.compute.type))}};
  }

  void start() {
    log_->say(settings_.model.filename().string() + ": " + std::to_string(parameter_count(session_.config) / 1'000'000) + "M parameters, " +
              std::string(at::toString(session_.compute.type)) + " on " + session_.compute.device.str() + "; " +
              std::to_string(problem_->all_steps()) + " steps in " + std::to_string(round_count()) + (round_count() == 1 ? " round" : " rounds"));
    if (round_settings_.method == "apo")
      log_->say("effective beta " + text(effective_beta()) + ": under exact dynamics, iterative DPO with this beta and alpha = 0 ends at the same policy");
    if (round_settings_.extrapolate == "log-probs" && round_settings_.momentum != "none" && !loss_.shift_invariant)
      log_->say("warning: " + loss_.name + " is not shift-invariant; extrapolated log-probabilities are unnormalised and only approximate for it");
    evaluate();
  }

  void resume() {
    fs::path const folder = find_checkpoint(settings_.output_dir, settings_.resume_from_checkpoint);
    run_checkpoint saved = checkpoint_of_now();
    load_checkpoint(folder, session_.config, saved);
    log_->restore(saved.log);
    problem_->score_seconds = saved.result.at("score_seconds").get<double>();
    problem_->solve_seconds = saved.result.at("solve_seconds").get<double>();
    for (json const& e : saved.result.at("evaluations"))
      result_.evaluations.push_back({e.at("round").get<std::size_t>(), e.at("loss").get<double>(), e.at("accuracy").get<double>(),
                                     e.at("margin").get<double>(), e.at("kl").get<double>(), e.at("pairs").get<std::size_t>()});
    log_->say("resumed from " + folder.string());
  }

  [[nodiscard]] run_checkpoint checkpoint_of_now() {
    json evaluations = json::array();
    for (evaluation const& e : result_.evaluations)
      evaluations.push_back({{"round", e.round}, {"loss", e.loss}, {"accuracy", e.accuracy}, {"margin", e.margin}, {"kl", e.kl}, {"pairs", e.pairs}});
    return {*state_, *problem_, held_out_reference_, log_->save(), fingerprint_,
            {{"evaluations", evaluations}, {"score_seconds", problem_->score_seconds}, {"solve_seconds", problem_->solve_seconds}}};
  }

  fs::path save() { return save_checkpoint(settings_.output_dir, session_.config, checkpoint_of_now()); }

  bool after_step(step_report const& report, interrupt_guard const& interrupt) {
    log_->step(report);
    result_.final_loss = report.loss;
    if (settings_.save_steps > 0 && log_->global_step() % settings_.save_steps == 0) result_.checkpoint = save();
    return !interrupt.requested();
  }

  void evaluate() {
    if (held_out_.empty()) return;
    pair_log_probs const logp = score_in_order(model_, model_.weights_for(state_->theta), held_out_, settings_.per_device_eval_batch_size,
                                               settings_.compute.micro_batch_tokens);
    if (held_out_reference_.chosen.empty()) held_out_reference_ = logp;
    std::vector<std::size_t> which(held_out_.size());
    for (std::size_t i = 0; i < which.size(); ++i) which[i] = i;
    loss_input const input(logp, held_out_reference_, held_out_, which);
    evaluation e{state_->round, loss_.evaluate(input.view(), 0).value, 0, 0, 0, held_out_.size()};
    auto const n = static_cast<double>(held_out_.size());
    for (std::size_t i = 0; i < held_out_.size(); ++i) {
      double const a = logp.chosen[i] - held_out_reference_.chosen[i], b = logp.rejected[i] - held_out_reference_.rejected[i];
      e.accuracy += (a > b ? 1 : 0) / n;
      e.margin += loss_.beta * (a - b) / n;
      e.kl -= (a + b) / (2 * n);
    }
    result_.evaluations.push_back(e);
    log_->record({{"step", log_->global_step()}, {"round", e.round}, {"eval_loss", e.loss}, {"eval_rewards/accuracies", e.accuracy},
                  {"eval_rewards/margins", e.margin}, {"eval_kl", e.kl}});
    log_->say("held out after " + std::to_string(e.round) + " rounds: loss " + text(e.loss) + ", accuracy " + text(e.accuracy) + ", margin " +
              text(e.margin) + ", KL " + text(e.kl));
  }

  [[nodiscard]] double effective_beta() const { return llm::effective_beta(round_settings_, round_count(), settings_.loss.beta); }

  [[noreturn]] void fail_of_divergence() const {
    std::size_t const step = problem_->inside ? problem_->inside->step + 1 : 0;
    throw error("round " + std::to_string(state_->round + 1) + ", step " + std::to_string(step) +
                ": the loss or its gradient is NaN or infinite; nothing was saved of this step. Lower --learning_rate, or use --dtype float32");
  }

  static std::string text(double value) {
    std::string s(32, '\0');
    s.resize(static_cast<std::size_t>(std::snprintf(s.data(), s.size(), "%.4g", value)));
    return s;
  }

  training_result summary() {
    result_.steps = log_->global_step();
    result_.pairs = log_->trained_pairs();
    result_.tokens = log_->useful_tokens();
    result_.reference_seconds = problem_->score_seconds;
    result_.train_seconds = problem_->score_seconds + problem_->solve_seconds;
    result_.effective_beta = effective_beta();
    result_.peak_memory_bytes = peak_memory();
    return result_;
  }

  training_settings const& settings_;
  round_settings const& round_settings_;
  loss_choice loss_;
  session session_;
  causal_lm model_;
  std::vector<preference_pair> held_out_;
  pair_log_probs held_out_reference_;
  std::optional<preference_problem> problem_;
  std::optional<training_state> state_;
  std::optional<training_log> log_;
  json fingerprint_;
  training_result result_;
};

}  // namespace

double effective_beta(round_settings const& rounds, std::size_t count, double beta) {
  return with_momentum(rounds, [&](auto const& rule) { return kedge::effective_beta(beta, rule, count); });
}

training_result train_preferences(training_settings const& settings, round_settings const& rounds) {
  check(settings, rounds);
  return preference_run(settings, rounds).run();
}

}  // namespace kedge::llm
