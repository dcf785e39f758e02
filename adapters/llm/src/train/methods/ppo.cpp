// SPDX-License-Identifier: Apache-2.0
#include <numeric>
#include <optional>

#include <kedge/loop.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/weights.hpp>
#include <kedge/llm/train/ppo.hpp>

#include "../ppo_problem.hpp"
#include "../adapter_soup.hpp"
#include "../reference_soup.hpp"
#include "../trainer.hpp"
#include "held_out_prompts.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

void check(ppo_settings s) {
  declared(s).check_ranges();
  auto const reference = s.reference.what;
  require(reference == reference_kind::start || reference == reference_kind::ema || reference == reference_kind::soup || reference == reference_kind::mkl,
          "--reference " + std::string(name_of(reference)) + " is placed anew from round to round, which PPO doesn't do; use start, ema, soup, mkl or a model's folder");
  require(s.kl_coef > 0 || !s.adap_kl_ctrl, "--adap_kl_ctrl needs a --kl_coef above 0 to start from");
  require(s.episodes_per_update() % s.num_generations == 0,
          "an update has " + std::to_string(s.episodes_per_update()) + " completions (batch size x accumulation x --num_mini_batches), which " +
              std::to_string(s.num_generations) + " --num_generations don't divide");
  require(s.advantage == advantage_rule::gae || s.num_generations > 1, "--advantage " + std::string(name_of(s.advantage)) + " compares completions of a prompt; give --num_generations 2 or more");
  require(s.episodes_per_update() > 1, "an update needs at least 2 completions; raise --per_device_train_batch_size");
}

class ppo_run : public training_method {
 public:
  explicit ppo_run(ppo_settings const& settings)
      : settings_(settings),
        group_(join_run(settings_)),
        session_(settings_.model, settings_.compute, settings_.says()),
        judge_(make_scorer(settings_.sampling, session_, settings_.compute, group_)),
        compute_(session_.training_compute(settings_, held(settings), group_)),
        bases_(bases()),
        models_(divided({session_.config, with_temperature(compute_, settings.sampling.temperature), settings.advantage, settings.value_model, bases_})),
        prompts_(session_, models_.sampler, settings.sampling,
                 session_.read_prompts(settings.sampling.prompts, settings.reads(settings.max_train_samples)), judge_, settings.seed, group_),
        trainer_(settings_, session_.compute, models_.parameters(), group_, models_.division()),
        state_(start()),
        problem_(models_, settings_, prompts_) {
    pack const policy = part_of(state_.theta, 0, models_.policy_size);
    state_.anchor = settings_.use_peft ? make_adapter_anchor(settings.reference, session_, models_.policy, policy)
                                       : make_anchor(settings.reference, session_, policy, division_of(models_.policy).get());
    held_out_.open(session_, models_.sampler, models_.policy, settings_.sampling, settings_, judge_, group_, [this] {
      bool const from_start = settings_.reference.what == reference_choice::kind::start;  // which the anchor holds, unchanged
      return from_start ? state_.anchor.front().point : kedge::deep_copy(part_of(state_.theta, 0, models_.policy_size));
    });
  }

  ppo_result run() {
    auto const keep_going = [this] { return !trainer_.stop_requested(); };
    prompts_.keep_going = keep_going;
    held_out_.set_keep_going(keep_going);
    return summary(trainer_.run(*this));
  }

  [[nodiscard]] std::size_t steps() const override { return settings_.updates(); }
  [[nodiscard]] std::vector<shown_metric> shown() const override {
    return {{"objective/scores", "score"}, {"objective/kl", "KL"}, {"completions/mean_length", "length"}};
  }

  [[nodiscard]] run_identity identity() override {
    json contents{{"model", model_content(settings_.model)}, {"prompts", content_of(prompts_.prompts())}};
    if (held_out_.there()) contents["held-out prompts"] = held_out_.content();
    contents["reward model"] = model_content(settings_.sampling.reward_model);
    contents["reference"] = content_of(settings_.reference);
    contents["values"] = json::array({static_cast<int>(settings_.value_model.what), model_content(settings_.value_model.model)});
    ppo_settings untouched;
    run_identity identity = identify(declared(settings_), declared(untouched), settings_, session_.compute, std::move(contents));
    identity.about = {{"method", settings_.reference.models.empty() ? "ppo" : "salsa"}, {"examples_are", "prompts"},
                      {"model", about_model(session_, models_.policy)}, {"steps", steps()}, {"examples", prompts_.prompts().ids.size()}};
    identity.about["held_out"] = held_out_.count();
    return identity;
  }

  void restore(checkpoint_reader const& from) override {
    llm::restore(from, state_);
    if (reference_moves()) state_.anchor.front().point = from.read_pack("moving_reference", state_.theta.front().device(), models_.policy_size);
    llm::restore(from, problem_.solver, state_.theta);
    problem_.controller.beta = from.state.at("kl_coef").get<double>();
    if (from.state.contains("kl_at_start")) {
      problem_.kl_baseline = from.state["kl_at_start"].at(0).get<double>();
      problem_.kl_at_start = from.state["kl_at_start"].at(1).get<double>();
    }
    length_.first_mean = from.state.at("first_length").get<double>();
    prompts_.sample_seconds = from.state.at("sample_seconds").get<double>();
    prompts_.judge_seconds = from.state.at("judge_seconds").get<double>();
    held_out_.restore(from);
  }

  void begin(bool resumed) override {
    if (!resumed || held_out_.lack_start()) trainer_.measure_here();
  }

  [[nodiscard]] kedge::status train() override {
    kedge::status const ended = kedge::run(state_, policy_anchor(settings_.reference, models_.policy_size), problem_, settings_.updates(), *this);
    return collapsed_ ? kedge::status::done : ended;
  }

  void forget_samples() override { state_.in_round = false; }  // nothing has moved since the last update

  void save(checkpoint_writer& to) const override {
    llm::save(to, state_, /*anchors=*/false);
    if (reference_moves()) to.add("moving_reference", state_.anchor.front().point);
    llm::save(to, problem_.solver, state_.theta);
    to.state["kl_coef"] = problem_.controller.beta;
    if (problem_.kl_baseline) to.state["kl_at_start"] = {*problem_.kl_baseline, problem_.kl_at_start};
    to.state["first_length"] = length_.first_mean;
    to.state["sample_seconds"] = prompts_.sample_seconds;
    to.state["judge_seconds"] = prompts_.judge_seconds;
    held_out_.save(to);
  }

  [[nodiscard]] bool measures() const override { return held_out_.there(); }
  [[nodiscard]] json measure() override {
    return held_out_.measure(models_.policy.weights_for(part_of(state_.theta, 0, models_.policy_size)), state_.round, settings_.output_dir, trainer_.log());
  }
  void take_weights(checkpoint_reader const& from) override { state_.theta = from.read_pack("theta", state_.theta.front().device()); }

  [[nodiscard]] std::string where() const override { return "update " + std::to_string(state_.round + 1); }
  void prepare_to_write() override { state_.theta = models_.division().known(state_.theta); }
  void write() const override { session_.write_trained(models_.policy, part_of(state_.theta, 0, models_.policy_size), settings_); }

  // Observer of kedge::run.
  void on_round_end(ppo_state const& state) {
    if (state.round == 1)
      trainer_.log().say("KL to the reference before the first step: " + short_number(problem_.kl_at_start) + " nats a completion, " +
                      short_number(*problem_.kl_baseline) + " a token");
    guard_length();
    trainer_.log_step(problem_.report);
    if (state.round == settings_.updates() || collapsed_) trainer_.measure_here();
    if (!trainer_.measure_and_save(problem_.report)) stop_ = true;
  }
  [[nodiscard]] bool should_stop(ppo_state const&) const { return stop_ || collapsed_; }

 private:
  static compute_settings with_temperature(compute_settings compute, double temperature) {
    compute.temperature = temperature;
    return compute;
  }

  [[nodiscard]] bool reference_moves() const { return settings_.reference.what == reference_kind::ema; }

  static bool has_critic(ppo_settings const& s) { return s.advantage == advantage_rule::gae && s.value_model.what != value_choice::kind::shared; }

  // The reference's models, the start that evaluations compare with if it is none of them, and values of their own.
  static held_besides held(ppo_settings const& s) {
    bool const from_start = s.reference.what == reference_choice::kind::start, mkl = s.reference.what == reference_choice::kind::mkl;
    std::int64_t const references = mkl ? static_cast<std::int64_t>(s.reference.models.size()) : 1;
    return {.points = references + (from_start || s.sampling.eval_prompts.empty() ? 0 : 1), .models = has_critic(s) ? 2 : 1};
  }

  // Where a value model of its own begins: all that is below its score, and the score.
  struct value_start {
    pack body;
    at::Tensor score;

    [[nodiscard]] pack all() const {
      pack both = body;
      both.push_back(score);
      return both;
    }
  };

  [[nodiscard]] value_start values_of_policy(pack const& policy) const {
    return {part_of(policy, 0, parameters_of(with_heads(session_.config, false, false)).size()), zero_head()};
  }

  [[nodiscard]] value_start values_of_reward_model() const {
    checkpoint const source = open_model(settings_.value_model.model);
    if (!read_config(source).scalar_head)
      throw error(settings_.value_model.model.string() + ": not a reward model; --value_model takes separate, shared, or the folder of one");
    value_start values{master_weights(load_model(settings_.value_model.model, source, with_heads(session_.config, false, true)), session_.compute), {}};
    values.score = values.body.back();
    values.body.pop_back();
    return values;
  }

  // policy: all of its parameters, which the values may share
  [[nodiscard]] value_start own_values(pack const& policy) const {
    return settings_.value_model.what == value_choice::kind::separate ? values_of_policy(policy) : values_of_reward_model();
  }

  // A head whose values are 0.
  [[nodiscard]] at::Tensor zero_head() const { return master_weights({at::zeros({1, session_.config.hidden})}, session_.compute).front(); }

  // With adapters: the policy's model, and what the values stand on.
  [[nodiscard]] std::optional<frozen_bases> bases() const {
    if (!settings_.use_peft) return {};
    if (settings_.reference.what == reference_kind::ema)
      throw error("--use_peft: a moving average of the factors of an adapter is none of its weights; use start, soup or mkl, or full training");
    lora_settings const lora = session_.trained_adapter(settings_);
    frozen_bases frozen{lora, session_.frozen(settings_, session_.config, session_.compute, lora), {}, {}};
    if (!has_critic(settings_)) return frozen;
    transformer_config const body = with_heads(session_.config, false, false);
    if (settings_.value_model.what == value_choice::kind::separate) {  // on the policy's base
      frozen.critic = {part_of(frozen.policy.tensors, 0, parameters_of(body).size()), frozen.policy.stored};
      frozen.score = zero_head();
      return frozen;
    }
    value_start const values = values_of_reward_model();
    frozen.critic = frozen_base(body, session_.compute, of_values(lora), values.body);
    frozen.score = values.score;
    return frozen;
  }

  [[nodiscard]] actor_critic divided(actor_critic models) const {
    models.divide(group_, settings_.fsdp.what);
    return models;
  }

  // The same as start(), where each process reads its parts alone.
  [[nodiscard]] pack divided_start() const {
    pack theta = models_.shared ? session_.load(*models_.shared, zero_head()) : session_.load(models_.policy);
    if (!models_.critic) return theta;
    bool const as_policy = settings_.value_model.what == value_choice::kind::separate;
    pack const values = as_policy ? session_.load(*models_.critic, zero_head()) : division_of(*models_.critic)->cut(values_of_reward_model().all());
    theta.insert(theta.end(), values.begin(), values.end());
    return models_.division().known(theta);
  }

  // The policy's weights, and values that start at 0, or where a reward model says.
  [[nodiscard]] pack start() const {
    if (models_.division().divides_weights()) return divided_start();
    pack theta = session_.trained_start(models_.policy, settings_.seed);
    if (models_.shared) theta.push_back(zero_head());
    if (!models_.critic) return theta;
    value_start const values =
        bases_ ? value_start{master_weights(initial_adapter(*models_.critic, settings_.seed + 1), session_.compute), bases_->score} : own_values(theta);
    for (at::Tensor const& t : kedge::deep_copy(values.body)) theta.push_back(t);
    theta.push_back(values.score.clone());
    return theta;
  }

  // The policy pays less KL if it ends early: the alarm of a reference that is not the start.
  void guard_length() {
    length_.shortest_share = settings_.min_length_share;
    if (length_.admits(problem_.report.metric_or_nan("completions/mean_length")) || settings_.min_length_share == 0) return;
    collapsed_ = true;
    trainer_.log().say("warning: completions have become shorter than " + short_number(settings_.min_length_share) +
                    " of their first length; stopped here. Lower --kl_coef, or use --kl_baseline");
  }

  [[nodiscard]] ppo_result summary(run_result const& ended) const {
    ppo_result result{ended, problem_.kl_at_start, problem_.kl_baseline.value_or(0), prompts_.sample_seconds, prompts_.judge_seconds,
                      collapsed_, held_out_.evaluations};
    result.train_seconds = problem_.solver.seconds + prompts_.sample_seconds + prompts_.judge_seconds;
    return result;
  }

  ppo_settings settings_;
  process_group group_;
  session session_;
  scorer judge_;
  compute_settings compute_;  // looks at the free memory: once the judge's model has its share, before the own ones are loaded
  std::optional<frozen_bases> bases_;
  actor_critic models_;
  rollout_source prompts_;
  trainer trainer_;
  ppo_state state_;
  ppo_problem problem_;
  held_out_prompts held_out_;
  kedge::length_guard length_;
  bool stop_ = false, collapsed_ = false;
};

}  // namespace

ppo_result train_ppo(ppo_settings const& settings) {
  check(settings);
  return ppo_run(settings).run();
}

}  // namespace kedge::llm
