// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include <kedge/loop.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../margin_probe.hpp"
#include "../online_pairs.hpp"
#include "../own_reference.hpp"
#include "../../scale/context_groups.hpp"
#include "../preference_problem.hpp"
#include "../reference_schedule.hpp"
#include "../reference_soup.hpp"
#include "../session.hpp"
#include "../trainer.hpp"
#include "falling_chosen.hpp"
#include "held_out_pairs.hpp"
#include "held_out_prompts.hpp"
#include "preference_data.hpp"
#include "round_plan.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// What a ring of processes can't compute together.
void refuse_context(training_settings const& settings, round_settings const& rounds, causal_lm const& model) {
  std::string const flag = "--context_parallel_size " + std::to_string(settings.context_parallel_size);
  if (!model.settings().device.is_cpu()) throw error(flag + ": keys and values go around by Gloo, on processors; leave it out with --device cuda");
  if (division_of(model)) throw error(flag + ": weights or gradients that are divided as well (--fsdp) are not supported; leave one of them out");
  if (rounds.online()) throw error(flag + ": completions are sampled by each process alone; leave it out with --prompts");
  if (model.config().experts.count > 0) throw error(flag + ": mixtures of experts are not supported; leave it out");
  if (!model.shares_prefixes()) throw error(flag + ": a model whose rotations depend on the length of a sequence is not supported; leave it out");
}

class preference_run : public training_method {
 public:
  preference_run(training_settings const& settings, round_settings const& rounds)
      : settings_(settings),
        group_(join_run(settings_)),
        context_(divide_by_context(group_, static_cast<int>(settings_.context_parallel_size))),
        round_settings_(rounds),
        losses_(losses_of(settings, rounds)),
        loss_(losses_.front()),
        session_(settings_.model, settings_.compute, settings_.says()),
        files_(read_pair_files(session_, settings_)),
        own_reference_(score_by_own_model()),
        held_out_(std::move(files_.held_out)),
        model_(in_ring(session_.trained_model(settings_, {.points = kept_points(settings, rounds), .longest = longest_pair()}, group_))),
        trainer_(settings_, session_.compute, model_.parameters(), group_, model_),
        state_(session_.trained_start(model_, settings.seed)),
        problem_(model_, settings_, losses_, [this](training_state const& state) { return pairs_of_round(state); }, group_, context_.data),
        probe_(model_, settings_.profile ? 0 : settings_.precision_pairs, settings_.compute.micro_batch_tokens, settings_.ld_alpha) {
    problem_.probe = &probe_;
    if (settings_.use_peft) check_extrapolated(session_.trained_adapter(settings_), settings_, round_settings_);
    if (!rounds.reference.models.empty()) state_.anchor = anchor_of_models();
    open_judge();
    if (rounds.online())
      open_prompts();
    else
      make_rounds();
    if (rounds.optimizer_span == optimizer_span::run) problem_.solver.go_on_for(steps());
    if (!own_reference_.empty()) problem_.moving->begin(std::exchange(own_reference_, {}), 0);
  }

  training_result run() {
    problem_.solver.on_step = [this](step_report const& report) {
      steps_of_round_ = report.steps;
      falling_.add(report);
      return trainer_.after_step(report);
    };
    auto const keep_going = [this] { return !trainer_.stop_requested(); };
    if (prompts_) prompts_->keep_going = keep_going;
    held_out_prompts_.set_keep_going(keep_going);
    return summary(trainer_.run(*this));
  }

  [[nodiscard]] std::size_t steps() const override {
    if (online_) return round_count() * problem_.solver.steps(online_->expected());
    std::size_t steps = 0;
    for (round_pairs const& pairs : rounds_) steps += problem_.solver.steps(pairs->size());
    return steps;
  }

  [[nodiscard]] std::vector<shown_metric> shown() const override { return {{"rewards/margins", "margin"}, {"rewards/accuracies", "accuracy"}}; }

  [[nodiscard]] run_identity identity() override {
    json contents{{"model", model_content(settings_.model)}, {"training data", content_of(std::span<round_pairs const>(rounds_))}, {"held-out pairs", content_of(std::span<preference_pair const>(held_out_.pairs()))},
                  {"reference model", model_content(settings_.ref_model)}};
    if (online_) contents["prompts"] = content_of(prompts_->prompts());
    if (held_out_prompts_.there()) contents["held-out prompts"] = held_out_prompts_.content();
    contents["reference"] = content_of(round_settings_.reference);
    contents["reward model"] = model_content(round_settings_.sampling.reward_model);
    training_settings untouched;
    round_settings usual = usual_rounds(round_settings_.method);
    run_identity identity = identify(settings_of(settings_, round_settings_), settings_of(untouched, usual), settings_, session_.compute, std::move(contents));
    identity.about = {{"method", name_of(round_settings_.method)}, {"examples_are", "pairs"}, {"model", about_model(session_, model_)}, {"steps", steps()},
                      {"held_out", held_out_.pairs().size()}, {"held_out_prompts", held_out_prompts_.count()}, {"rounds", about_rounds(round_settings_, losses_, rounds_, round_count())}};
    return identity;
  }

  void restore(checkpoint_reader const& from) override {
    llm::restore(from, state_);
    llm::restore(from, problem_.solver, state_.theta);
    if (problem_.moving) problem_.moving->restore(from, state_.theta.front().device());
    held_out_.restore(from);
    probe_.reference = from.read_vector("precise_reference");
    round_content_ = from.state.at("round_content").get<std::string>();
    problem_.score_seconds = from.state.at("score_seconds").get<double>();
    held_out_prompts_.restore(from);
  }

  void begin(bool resumed) override {
    if (!resumed)
      start();
    else if (held_out_prompts_.lack_start())
      trainer_.measure_here();
  }

  // Sampling that was stopped leaves a round that is placed and of which nothing is trained: a resume samples again.
  [[nodiscard]] kedge::status train() override {
    return kedge::run(state_, make_schedule(schedule_of(round_settings_, products_of(model_))), problem_, round_count(), *this);
  }

  void save(checkpoint_writer& to) const override {
    problem_.solver.complete_theta();
    llm::save(to, state_);
    llm::save(to, problem_.solver, state_.theta);
    if (problem_.moving) problem_.moving->save(to);
    held_out_.save(to);
    to.add("precise_reference", probe_.reference);
    to.state["round_content"] = round_content_;
    to.state["score_seconds"] = problem_.score_seconds;
    held_out_prompts_.save(to);
  }

  [[nodiscard]] std::string where() const override {
    std::size_t const step = problem_.solver.inside ? problem_.solver.inside->step + 1 : 0;
    return "round " + std::to_string(state_.round + 1) + ", step " + std::to_string(step);
  }

  void prepare_to_write() override { state_.theta = divided_pack(model_).known(state_.theta); }
  void write() const override { session_.write_trained(model_, state_.theta, settings_); }

  [[nodiscard]] bool measures() const override { return held_out_prompts_.there() || !held_out_.pairs().empty(); }
  [[nodiscard]] json measure() override {
    json figures = json::object();
    problem_.solver.complete_theta();
    if (held_out_prompts_.there())
      figures.update(held_out_prompts_.measure(model_.weights_for(state_.theta), rounds_completed(), settings_.output_dir, trainer_.log()));
    if (held_out_.pairs().empty()) return figures;
    token_figures tokens;
    pair_log_probs const logp = score(held_out_.pairs(), &tokens);
    figures.update(as_json(held_out_.measure(logp, tokens, loss_, rounds_completed(), trainer_.log())));
    return figures;
  }
  void take_weights(checkpoint_reader const& from) override { state_.theta = from.read_pack("theta", state_.theta.front().device()); }

  // Observer of kedge::run.
  void on_round_start(training_state const& state, std::vector<preference_pair> const& pairs) {
    if (round_count() > 1)
      trainer_.log().say("round " + std::to_string(state.round + 1) + " of " + std::to_string(round_count()) + ": " + std::to_string(pairs.size()) + " pairs");
  }
  void on_round_end(training_state const& state) {
    if (problem_.noise) warned_ = tell(*problem_.noise, state.round, warned_, trainer_.log());
    falling_.tell(loss_.beta, trainer_.log());
    trainer_.measure_here();
  }

 private:
  // References that are other models stay as they are put here.
  [[nodiscard]] std::vector<kedge::anchor_term<pack>> anchor_of_models() const {
    if (model_.adapted()) throw error("--use_peft: the reference is the model with the adapter off, or what the schedule makes of it; one of other models needs full training");
    return make_anchor(round_settings_.reference, session_, state_.theta, division_of(model_).get());
  }

  [[nodiscard]] std::int64_t longest_pair() const {
    std::size_t most = 0;
    for (auto const& pairs : files_.training)
      for (preference_pair const& pair : pairs) most = std::max(most, shared_tokens(pair));
    return static_cast<std::int64_t>(most);
  }

  // A model whose sequences the processes of a ring share, where they do.
  [[nodiscard]] causal_lm in_ring(causal_lm model) const {
    if (context_.ring) {
      refuse_context(settings_, round_settings_, model);
      model.share_sequences(context_.ring);
    }
    return model;
  }

  void open_prompts() {
    on_policy_settings const& sampling = round_settings_.sampling;
    prompts_.emplace(session_, model_, sampling, session_.read_prompts(sampling.prompts, settings_.reads(settings_.max_train_samples)), judge_, settings_.seed, group_);
    online_.emplace(round_settings_, settings_, model_, *prompts_);
  }

  // Who rewards what is sampled: pairs of online rounds, and completions of held-out prompts whatever pairs are trained on.
  void open_judge() {
    on_policy_settings const& sampling = round_settings_.sampling;
    bool const judges_held_out = !sampling.eval_prompts.empty() && sampling.eval_judge.empty();
    if (round_settings_.online() || judges_held_out) judge_ = make_scorer(sampling, session_, settings_.compute, group_);
    held_out_prompts_.open(session_, model_, model_, sampling, settings_, judge_, group_, [this] { return kedge::deep_copy(state_.theta); });
  }

  round_pairs pairs_of_round(training_state const& state) {
    if (!online_) return rounds_[state.round];
    auto pairs = std::make_shared<std::vector<preference_pair> const>(online_->pairs(state));
    std::string const content = content_of(std::span<preference_pair const>(*pairs));
    if (state.cached && content != round_content_)
      throw error("the pairs of round " + std::to_string(state.round + 1) + " were " + round_content_ + " when the run stopped in it, and are " + content +
                  " now; go on from a checkpoint between rounds");
    round_content_ = content;
    if (!state.cached)
      trainer_.log().record({{"step", trainer_.log().global_step()}, {"round", state.round + 1}, {"sampled_completions", online_->sampled},
                          {"sampled_reward", online_->mean_score}, {"sampled_pairs", pairs->size()}});
    return pairs;
  }

  // Before the model that is trained is opened, so that one is in memory at a time.
  [[nodiscard]] pack score_by_own_model() {
    if (settings_.ref_model.empty()) return {};
    std::vector<std::vector<preference_pair>*> lists{&files_.training.front()};
    if (!files_.held_out.empty()) lists.push_back(&files_.held_out);
    return score_by_own_reference(settings_, session_, context_.data, lists);
  }

  void make_rounds() {
    if (settings_.sync_ref_model && settings_.ref_model.empty() && have_reference(files_.training.front()))
      throw error(settings_.dataset.front().string() + ": ref_chosen_logps are numbers, which --sync_ref_model can't move; leave one of the two out");
    rounds_ = rounds_of(std::move(files_.training), round_settings_, settings_.seed, loss_.reads_scores, [this](std::vector<preference_pair> const& pairs) {
      pair_log_probs margins = score(pairs);
      axpby(-1, margins.rejected, 1, margins.chosen);
      return margins.chosen;
    });
  }

  // Log-probabilities under the policy as it stands.
  [[nodiscard]] pair_log_probs score(std::vector<preference_pair> const& pairs, token_figures* tokens = nullptr) const {
    return score_in_order(model_, model_.weights_for(state_.theta), pairs, settings_.per_device_eval_batch_size, settings_.compute.micro_batch_tokens, context_.data,
                          settings_.ld_alpha, tokens);
  }

  [[nodiscard]] std::size_t round_count() const { return llm::round_count(settings_, round_settings_); }

  void start() {
    trainer_.log().say(short_name(settings_.model) + ": " + short_count(parameter_count(session_.config)) + " parameters, " +
              std::string(at::toString(session_.compute.type)) + " on " + session_.compute.device.str() + "; " +
              std::to_string(steps()) + " steps in " + std::to_string(round_count()) + (round_count() == 1 ? " round" : " rounds"));
    tell_given_reference();
    if (model_.adapted()) trainer_.log().say("an adapter of " + short_count(elements_of(state_.theta)) + " parameters is trained");
    if (round_settings_.method == round_method::apo)
      trainer_.log().say("effective beta " + short_number(effective_beta()) + ": where rounds are solved, iterative DPO with this beta and alpha = 0 ends at the same policy; " +
                         "where they aren't, kedge apo --null both does");
    if (round_settings_.extrapolate == extrapolated::log_probs && round_settings_.momentum != momentum_choice::none && !loss_.shift_invariant)
      trainer_.log().say("warning: " + loss_.name + " is not shift-invariant; extrapolated log-probabilities are unnormalised and only approximate for it");
    trainer_.measure_here();
  }

  void tell_given_reference() {
    bool const later = std::any_of(rounds_.begin() + (rounds_.empty() ? 0 : 1), rounds_.end(), [](round_pairs const& pairs) { return have_reference(*pairs); });
    if (!rounds_.empty() && have_reference(*rounds_.front()))
      trainer_.log().say("the reference of round 1 " + (settings_.ref_model.empty() ? "comes with the data" : "is " + settings_.ref_model.string()) +
                      (round_count() > 1 ? "; later rounds score the anchor of their schedule" : ""));
    else if (later)
      trainer_.log().say("ref_chosen_logps of later rounds' data are not used: those rounds score the anchor of their schedule");
  }

  // With the running one, once its last step is done.
  [[nodiscard]] std::size_t rounds_completed() const {
    bool const at_end = problem_.solver.inside && problem_.solver.inside->step > 0 && problem_.solver.inside->step == steps_of_round_;
    return state_.round + (at_end ? 1 : 0);
  }

  [[nodiscard]] double effective_beta() const { return llm::effective_beta(round_settings_, round_count(), settings_.loss.beta); }

  [[nodiscard]] training_result summary(run_result const& ended) const {
    training_result result{ended, problem_.score_seconds, effective_beta(), held_out_.evaluations, held_out_prompts_.evaluations, 0, 0, problem_.noise};
    if (prompts_) {
      result.sample_seconds = prompts_->sample_seconds;
      result.judge_seconds = prompts_->judge_seconds;
    }
    result.train_seconds = problem_.score_seconds + problem_.solver.seconds + result.sample_seconds + result.judge_seconds;
    return result;
  }

  training_settings settings_;
  process_group group_;
  context_groups context_;
  round_settings round_settings_;
  std::vector<loss_choice> losses_;
  loss_choice const& loss_;  // the first round's, by which all evaluations are made
  session session_;
  pair_files files_;    // until rounds are made of them
  pack own_reference_;  // what --sync_ref_model starts from, where it isn't the start
  held_out_pairs held_out_;
  causal_lm model_;
  trainer trainer_;
  training_state state_;
  std::vector<round_pairs> rounds_;  // from files, or
  scorer judge_;
  std::optional<rollout_source> prompts_;
  std::optional<online_pairs> online_;
  std::string round_content_;  // of the pairs that the running round has sampled
  held_out_prompts held_out_prompts_;
  preference_problem problem_;
  margin_probe probe_;
  bool warned_ = false;
  std::size_t steps_of_round_ = 0;
  falling_chosen falling_;
};

}  // namespace

training_result train_preferences(training_settings const& settings, round_settings const& rounds) {
  check_rounds(settings, rounds);
  return preference_run(settings, rounds).run();
}

}  // namespace kedge::llm
