// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

void declare(settings_list& list, training_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL of preference pairs: prompt, chosen, rejected; one file, or one a round").alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out pairs, evaluated before, between and after rounds").resumes(on_resume::content);
  list.add("min_score_gap", s.min_score_gap, "keep training pairs whose scores differ at least so much; 0: all");
  list.add("eval_min_score_gap", s.eval_min_score_gap, "the same for held-out pairs");
  list.add("precision_pairs", s.precision_pairs, "in bfloat16: measure on so many pairs at most what rounding does to margins; 0: don't").resumes(on_resume::free);
  declare(list, s.loss);
  declare(list, static_cast<run_settings&>(s));
}

void declare(settings_list& list, loss_settings& s) {
  list.group("Loss");
  list.add("beta", s.beta, "weight of the reference").above(0).at_most(1e6);
  list.add("loss_type", s.loss_type, "one, or several for a mixture; TRL's names and the papers'");
  list.add("loss_weights", s.loss_weights, "one a loss; none: 1 each").at_least(-1e9);
  list.add("label_smoothing", s.label_smoothing, "share of labels taken to be wrong").below(1);
  list.add("f_divergence_type", s.f_divergence_type, "reverse_kl, forward_kl, js_divergence or alpha_divergence");
  list.add("f_alpha_divergence_coef", s.f_alpha_divergence_coef, "of alpha_divergence");
  list.add("discopop_tau", s.discopop_tau, "temperature of discopop").above(0);
  list.add("simpo_gamma", s.simpo_gamma, "target margin of simpo, alpha_po, alpha_dpo");
  list.add("cpo_alpha", s.cpo_alpha, "weight of the SFT term in cpo, simpo, alpha_po");
}

}  // namespace kedge::llm
