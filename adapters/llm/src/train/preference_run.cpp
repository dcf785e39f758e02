// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include <kedge/loop.hpp>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/train/settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "margin_probe.hpp"
#include "online_pairs.hpp"
#include "own_reference.hpp"
#include "preference_problem.hpp"
#include "reference_schedule.hpp"
#include "reference_soup.hpp"
#include "rounds.hpp"
#include "run_host.hpp"
#include "sample_file.hpp"
#include "session.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

void check(training_settings s, round_settings r) {
  settings_of(s, r).check_ranges();
  auto require = [](bool holds, std::string const& message) {
    if (!holds) throw error(message);
  };
  require(!s.dataset.empty() || r.online(), "--dataset is missing; give a JSONL file of preference pairs, or --prompts and --judge");
  require(s.dataset.empty() || !r.online(), "--dataset and --prompts exclude each other: pairs come from a file or are sampled");
  require(!r.alpha.empty(), "--alpha is empty; give one or several");
  require(r.chunks == 0 || s.dataset.size() == 1, "--chunks cuts one data set; give one file, or leave --chunks out and give one file a round");
  check_reference(s, r);
  if (!r.online()) return;
  require(r.sample_from == sampled_policy::weights || (r.extrapolate == extrapolated::log_probs && r.momentum != momentum_choice::none),
          "--sample_from mixture samples from two models' log-probabilities; it goes with --extrapolate log-probs");
}

// Where each round's anchor and start are.
schedule_settings schedule_of(round_settings const& r, bool adapter) {
  return {.reference = r.reference,
          .momentum = r.momentum,
          .alpha = r.alpha,
          .nesterov_s = r.nesterov_s,
          .kappa = r.kappa,
          .log_probs = r.extrapolate == extrapolated::log_probs,
          .adapter = adapter};
}

// The loss of each round: the last one goes on.
std::vector<loss_choice> losses_of(training_settings const& settings, round_settings const& rounds) {
  std::vector<loss_choice> losses;
  loss_settings own = settings.loss;
  for (double const beta : rounds.beta) {
    own.beta = beta;
    losses.push_back(make_loss(own));
  }
  if (losses.empty()) losses.push_back(make_loss(own));
  return losses;
}

// While a round trains: the last iterate, where the next round looks back, what the reference keeps, the start, where policies are measured
// against it, and a reference that moves.
std::int64_t kept_points(training_settings const& s, round_settings const& r) {
  return (r.momentum == momentum_choice::none ? 0 : 1) + kept_by(r.reference) + (r.sampling.eval_prompts.empty() ? 0 : 1) + (s.sync_ref_model ? 1 : 0);
}

class preference_run {
 public:
  preference_run(training_settings const& settings, round_settings const& rounds)
      : settings_(settings),
        group_(join_run(settings_)),
        round_settings_(rounds),
        losses_(losses_of(settings, rounds)),
        loss_(losses_.front()),
        session_(settings_.model, settings_.compute),
        files_(read_files()),
        held_out_(read_held_out()),
        own_reference_(score_by_own_model()),
        model_(session_.trained_model(settings_, {.points = kept_points(settings, rounds)})),
        host_(settings_, session_.compute, model_.parameters(), group_),
        state_(session_.trained_start(model_, settings.seed)),
        problem_(model_, settings_, losses_, [this](training_state const& state) { return pairs_of_round(state); }, group_),
        probe_(model_, settings_.profile ? 0 : settings_.precision_pairs, settings_.compute.micro_batch_tokens, settings_.ld_alpha) {
    problem_.probe = &probe_;
    if (!rounds.reference.models.empty()) state_.anchor = anchor_of_models();
    if (rounds.online())
      open_prompts();
    else
      make_rounds();
    if (!own_reference_.empty()) problem_.moving->begin(own_reference_, 0);
  }

  training_result run() {
    std::size_t const steps = all_steps();
    bool const resumed = host_.begin(steps, {{"rewards/margins", "margin"}, {"rewards/accuracies", "accuracy"}},
                                     {[this](checkpoint_writer& to) { save(to); }, [this](checkpoint_reader const& from) { restore(from); }, identity()});
    problem_.solver.on_step = [this](step_report const& report) { return host_.after_step(report); };
    kedge::status ended = kedge::status::stopped;
    try {
      auto const keep_going = [this] { return !host_.stop_requested(); };
      if (prompts_) prompts_->keep_going = keep_going;
      if (evaluator_) evaluator_->set_keep_going(keep_going);
      if (!resumed)
        start(steps);
      else if (evaluator_ && evaluator_->start_scores.empty())
        evaluate_policy();  // the stop came before the start was measured
      ended = kedge::run(state_, make_schedule(schedule_of(round_settings_, model_.adapted() != nullptr)), problem_, round_count(), *this);
    } catch (sampling_stopped const&) {
      // The round is placed and nothing of it trained: a resume samples again.
    } catch (judge_failed const& problem) {
      host_.save_and_fail(problem.what());
    }
    host_.end(ended, where(), [this] { session_.write_trained(model_, state_.theta, settings_); });
    return summary();
  }

  // Observer of kedge::run.
  void on_round_start(training_state const& state, std::vector<preference_pair> const& pairs) {
    if (round_count() > 1)
      host_.log().say("round " + std::to_string(state.round + 1) + " of " + std::to_string(round_count()) + ": " + std::to_string(pairs.size()) + " pairs");
  }
  void on_round_end(training_state const& state) {
    if (problem_.noise) tell_noise(state.round, *problem_.noise);
    evaluate();
  }

 private:
  // References that are other models stay as they are put here.
  [[nodiscard]] std::vector<kedge::anchor_term<pack>> anchor_of_models() const {
    if (model_.adapted()) throw error("--use_peft: the reference is the model with the adapter off, or what the schedule makes of it; one of other models needs full training");
    return make_anchor(round_settings_.reference, session_, state_.theta);
  }

  void tell_noise(std::size_t round, margin_noise const& n) {
    host_.log().record({{"step", host_.log().global_step()}, {"round", round}, {"bf16_noise/median", n.median}, {"bf16_noise/maximum", n.maximum},
                        {"bf16_noise/margins", n.margin}, {"bf16_noise/pairs", n.pairs}});
    if (n.median > 0 && n.median >= n.margin && !std::exchange(warned_, true))
      host_.log().say("warning: rounding to bf16 moves the margins of policy over reference by " + short_number(n.median) + " nats, and the round made them " +
                      short_number(n.margin) + " (medians of " + std::to_string(n.pairs) +
                      " pairs): losses and rewards say little; use --dtype float32, or a larger --learning_rate or more steps");
  }

  void open_prompts() {
    on_policy_settings const& sampling = round_settings_.sampling;
    judge_ = make_scorer(sampling, session_, settings_.compute);
    prompts_.emplace(session_, model_, sampling, session_.read_prompts(sampling.prompts, settings_.max_train_samples, settings_.skip_bad_lines), judge_,
                     settings_.seed);
    online_.emplace(round_settings_, settings_, model_, *prompts_);
    if (sampling.eval_prompts.empty()) return;
    rollout_source held_out(session_, model_, sampling, session_.read_prompts(sampling.eval_prompts, settings_.max_eval_samples, settings_.skip_bad_lines),
                            judge_, settings_.seed + 1);
    evaluator_.emplace(std::move(held_out), model_, model_.weights_for(kedge::deep_copy(state_.theta)), sampling.eval_samples,
                       settings_.compute.micro_batch_tokens);
  }

  round_pairs pairs_of_round(training_state const& state) {
    if (!online_) return rounds_[state.round];
    auto pairs = std::make_shared<std::vector<preference_pair> const>(online_->pairs(state));
    if (!state.cached)
      host_.log().record({{"step", host_.log().global_step()}, {"round", state.round + 1}, {"sampled_completions", online_->sampled},
                          {"sampled_reward", online_->mean_score}, {"sampled_pairs", pairs->size()}});
    return pairs;
  }

  [[nodiscard]] std::size_t all_steps() const {
    if (online_) return round_count() * problem_.solver.steps(online_->expected());
    std::size_t steps = 0;
    for (round_pairs const& pairs : rounds_) steps += problem_.solver.steps(pairs->size());
    return steps;
  }

  [[nodiscard]] std::vector<preference_pair> read(fs::path const& file, double min_gap, std::size_t most) const {
    std::vector<preference_pair> pairs = session_.read_pairs(file, settings_.max_length, settings_.skip_bad_lines);
    if (min_gap > 0) pairs = keep_clear_pairs(std::move(pairs), min_gap);
    if (most > 0 && pairs.size() > most) pairs.resize(most);
    if (pairs.empty()) throw error(file.string() + ": no pair is left; lower the score gap asked for");
    static_cast<void>(have_reference(pairs));
    return pairs;
  }

  [[nodiscard]] std::vector<std::vector<preference_pair>> read_files() const {
    std::vector<std::vector<preference_pair>> files;
    for (fs::path const& file : settings_.dataset) files.push_back(read(file, settings_.min_score_gap, settings_.max_train_samples));
    return files;
  }

  [[nodiscard]] std::vector<preference_pair> read_held_out() const {
    if (settings_.eval_dataset.empty()) return {};
    return read(settings_.eval_dataset, settings_.eval_min_score_gap, settings_.max_eval_samples);
  }

  // Before the model that is trained is opened, so that one is in memory at a time.
  [[nodiscard]] pack score_by_own_model() {
    if (settings_.ref_model.empty()) return {};
    std::vector<std::vector<preference_pair>*> lists{&files_.front()};
    if (!held_out_.empty()) lists.push_back(&held_out_);
    return score_by_own_reference(settings_, session_, group_, lists);
  }

  void make_rounds() {
    if (settings_.sync_ref_model && settings_.ref_model.empty() && have_reference(files_.front()))
      throw error(settings_.dataset.front().string() + ": ref_chosen_logps are numbers, which --sync_ref_model can't move; leave one of the two out");
    if (round_settings_.chunks > 0) {
      difficulty_score easiness = score_gaps;
      if (round_settings_.difficulty == pair_difficulty::logp_margin)
        easiness = [&](std::vector<preference_pair> const& pairs) {
          pair_log_probs margins = score(pairs);
          axpby(-1, margins.rejected, 1, margins.chosen);
          return margins.chosen;
        };
      files_ = cut_into_rounds(std::move(files_.front()), round_settings_.chunks, round_settings_.order, settings_.seed, easiness);
    }
    if (loss_.reads_scores)
      for (auto const& pairs : files_) static_cast<void>(score_gaps(pairs));
    for (auto& pairs : files_) rounds_.push_back(std::make_shared<std::vector<preference_pair> const>(std::move(pairs)));
    files_.clear();
  }

  // Log-probabilities under the policy as it stands.
  [[nodiscard]] pair_log_probs score(std::vector<preference_pair> const& pairs) const {
    return score_in_order(model_, model_.weights_for(state_.theta), pairs, settings_.per_device_eval_batch_size, settings_.compute.micro_batch_tokens, group_,
                          settings_.ld_alpha);
  }

  [[nodiscard]] std::size_t round_count() const {
    if (round_settings_.online()) return round_settings_.rounds;
    return round_settings_.chunks > 0 ? round_settings_.chunks : settings_.dataset.size();
  }

  [[nodiscard]] run_identity identity() {
    settings_list list = settings_of(settings_, round_settings_);
    json contents{{"model", model_content(settings_.model)}, {"training data", content_of(std::span<round_pairs const>(rounds_))}, {"held-out pairs", content_of(std::span<preference_pair const>(held_out_))},
                  {"reference model", model_content(settings_.ref_model)}};
    if (online_) contents["prompts"] = content_of(prompts_->prompts());
    if (evaluator_) contents["held-out prompts"] = content_of(evaluator_->prompts().prompts());
    contents["reference"] = content_of(round_settings_.reference);
    contents["reward model"] = model_content(round_settings_.sampling.reward_model);
    return identify(list, settings_, session_.compute, std::move(contents));
  }

  void start(std::size_t steps) {
    host_.log().say(settings_.model.filename().string() + ": " + short_count(parameter_count(session_.config)) + " parameters, " +
              std::string(at::toString(session_.compute.type)) + " on " + session_.compute.device.str() + "; " +
              std::to_string(steps) + " steps in " + std::to_string(round_count()) + (round_count() == 1 ? " round" : " rounds"));
    tell_given_reference();
    if (model_.adapted()) host_.log().say("an adapter of " + short_count(elements_of(state_.theta)) + " parameters is trained");
    if (round_settings_.method == round_method::apo)
      host_.log().say("effective beta " + short_number(effective_beta()) + ": under exact dynamics, iterative DPO with this beta and alpha = 0 ends at the same policy");
    if (round_settings_.extrapolate == extrapolated::log_probs && round_settings_.momentum != momentum_choice::none && !loss_.shift_invariant)
      host_.log().say("warning: " + loss_.name + " is not shift-invariant; extrapolated log-probabilities are unnormalised and only approximate for it");
    evaluate();
  }

  void tell_given_reference() {
    bool const later = std::any_of(rounds_.begin() + (rounds_.empty() ? 0 : 1), rounds_.end(), [](round_pairs const& pairs) { return have_reference(*pairs); });
    if (!rounds_.empty() && have_reference(*rounds_.front()))
      host_.log().say("the reference of round 1 " + (settings_.ref_model.empty() ? "comes with the data" : "is " + settings_.ref_model.string()) +
                      (round_count() > 1 ? "; later rounds score the anchor of their schedule" : ""));
    else if (later)
      host_.log().say("ref_chosen_logps of later rounds' data are not used: those rounds score the anchor of their schedule");
  }

  void save(checkpoint_writer& to) const {
    llm::save(to, state_);
    llm::save(to, problem_.solver, state_.theta);
    if (problem_.moving) problem_.moving->save(to);
    save_logp(to, "evaluation", held_out_reference_);
    to.add("precise_reference", probe_.reference);
    json evaluations = json::array();
    for (evaluation const& e : evaluations_)
      evaluations.push_back({{"round", e.round}, {"loss", e.loss}, {"accuracy", e.accuracy}, {"margin", e.margin}, {"kl", e.kl}, {"pairs", e.pairs}});
    to.state["evaluations"] = evaluations;
    to.state["score_seconds"] = problem_.score_seconds;
    to.state["policy_evaluations"] = as_json(policy_evaluations_);
    to.add("start_scores", evaluator_ ? evaluator_->start_scores : std::vector<double>{});
  }

  void restore(checkpoint_reader const& from) {
    llm::restore(from, state_);
    llm::restore(from, problem_.solver, state_.theta);
    if (problem_.moving) problem_.moving->restore(from, state_.theta.front().device());
    restore_logp(from, "evaluation", held_out_reference_);
    probe_.reference = from.read_vector("precise_reference");
    problem_.score_seconds = from.state.at("score_seconds").get<double>();
    policy_evaluations_ = evaluations_from(from.state.at("policy_evaluations"));
    if (evaluator_) evaluator_->start_scores = from.read_vector("start_scores");
    for (json const& e : from.state.at("evaluations"))
      evaluations_.push_back({e.at("round").get<std::size_t>(), e.at("loss").get<double>(), e.at("accuracy").get<double>(),
                              e.at("margin").get<double>(), e.at("kl").get<double>(), e.at("pairs").get<std::size_t>()});
  }

  void evaluate() {
    evaluate_policy();
    if (held_out_.empty()) return;
    pair_log_probs const logp = score(held_out_);
    if (held_out_reference_.chosen.empty()) held_out_reference_ = have_reference(held_out_) ? given_reference(held_out_) : logp;
    std::vector<std::size_t> which(held_out_.size());
    std::iota(which.begin(), which.end(), std::size_t{0});
    loss_input input(held_out_, which);
    input.logp = logp;
    input.ref = held_out_reference_;
    evaluation e{state_.round, loss_.evaluate(input.view(), 0).value, 0, 0, 0, held_out_.size()};
    auto const n = static_cast<double>(held_out_.size());
    for (std::size_t i = 0; i < held_out_.size(); ++i) {
      double const a = logp.chosen[i] - held_out_reference_.chosen[i], b = logp.rejected[i] - held_out_reference_.rejected[i];
      e.accuracy += (a > b ? 1 : 0) / n;
      e.margin += loss_.beta * (a - b) / n;
      e.kl -= (a + b) / (2 * n);
    }
    evaluations_.push_back(e);
    host_.log().record({{"step", host_.log().global_step()}, {"round", e.round}, {"eval_loss", e.loss}, {"eval_rewards/accuracies", e.accuracy},
                  {"eval_rewards/margins", e.margin}, {"eval_kl", e.kl}});
    host_.log().say("held out after " + std::to_string(e.round) + " rounds: loss " + short_number(e.loss) + ", accuracy " + short_number(e.accuracy) + ", margin " +
              short_number(e.margin) + ", KL " + short_number(e.kl));
  }

  void evaluate_policy() {
    if (!evaluator_) return;
    policy_evaluations_.push_back(
        llm::evaluate_policy(*evaluator_, model_.weights_for(state_.theta), state_.round, settings_.output_dir, host_.log()));
  }

  [[nodiscard]] double effective_beta() const { return llm::effective_beta(round_settings_, round_count(), settings_.loss.beta); }

  [[nodiscard]] std::string where() const {
    std::size_t const step = problem_.solver.inside ? problem_.solver.inside->step + 1 : 0;
    return "round " + std::to_string(state_.round + 1) + ", step " + std::to_string(step);
  }

  training_result summary() const {
    training_result result{host_.result(), problem_.score_seconds, effective_beta(), evaluations_, policy_evaluations_, 0, 0, problem_.noise};
    if (prompts_) {
      result.sample_seconds = prompts_->sample_seconds;
      result.judge_seconds = prompts_->judge_seconds;
    }
    result.train_seconds = problem_.score_seconds + problem_.solver.seconds + result.sample_seconds + result.judge_seconds;
    return result;
  }

  training_settings settings_;
  process_group group_;
  round_settings round_settings_;
  std::vector<loss_choice> losses_;
  loss_choice const& loss_;  // the first round's, by which all evaluations are made
  session session_;
  std::vector<std::vector<preference_pair>> files_;  // until rounds are made of them
  std::vector<preference_pair> held_out_;
  pack own_reference_;  // what --sync_ref_model starts from, where it isn't the start
  causal_lm model_;
  run_host host_;
  training_state state_;
  std::vector<round_pairs> rounds_;  // from files, or
  scorer judge_;
  std::optional<rollout_source> prompts_;
  std::optional<online_pairs> online_;
  std::optional<policy_evaluator> evaluator_;
  preference_problem problem_;
  margin_probe probe_;
  bool warned_ = false;
  pair_log_probs held_out_reference_;
  std::vector<evaluation> evaluations_;
  std::vector<policy_evaluation> policy_evaluations_;
};

}  // namespace

double effective_beta(round_settings const& rounds, std::size_t count, double beta) {
  std::vector<double> betas = rounds.beta;
  betas.resize(count, betas.empty() ? beta : betas.back());
  return kedge::effective_beta(betas, momentum_of(schedule_of(rounds, false)));
}

settings_list settings_of(training_settings& settings, round_settings& rounds) {
  settings_list list;
  declare(list, settings);
  declare_rounds(list, rounds);
  return list;
}

training_result train_preferences(training_settings const& settings, round_settings const& rounds) {
  check(settings, rounds);
  return preference_run(settings, rounds).run();
}

}  // namespace kedge::llm
