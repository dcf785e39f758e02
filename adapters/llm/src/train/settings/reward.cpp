// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

namespace kedge::llm {

void declare(settings_list& list, reward_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL of preference pairs: prompt, chosen, rejected; margin, if there is one, in the rewards' unit")
      .alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out pairs, evaluated before and after").resumes(on_resume::content);
  list.add("center_rewards_coefficient", s.center_rewards_coefficient, "weight of (reward chosen + reward rejected)^2, which keeps rewards around zero");
  declare(list, static_cast<run_settings&>(s));
}

}  // namespace kedge::llm
