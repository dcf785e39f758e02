// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/rounds.hpp>

namespace kedge::llm {

value_choice::value_choice(std::string_view text) {
  if (text == "separate") return;
  what = text == "shared" ? kind::shared : kind::reward_model;
  if (what == kind::reward_model) model = text;
}

nlohmann::ordered_json setting_type<value_choice>::write(value_choice const& value) {
  if (value.what == value_choice::kind::reward_model) return value.model.string();
  return value.what == value_choice::kind::shared ? "shared" : "separate";
}

void declare(settings_list& list, ppo_settings& s) {
  declare(list, static_cast<run_settings&>(s));
  list.at("num_train_epochs").alias("num_ppo_epochs").describe("passes over an update's completions");
  declare(list, s.sampling);
  list.at("temperature").above(0).describe("of sampling; the policy that is trained is the one at this temperature. 0 would explore nothing");
  list.at("prompts").required();
  list.group("PPO");
  list.add("total_episodes", s.total_episodes, "completions sampled in the whole run").at_least(1);
  list.add("num_mini_batches", s.num_mini_batches,
           "steps that an epoch makes of an update's completions; an update has batch size x accumulation x this").at_least(1).at_most(1 << 20);
  list.add("num_generations", s.num_generations, "completions of a prompt in one update").at_least(1).at_most(1 << 20);
  list.add("advantage", s.advantage, "gae is PPO; rloo and grpo compare completions of a prompt and need no values");
  list.add("kl_coef", s.kl_coef, "weight of the KL penalty").at_most(1e6);
  list.add("kl_estimator", s.kl_estimator, "Schulman's estimator of the KL");
  list.add("kl_in", s.kl_in, "where the penalty stands");
  list.add("adap_kl_ctrl", s.adap_kl_ctrl, "let the KL penalty follow --target_kl");
  list.add("target_kl", s.target_kl, "nats a completion").above(0);
  list.add("kl_horizon", s.kl_horizon, "completions over which the penalty follows").above(0);
  list.add("cliprange", s.cliprange, "ratios of probabilities outside 1 +- this are clipped");
  list.add("cliprange_value", s.cliprange_value, "the same for values, added and taken");
  list.add("vf_coef", s.vf_coef, "weight of the value loss");
  list.add("gamma", s.gamma, "discount of a later token's reward").at_most(1);
  list.add("lam", s.lam, "of generalized advantage estimation").at_most(1);
  list.add("whiten_rewards", s.whiten_rewards, "scale the rewards of an update to variance 1");
  list.add("missing_eos_penalty", s.missing_eos_penalty, "taken from the score of a completion that didn't end by itself; none: nothing");
  list.add(model_setting("value_model", s.value_model, "where values come from: a model of their own, a head on the policy, or a reward model to start from"))
      .resumes(on_resume::content);
  list.add("kl_baseline", s.kl_baseline, "penalise KL beyond that before the first step: no tax on length where the reference isn't the start");
  list.add("min_length_share", s.min_length_share, "stop if completions become shorter than this share of the first ones; 0: never").at_most(1);
  list.add("log_entropy", s.log_entropy, "policy/entropy_avg, at the cost of a pass over the probabilities").resumes(on_resume::free);
  list.add(model_setting("reference", s.reference, "what the KL is measured against: start, ema:tau=T[,every=K] for a moving average of the policy, a model's folder, soup:DIR,DIR[@W,W], or mkl:DIR,DIR[@W,W] for the mean of several penalties"))
      .resumes(on_resume::content);
  list.at("eval_strategy").describe("when held-out prompts are sampled and measured while training, steps being updates; no: before and after alone");
  for (char const* not_read : {"max_steps", "max_length", "truncation_mode", "ranked_pairs", "per_device_eval_batch_size"}) list.drop(not_read);
}

}  // namespace kedge::llm
