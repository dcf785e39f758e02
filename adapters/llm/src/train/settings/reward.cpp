// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

namespace kedge::llm {

void declare(settings_list& list, reward_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL of preference pairs: prompt, chosen, rejected; margin, if there is one, in the rewards' unit")
      .alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out pairs, evaluated before and after").resumes(on_resume::content);
  list.add("center_rewards_coefficient", s.center_rewards_coefficient, "weight of (reward chosen + reward rejected)^2, which keeps rewards around zero");
  list.add("eos_token", s.eos_token, "token of the tokenizer that ends texts, and is written as the one that does; none: the tokenizer's own").also("none", "");
  declare(list, static_cast<run_settings&>(s));
  list.drop("truncation_mode");  // what is longer than --max_length is left out
  list.drop("per_device_eval_batch_size");  // --micro_batch_tokens bounds an evaluation
}

}  // namespace kedge::llm
