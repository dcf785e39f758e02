// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/judge_flags.hpp>
#include <kedge/llm/train/preference.hpp>

namespace kedge::llm {

// The text that parse_reference reads as this.
nlohmann::ordered_json setting_type<reference_choice>::write(reference_choice const& value) {
  std::string text(name_of(value.what));
  auto const number = [](double x) { return nlohmann::json(x).dump(); };
  char next = ':';
  auto const add = [&](std::string const& part) {
    text += next + part;
    next = ',';
  };
  for (auto const& model : value.models) add(model.string());
  if (!value.models.empty()) next = '@';
  for (double const weight : value.weights) add(number(weight));
  for (auto const& [name, x] : value.numbers) add(name + "=" + number(x));
  return text;
}

void declare_reference(settings_list& list, round_settings& s) {
  list.group("Reference");
  list.add(model_setting("reference", s.reference, "what policies are measured against, round after round; parameters after a colon, as in ema:tau=0.5 or soup:DIR,DIR@0.3,0.7"))
      .resumes(on_resume::content);
}

void declare_chunks(settings_list& list, round_settings& s) {
  declare_reference(list, s);
  list.group("Rounds");
  list.add("chunks", s.chunks, "cut one data set into so many rounds; 0: one file a round");
  list.add("order", s.order, "of the chunks");
  list.add("difficulty", s.difficulty, "what makes a pair easy: score_chosen - score_rejected, or the log-probability margin of the start");
  list.add("optimizer_span", s.optimizer_span, "what the optimizer's state and the schedule of the learning rate span");
}

void declare_rounds(settings_list& list, round_settings& s) {
  declare_chunks(list, s);
  list.add("rounds", s.rounds, "how many rounds of fresh pairs; with files: how many of them or chunks there must be").at_least(1);
  list.add("round_beta", s.beta, "a beta for each round, the last one goes on; none: --beta").above(0).at_most(1e6);
  list.add("momentum", s.momentum, "the rule of alpha: that of --alpha, or a sequence, or 0");
  list.add("alpha", s.alpha, "extrapolation of constant momentum; 0 is iterative DPO; several: one after each round, the last one goes on").at_most(10);
  list.add("nesterov_s", s.nesterov_s, "alpha_t = t / (t + s)").above(0);
  list.add("kappa", s.kappa, "condition number, of strongly-convex momentum").at_least(1);
  list.add("extrapolate", s.extrapolate,
           "weights: the reference is the extrapolated model, token by token; log-probs: exact at sequence level for losses of the margin");
  list.group("Null baseline");
  list.add("null", s.null, "run plain rounds that move as far as APO, in its place: with the effective beta, with a larger rate, or with both");
  declare(list, s.sampling);
  list.add("num_samples", s.num_samples, "completions of a prompt").at_least(2).at_most(1 << 20);
  list.add("prompts_per_round", s.prompts_per_round, "0 or -1: all").also("-1", "0");
  list.add("pairing", s.pairing, "the best with the worst completion of a prompt, or all that differ in score");
  list.add("sample_from", s.sample_from, "weights: the extrapolated model; mixture: (1 + alpha) log new - alpha log old, token by token");
}

void declare_judge(settings_list& list, on_policy_settings& s) {
  list.add("judge", s.judge, "program that reads {\"prompt\", \"completion\"} a line and answers {\"score\"} a line");
  list.add("judge_timeout", s.judge_timeout, "seconds for one answer").above(0).resumes(on_resume::free);
  list.add(model_setting("reward_model", s.reward_model, "folder of a reward model, instead of a judge")).alias("reward_model_path").excludes("judge").resumes(on_resume::content);
  list.add("judge_processes", s.judge_processes, "of several processes: all have a judge or reward model each, for what they sample; leading: one of them has it, for all").resumes(on_resume::free);
}

void declare(settings_list& list, on_policy_settings& s) {
  list.group("Sampling");
  list.add("prompts", s.prompts, "JSONL with the key prompt, sampled from while training").resumes(on_resume::content);
  declare_judge(list, s);
  list.add("max_new_tokens", s.max_new_tokens, "longest completion").alias("response_length").at_least(1).at_most(1 << 24);
  list.add("temperature", s.temperature, "of sampling; the policy that is trained is the one at this temperature").at_most(1e6);
  list.add("top_p", s.top_p, "sample from the fewest tokens that hold this probability; 1: all").above(0).at_most(1);
  list.add("top_k", s.top_k, "sample from the k likeliest tokens; 0 or -1: all").also("-1", "0");
  list.add("generation_batch_size", s.generation_batch_size, "completions decoded at once").at_least(1).at_most(1 << 20);
  list.add("eval_prompts", s.eval_prompts, "held-out prompts: reward, KL to the start, wins against it, length").resumes(on_resume::content);
  list.add("eval_samples", s.eval_samples, "completions of each of them").at_least(1).at_most(1 << 20);
  list.add("eval_judge", s.eval_judge, "program that judges them, where it isn't the judge or reward model of training").needs("eval_prompts");
}

std::size_t round_count(training_settings const& settings, round_settings const& rounds) {
  if (rounds.online()) return rounds.rounds;
  return rounds.chunks > 0 ? rounds.chunks : settings.dataset.size();
}

settings_list settings_of(training_settings& settings, round_settings& rounds) {
  settings_list list = declared(settings);
  declare_rounds(list, rounds);
  return list;
}

}  // namespace kedge::llm
