// SPDX-License-Identifier: Apache-2.0
#include "sample_file.hpp"

#include <kedge/llm/files/atomic.hpp>

#include "run_host.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

}  // namespace

void write_samples(std::filesystem::path const& output_dir, std::size_t round, rollout_source const& prompts, std::vector<rollout> const& rollouts) {
  std::string lines;
  for (rollout const& r : rollouts)
    lines += json{{"prompt", prompts.prompt(r.prompt)}, {"completion", r.text}, {"score", r.score}, {"tokens", r.tokens.size()}, {"finished", r.finished}}
                 .dump() +
             '\n';
  std::filesystem::create_directories(output_dir / "samples");
  write_file_atomically(output_dir / "samples" / ("round-" + std::to_string(round) + ".jsonl"), lines);
}

json log_line(policy_evaluation const& e, std::size_t step) {
  return {{"step", step},          {"round", e.round},         {"eval_reward", e.reward}, {"eval_reward_stderr", e.reward_stderr},
          {"eval_kl", e.kl},       {"eval_win_rate", e.win_rate}, {"eval_mean_length", e.length}, {"eval_finished", e.finished}};
}

std::string sentence(policy_evaluation const& e) {
  return "held out after round " + std::to_string(e.round) + ": reward " + short_number(e.reward) + " ± " + short_number(e.reward_stderr) +
         ", KL to the start " + short_number(e.kl) + ", win rate against it " + short_number(e.win_rate) + ", length " + short_number(e.length);
}

json as_json(std::vector<policy_evaluation> const& evaluations) {
  json all = json::array();
  for (policy_evaluation const& e : evaluations)
    all.push_back({{"round", e.round}, {"reward", e.reward}, {"reward_stderr", e.reward_stderr}, {"kl", e.kl}, {"win_rate", e.win_rate},
                   {"length", e.length}, {"finished", e.finished}, {"completions", e.completions}});
  return all;
}

std::vector<policy_evaluation> evaluations_from(json const& saved) {
  std::vector<policy_evaluation> all;
  for (json const& e : saved)
    all.push_back({e.at("round").get<std::size_t>(), e.at("reward").get<double>(), e.at("reward_stderr").get<double>(), e.at("kl").get<double>(),
                   e.at("win_rate").get<double>(), e.at("length").get<double>(), e.at("finished").get<double>(), e.at("completions").get<std::size_t>()});
  return all;
}

}  // namespace kedge::llm
