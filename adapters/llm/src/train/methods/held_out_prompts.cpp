// SPDX-License-Identifier: Apache-2.0
#include "held_out_prompts.hpp"

#include "../sample_file.hpp"
#include "../session.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

void held_out_prompts::open(session const& s, causal_lm const& sampler, causal_lm const& policy, on_policy_settings const& sampling, run_settings const& run,
                            scorer& judge, process_group const& group, std::function<pack()> const& at_start) {
  if (sampling.eval_prompts.empty()) return;
  if (!sampling.eval_judge.empty()) {
    on_policy_settings own = sampling;
    own.judge = sampling.eval_judge;
    own.reward_model.clear();
    own_judge_ = make_scorer(own, s, run.compute, group);
  }
  rollout_source prompts(s, sampler, sampling, s.read_prompts(sampling.eval_prompts, run.reads(run.max_eval_samples)), own_judge_ ? own_judge_ : judge,
                         run.seed + 1, group);
  evaluator_.emplace(std::move(prompts), policy, policy.weights_for(at_start()), sampling.eval_samples, run.compute.micro_batch_tokens);
}

void held_out_prompts::set_keep_going(std::function<bool()> const& ask) {
  if (evaluator_) evaluator_->set_keep_going(ask);
}

json held_out_prompts::content() const { return evaluator_ ? json(content_of(evaluator_->prompts().prompts())) : json(); }

json held_out_prompts::measure(pack const& weights, std::size_t round, std::filesystem::path const& output_dir, training_log& log) {
  evaluations.push_back(evaluate_policy(*evaluator_, weights, round, output_dir, log));
  return as_json(evaluations.back());
}

void held_out_prompts::save(checkpoint_writer& to) const {
  to.state["policy_evaluations"] = as_json(evaluations);
  to.add("start_scores", evaluator_ ? evaluator_->start_scores : std::vector<double>{});
}

void held_out_prompts::restore(checkpoint_reader const& from) {
  evaluations = evaluations_from(from.state.at("policy_evaluations"));
  if (evaluator_) evaluator_->start_scores = from.read_vector("start_scores");
}

}  // namespace kedge::llm
