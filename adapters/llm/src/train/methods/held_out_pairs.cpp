// SPDX-License-Identifier: Apache-2.0
#include "held_out_pairs.hpp"

#include <numeric>

#include "../pair_input.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

void held_out_pairs::measure(pair_log_probs const& logp, loss_choice const& loss, std::size_t round, training_log& log) {
  if (reference_.chosen.empty()) reference_ = have_reference(pairs_) ? given_reference(pairs_) : logp;
  std::vector<std::size_t> which(pairs_.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  loss_input input(pairs_, which);
  input.logp = logp;
  input.ref = reference_;
  evaluation e{round, loss.evaluate(input.view(), 0).value, 0, 0, 0, pairs_.size()};
  auto const n = static_cast<double>(pairs_.size());
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    double const a = logp.chosen[i] - reference_.chosen[i], b = logp.rejected[i] - reference_.rejected[i];
    e.accuracy += (a > b ? 1 : 0) / n;
    e.margin += loss.beta * (a - b) / n;
    e.kl -= (a + b) / (2 * n);
  }
  evaluations.push_back(e);
  log.record({{"step", log.global_step()}, {"round", e.round}, {"eval_loss", e.loss}, {"eval_rewards/accuracies", e.accuracy},
              {"eval_rewards/margins", e.margin}, {"eval_kl", e.kl}});
  log.say("held out after " + std::to_string(e.round) + " rounds: loss " + short_number(e.loss) + ", accuracy " + short_number(e.accuracy) + ", margin " +
          short_number(e.margin) + ", KL " + short_number(e.kl));
}

void held_out_pairs::save(checkpoint_writer& to) const {
  save_logp(to, "evaluation", reference_);
  json all = json::array();
  for (evaluation const& e : evaluations)
    all.push_back({{"round", e.round}, {"loss", e.loss}, {"accuracy", e.accuracy}, {"margin", e.margin}, {"kl", e.kl}, {"pairs", e.pairs}});
  to.state["evaluations"] = all;
}

void held_out_pairs::restore(checkpoint_reader const& from) {
  restore_logp(from, "evaluation", reference_);
  for (json const& e : from.state.at("evaluations"))
    evaluations.push_back({e.at("round").get<std::size_t>(), e.at("loss").get<double>(), e.at("accuracy").get<double>(),
                           e.at("margin").get<double>(), e.at("kl").get<double>(), e.at("pairs").get<std::size_t>()});
}

}  // namespace kedge::llm
