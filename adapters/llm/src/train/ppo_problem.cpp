// SPDX-License-Identifier: Apache-2.0
#include "ppo_problem.hpp"

#include <cmath>
#include <numeric>

#include <kedge/llm/base/error.hpp>

#include "../model/profile.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

constexpr char const* ratio_squares = "val/ratio_squares";  // of a step's parts, for the variance of the whole

causal_lm on_base(transformer_config const& config, compute_settings compute, lora_settings const* lora, base_weights const* base) {
  return lora ? causal_lm(config, compute, *lora, *base) : causal_lm(config, compute);
}

}  // namespace

lora_settings of_values(lora_settings adapter) {
  bool const chosen = !adapter.target_modules.empty();
  for (auto* const names : {&adapter.target_modules, &adapter.modules_to_save}) std::erase(*names, "lm_head");
  if (chosen && adapter.target_modules.empty())
    throw error("--lora_target_modules lm_head: a value model of its own has no LM head to be adapted; name further modules, or use --value_model shared");
  return adapter;
}

transformer_config with_heads(transformer_config config, bool lm, bool scalar) {
  config.lm_head = lm;
  config.scalar_head = scalar;
  return config;
}

policy_anchor::policy_anchor(reference_choice const& choice, std::size_t policy_size) : moves_(choice.what == reference_kind::ema), policy_size_(policy_size) {
  for (auto const& [name, value] : choice.numbers)
    if (name == "every")
      every_ = static_cast<std::size_t>(value);
    else
      average_.tau = value;
}

pack part_of(pack const& theta, std::size_t first, std::size_t count) {
  return {theta.begin() + static_cast<std::ptrdiff_t>(first), theta.begin() + static_cast<std::ptrdiff_t>(first + count)};
}

actor_critic::actor_critic(transformer_config const& config, compute_settings compute, advantage_rule advantage,
                           value_choice const& values, std::optional<frozen_bases> const& bases)
    : policy(on_base(config, compute, bases ? &bases->lora : nullptr, bases ? &bases->policy : nullptr)),
      sampler(policy.settings().fp32_weights ? causal_lm(config, in_fp32(compute)) : policy),
      policy_size(policy.parameters().size()) {
  if (advantage != advantage_rule::gae) return;
  lora_settings const* const lora = bases ? &bases->lora : nullptr;
  if (values.what == value_choice::kind::shared)
    shared.emplace(on_base(with_heads(config, true, true), compute, lora, bases ? &bases->policy : nullptr));
  else
    critic.emplace(bases ? causal_lm(with_heads(config, false, true), compute, of_values(*lora), bases->critic)
                         : causal_lm(with_heads(config, false, true), compute));
}

std::vector<parameter> actor_critic::parameters() const {
  std::vector<parameter> all = shared ? shared->parameters() : policy.parameters();
  if (critic)
    for (parameter const& p : critic->parameters()) all.push_back({"value." + p.name, p.shape});
  return all;
}

void actor_critic::divide(process_group const& group, llm::division what) {
  if (policy.adapted()) return;
  causal_lm& actor = shared ? *shared : policy;
  llm::divide(actor, group, what);
  for (causal_lm* const same : {&policy, &sampler}) same->divide(actor.division());
  if (critic) llm::divide(*critic, group, what);
}

divided_pack actor_critic::division() const {
  divided_pack all(shared ? *shared : policy);
  if (critic) all.add(*critic);
  return all;
}

ppo_problem::ppo_problem(actor_critic const& models, ppo_settings const& settings, rollout_source& prompts)
    : solver(settings, prompts.group(), settings.updates() * epoch_solver(settings).steps(settings.episodes_per_update())),
      controller{settings.kl_coef, settings.target_kl, settings.kl_horizon},
      models_(models),
      settings_(settings),
      prompts_(prompts) {
  solver.names = models.parameters();
  solver.division = models.division();
}

std::vector<rollout> const& ppo_problem::source(ppo_state const& state) {
  if (state.round == round_) return rollouts_;
  pack const weights = models_.policy.weights_for(part_of(state.theta, 0, models_.policy_size));
  std::vector<std::size_t> const which = prompts_.take(state.round, settings_.episodes_per_update() / settings_.num_generations);
  mixture_term const policy[] = {{1, &weights}};
  rollouts_ = prompts_.sample(policy, which, settings_.num_generations, state.round + 1);
  if (settings_.sampling.temperature != 1) {  // the policy that is trained is the one that was sampled
    std::vector<double> const logp =
        rollout_rows(models_.policy, weights, prompts_, rollouts_, settings_.compute.micro_batch_tokens).logp;
    std::size_t t = 0;
    for (rollout& r : rollouts_)
      for (double& value : r.logp) value = logp[t++];
  }
  round_ = state.round;
  return rollouts_;
}

std::vector<double> ppo_problem::score(pack const& theta, std::vector<rollout> const& rollouts) const {
  pack const weights = models_.policy.weights_for(part_of(theta, 0, models_.policy_size));
  return rollout_rows(models_.policy, weights, prompts_, rollouts, settings_.compute.micro_batch_tokens).logp;
}

kl_term ppo_problem::penalty(double difference) const {
  switch (settings_.kl_estimator) {
    case kl_estimator_kind::k1: return kl_k1(difference);
    case kl_estimator_kind::k2: return kl_k2(difference);
    case kl_estimator_kind::k3: break;
  }
  return kl_k3(difference);
}

double ppo_problem::score_of(rollout const& r) const { return r.score - (r.finished ? 0 : settings_.missing_eos_penalty.value_or(0)); }

void ppo_problem::report_objective(std::vector<rollout> const& rollouts, std::vector<double> const& reference) {
  report = {};
  report.examples = rollouts.size();
  double const share = 1 / static_cast<double>(rollouts.size());
  std::size_t t = 0;
  double kl_sum = 0, tokens = 0;
  for (rollout const& r : rollouts) {
    double kl = 0, penalties = 0, logp = 0;
    for (double const value : r.logp) {
      double const d = value - reference[t++];
      kl += d;
      penalties += penalty(d).value;
      logp += value;
    }
    report.add("objective/kl", kl, share);
    report.add("objective/entropy", -logp, share);
    report.add("objective/non_score_reward", -controller.beta * penalties, share);
    report.add("objective/rlhf_reward", score_of(r) - controller.beta * penalties, share);
    report.add("objective/scores", score_of(r), share);
    report.add("val/num_eos_tokens", r.finished ? 1 : 0);
    report.add("completions/mean_length", static_cast<double>(r.tokens.size()), share);
    kl_sum += kl;
    tokens += static_cast<double>(r.tokens.size());
    report.tokens += r.tokens.size();
  }
  report.add("objective/kl_per_token", kl_sum / tokens);
  report.add("kl_coef", controller.beta);
  report.padded_like_tokens = report.tokens;
  if (!kl_baseline) {
    kl_baseline = kl_sum / tokens;
    kl_at_start = kl_sum * share;
  }
}

token_targets ppo_problem::targets(std::vector<rollout> const& rollouts, std::vector<double> const& reference,
                                   std::vector<double> const& values) {
  bool const in_reward = settings_.kl_in == kl_place::reward;
  double const beta = in_reward ? controller.beta : 0, baseline = settings_.kl_baseline ? kl_baseline.value_or(0) : 0;
  std::vector<double> rewards;
  std::size_t t = 0;
  for (rollout const& r : rollouts) {
    std::vector<double> kl;
    for (double const logp : r.logp) kl.push_back(penalty(logp - reference[t++]).value);
    std::vector<double> const own = token_rewards(kl, score_of(r), beta, baseline);
    rewards.insert(rewards.end(), own.begin(), own.end());
  }
  std::vector<std::size_t> const offsets = token_offsets(rollouts);
  token_targets out;
  if (settings_.advantage == advantage_rule::gae) {
    if (settings_.whiten_rewards) whiten(rewards, /*keep_mean=*/true);
    out.old_value = values;
    for (std::size_t i = 0; i < rollouts.size(); ++i) {
      std::size_t const begin = offsets[i], size = offsets[i + 1] - begin;
      advantages const own = generalized_advantages(std::span(rewards).subspan(begin, size), std::span(values).subspan(begin, size),
                                                    settings_.gamma, settings_.lam);
      out.advantage.insert(out.advantage.end(), own.advantage.begin(), own.advantage.end());
      out.returns.insert(out.returns.end(), own.returns.begin(), own.returns.end());
    }
    whiten(out.advantage);
    return out;
  }
  std::vector<double> whole;  // reward of each completion
  for (std::size_t i = 0; i < rollouts.size(); ++i)
    whole.push_back(std::accumulate(rewards.begin() + static_cast<std::ptrdiff_t>(offsets[i]),
                                    rewards.begin() + static_cast<std::ptrdiff_t>(offsets[i + 1]), 0.0));
  for (std::size_t first = 0; first < whole.size(); first += settings_.num_generations) {
    std::span<double> const group = std::span(whole).subspan(first, settings_.num_generations);
    if (settings_.advantage == advantage_rule::rloo)
      leave_one_out(group);
    else
      standardize(group);
  }
  for (std::size_t i = 0; i < rollouts.size(); ++i) out.advantage.insert(out.advantage.end(), rollouts[i].tokens.size(), whole[i]);
  return out;
}

step_report ppo_problem::step(pack const& weights, std::vector<rollout> const& rollouts, std::vector<double> const& reference,
                              token_targets const& targets, std::span<std::size_t const> which, step_gradient& gradient) const {
  std::vector<std::size_t> const offsets = token_offsets(rollouts);
  std::size_t const actor_size = models_.policy_size + (models_.shared ? 1 : 0);
  pack const actor_weights = part_of(weights, 0, actor_size), critic_weights = part_of(weights, actor_size, weights.size() - actor_size);
  pack actor_gradient = part_of(gradient.sum(), 0, actor_size), critic_gradient = part_of(gradient.sum(), actor_size, weights.size() - actor_size);
  causal_lm const& actor = models_.shared ? *models_.shared : models_.policy;
  double tokens = 0;
  for (std::size_t const i : which) tokens += static_cast<double>(rollouts[i].tokens.size());
  double const share = 1 / tokens, beta = settings_.kl_in == kl_place::loss ? controller.beta : 0;
  bool const share_prefixes = actor.shares_prefixes() && (!models_.critic || models_.critic->shares_prefixes());
  step_report part;
  std::vector<std::size_t> const mine = own_share(prompts_, rollouts, which);
  std::vector<rollout_batch> const cuts = pack_rollouts(prompts_, rollouts, mine, settings_.compute.micro_batch_tokens, share_prefixes);
  for (rollout_batch const& micro : cuts) {
    causal_lm::row_result now = actor.forward_rows(actor_weights, micro.batch, {.entropy = settings_.log_entropy});
    std::optional<causal_lm::row_result> judged;
    if (models_.critic) judged.emplace(models_.critic->forward_rows(critic_weights, micro.batch));
    std::vector<double> const& values = judged ? judged->out.value : now.out.value;
    std::vector<double> policy_slopes, value_slopes;
    std::size_t row = 0;
    for (std::size_t const i : micro.which)
      for (std::size_t t = 0; t < rollouts[i].tokens.size(); ++t, ++row) {
        std::size_t const at = offsets[i] + t;
        double const logp = now.out.logp[row], old = rollouts[i].logp[t];
        clipped_term const surrogate = clipped_surrogate(logp, old, targets.advantage[at], settings_.cliprange, settings_.cliprange);
        kl_term const kl = penalty(logp - reference[at]);
        policy_slopes.push_back(share * (surrogate.slope + beta * kl.slope));
        part.loss += share * (surrogate.value + beta * kl.value);
        double const ratio = std::exp(logp - old);
        part.add("loss/policy_avg", surrogate.value, share);
        part.add("policy/approxkl_avg", (logp - old) * (logp - old) / 2, share);
        part.add("policy/clipfrac_avg", surrogate.clipped ? 1 : 0, share);
        part.add("val/ratio", ratio, share);
        part.add(ratio_squares, ratio * ratio, share);
        if (settings_.log_entropy) part.add("policy/entropy_avg", now.out.entropy[row], share);
        if (values.empty()) continue;
        clipped_term const value = clipped_value_loss(values[row], targets.old_value[at], targets.returns[at], settings_.cliprange_value);
        value_slopes.push_back(share * settings_.vf_coef * value.slope);
        part.loss += share * settings_.vf_coef * value.value;
        part.add("loss/value_avg", value.value, share);
        part.add("val/clipfrac_avg", value.clipped ? 1 : 0, share);
      }
    // A layer's gradients are complete when both models' are: the critic's come last.
    layer_callback const complete = gradient.when_last(&micro == &cuts.back());
    now.pullback(policy_slopes, models_.shared ? std::span<double const>(value_slopes) : std::span<double const>(), actor_gradient,
                 judged ? layer_callback() : complete);
    if (judged) judged->pullback(std::span<double const>(), value_slopes, critic_gradient, complete);
  }
  return part;
}

kedge::status ppo_problem::solve(pack& theta, std::vector<rollout> const& rollouts, std::vector<double> const& reference, std::size_t round) {
  report_objective(rollouts, reference);
  std::vector<double> values;
  if (models_.has_values()) {
    stop_watch const watch;
    timed const scope(phase::other);
    std::size_t const first = models_.critic ? models_.policy_size : 0;
    causal_lm const& model = models_.critic ? *models_.critic : *models_.shared;
    pack const weights = model.weights_for(part_of(theta, first, theta.size() - first));
    values = rollout_rows(model, weights, prompts_, rollouts, settings_.compute.micro_batch_tokens).value;
    solver.seconds += watch.seconds();
  }
  token_targets const targets = this->targets(rollouts, reference, values);
  double const share = 1 / static_cast<double>(solver.steps(rollouts.size()));
  solver.on_step = [&](step_report const& one) {
    report.loss += share * one.loss;
    report.grad_norm += share * one.grad_norm;
    report.learning_rate = one.learning_rate;
    for (metric const& m : one.metrics)
      if (m.name != ratio_squares) report.add(m.name, m.value, share);
    double const ratio = one.metric_or_nan("val/ratio");
    report.add("val/ratio_var", one.metric_or_nan(ratio_squares) - ratio * ratio, share);
    return true;
  };
  kedge::status const ended =
      solver.solve(models_.policy, theta, rollouts.size(), round, [&](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
        return step(weights, rollouts, reference, targets, which, gradient);
      });
  if (settings_.adap_kl_ctrl) controller.update(report.metric_or_nan("objective/kl"), static_cast<double>(rollouts.size()));
  report.round = round + 1;
  report.step = round + 1;
  report.steps = settings_.updates();
  std::size_t const of_epoch = settings_.num_generations * prompts_.size();
  report.epoch = static_cast<double>((round + 1) * rollouts.size()) / static_cast<double>(of_epoch);
  report.ends_epoch = (round + 1) * rollouts.size() / of_epoch > round * rollouts.size() / of_epoch;
  report.add("episode", static_cast<double>((round + 1) * rollouts.size()));
  return ended;
}

}  // namespace kedge::llm
