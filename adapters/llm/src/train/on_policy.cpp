// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/on_policy.hpp>

namespace kedge::llm {

using json = nlohmann::ordered_json;

json as_json(policy_evaluation const& e) {
  return {{"round", e.round},
          {"eval_reward", e.reward},
          {"eval_reward_stderr", e.reward_stderr},
          {"eval_kl", e.kl},
          {"eval_win_rate", e.win_rate},
          {"eval_mean_length", e.length},
          {"eval_finished", e.finished},
          {"eval_completions", e.completions}};
}

json as_json(std::vector<policy_evaluation> const& evaluations) {
  json all = json::array();
  for (policy_evaluation const& e : evaluations) all.push_back(as_json(e));
  return all;
}

std::vector<policy_evaluation> evaluations_from(json const& saved) {
  std::vector<policy_evaluation> all;
  for (json const& e : saved)
    all.push_back({.round = e.at("round").get<std::size_t>(),
                   .reward = e.at("eval_reward").get<double>(),
                   .reward_stderr = e.at("eval_reward_stderr").get<double>(),
                   .kl = e.at("eval_kl").get<double>(),
                   .win_rate = e.at("eval_win_rate").get<double>(),
                   .length = e.at("eval_mean_length").get<double>(),
                   .finished = e.at("eval_finished").get<double>(),
                   .completions = e.at("eval_completions").get<std::size_t>()});
  return all;
}

}  // namespace kedge::llm
