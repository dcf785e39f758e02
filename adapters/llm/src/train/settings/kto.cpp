// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/kto.hpp>

namespace kedge::llm {

void declare(settings_list& list, kto_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL of single completions: prompt, completion, label (true: desirable); or of preference pairs, of which each makes two")
      .alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out completions, evaluated before and after").resumes(on_resume::content);
  list.group("Reference");
  list.add("ref_model_name_or_path", s.ref_model, "folder or GGUF file of the reference; none: where the run starts").resumes(on_resume::content);
  list.add("sync_ref_model", s.sync_ref_model, "TR-DPO: move the reference toward the policy while it trains");
  list.add("ref_model_mixup_alpha", s.ref_model_mixup_alpha, "share of the policy in the moved reference").at_most(1).needs("sync_ref_model");
  list.add("ref_model_sync_steps", s.ref_model_sync_steps, "optimiser steps from one move to the next").at_least(1).needs("sync_ref_model");
  list.group("Loss");
  list.add("loss_type", s.loss_type, "TRL's names");
  list.add("beta", s.beta, "weight of the reference").above(0).at_most(1e6);
  list.add("desirable_weight", s.desirable_weight, "weight of completions with label true");
  list.add("undesirable_weight", s.undesirable_weight, "weight of completions with label false");
  declare(list, static_cast<run_settings&>(s));
  list.drop("truncation_mode");  // the end of a completion is cut, as in TRL
  list.at("gradient_accumulation_steps").resumes(on_resume::same);  // the divergence is estimated in batches, as they are cut
}

}  // namespace kedge::llm
