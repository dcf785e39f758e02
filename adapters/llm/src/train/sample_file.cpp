// SPDX-License-Identifier: Apache-2.0
#include "sample_file.hpp"

#include <kedge/llm/base/atomic.hpp>

#include "trainer.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

namespace {

std::string sentence(policy_evaluation const& e) {
  return "held out after round " + std::to_string(e.round) + ": reward " + short_number(e.reward) + " ± " + short_number(e.reward_stderr) +
         ", KL to the start " + short_number(e.kl) + ", win rate against it " + short_number(e.win_rate) + ", length " + short_number(e.length);
}

void write_samples(std::filesystem::path const& output_dir, std::size_t round, rollout_source const& prompts, std::vector<rollout> const& rollouts) {
  std::string lines;
  for (rollout const& r : rollouts)
    lines += json{{"prompt", prompts.prompt(r.prompt)}, {"completion", r.text}, {"score", r.score}, {"tokens", r.tokens.size()}, {"finished", r.finished}}
                 .dump() +
             '\n';
  std::filesystem::create_directories(output_dir / "samples");
  write_file_atomically(output_dir / "samples" / ("round-" + std::to_string(round) + ".jsonl"), lines);
}

}  // namespace

policy_evaluation evaluate_policy(policy_evaluator& evaluator, pack const& weights, std::size_t round, std::filesystem::path const& output_dir,
                                  training_log& log) {
  policy_evaluation const e = evaluator.measure(weights, round);
  evaluator.prompts().group().lead([&] {
    write_samples(output_dir, e.round, evaluator.prompts(), evaluator.last);
    return "";
  });
  json line{{"step", log.global_step()}};
  line.update(as_json(e));
  log.record(line);
  log.say(sentence(e));
  return e;
}

}  // namespace kedge::llm
