// SPDX-License-Identifier: Apache-2.0
#include "held_out_pairs.hpp"

#include <numeric>

namespace kedge::llm {

using json = nlohmann::ordered_json;

json as_json(evaluation const& e) {
  return {{"round", e.round},
          {"eval_loss", e.loss},
          {"eval_rewards/chosen", e.reward_chosen},
          {"eval_rewards/rejected", e.reward_rejected},
          {"eval_rewards/accuracies", e.accuracy},
          {"eval_rewards/margins", e.margin},
          {"eval_logps/chosen", e.logp_chosen},
          {"eval_logps/rejected", e.logp_rejected},
          {"eval_logps/fall", e.fall},
          {"eval_logits/chosen", e.logits_chosen},
          {"eval_logits/rejected", e.logits_rejected},
          {"eval_entropy", e.entropy},
          {"eval_mean_token_accuracy", e.token_accuracy},
          {"pairs", e.pairs}};
}

evaluation evaluation_from(json const& e) {
  auto const number = [&](char const* name) { return e.at(name).get<double>(); };
  return {.round = e.at("round").get<std::size_t>(),
          .loss = number("eval_loss"),
          .accuracy = number("eval_rewards/accuracies"),
          .margin = number("eval_rewards/margins"),
          .reward_chosen = number("eval_rewards/chosen"),
          .reward_rejected = number("eval_rewards/rejected"),
          .logp_chosen = number("eval_logps/chosen"),
          .logp_rejected = number("eval_logps/rejected"),
          .fall = number("eval_logps/fall"),
          .logits_chosen = number("eval_logits/chosen"),
          .logits_rejected = number("eval_logits/rejected"),
          .entropy = number("eval_entropy"),
          .token_accuracy = number("eval_mean_token_accuracy"),
          .pairs = e.at("pairs").get<std::size_t>()};
}

evaluation const& held_out_pairs::measure(pair_log_probs const& logp, token_figures const& tokens, loss_choice const& loss, std::size_t round, training_log& log) {
  if (reference_.chosen.empty()) reference_ = have_reference(pairs_) ? given_reference(pairs_) : logp;
  std::vector<std::size_t> which(pairs_.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  loss_input input(pairs_, which);
  input.logp = logp;
  input.ref = reference_;
  evaluation e{.round = round, .loss = loss.evaluate(input.view(), 0).value, .pairs = pairs_.size()};
  auto const n = static_cast<double>(pairs_.size());
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    double const a = logp.chosen[i] - reference_.chosen[i], b = logp.rejected[i] - reference_.rejected[i];
    e.accuracy += (a > b ? 1 : 0) / n;
    e.reward_chosen += loss.beta * a / n;
    e.reward_rejected += loss.beta * b / n;
    e.margin += loss.beta * (a - b) / n;
    e.logp_chosen += logp.chosen[i] / n;
    e.logp_rejected += logp.rejected[i] / n;
    e.fall -= (a + b) / (2 * n);
  }
  e.logits_chosen = tokens.logits_chosen;
  e.logits_rejected = tokens.logits_rejected;
  e.entropy = tokens.entropy;
  e.token_accuracy = tokens.accuracy;
  evaluations.push_back(e);
  json line{{"step", log.global_step()}};
  line.update(as_json(e));
  line["eval_num_tokens"] = log.num_tokens();
  log.record(line);
  log.say("held out after step " + std::to_string(log.global_step()) + ": loss " + short_number(e.loss) + ", accuracy " + short_number(e.accuracy) + ", margin " +
          short_number(e.margin) + ", log-probability of chosen " + short_number(e.logp_chosen) + ", of rejected " + short_number(e.logp_rejected));
  return evaluations.back();
}

void held_out_pairs::save(checkpoint_writer& to) const {
  save_logp(to, "evaluation", reference_);
  json all = json::array();
  for (evaluation const& e : evaluations) all.push_back(as_json(e));
  to.state["evaluations"] = all;
}

void held_out_pairs::restore(checkpoint_reader const& from) {
  restore_logp(from, "evaluation", reference_);
  for (json const& e : from.state.at("evaluations")) evaluations.push_back(evaluation_from(e));
}

}  // namespace kedge::llm
