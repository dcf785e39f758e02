// SPDX-License-Identifier: Apache-2.0
#include "own_reference.hpp"

#include <stdexcept>
#include <string>
#include <utility>

#include <kedge/llm/base/error.hpp>

#include "preference_problem.hpp"

namespace kedge::llm {
namespace {

std::string token_or_nothing(tokenizer const& words, std::int32_t id) {
  try {
    return words.token_of(id);
  } catch (error const&) {
    return {};
  }
}

void require_same_tokens(session const& reference, session const& trained, std::string const& where) {
  tokenizer const &theirs = reference.tokens, &ours = trained.tokens;
  bool same = theirs.size() == ours.size() && reference.config.vocabulary >= static_cast<std::int64_t>(ours.size());
  for (std::size_t i = 0; same && i < ours.size(); ++i) {
    auto const id = static_cast<std::int32_t>(i);
    same = token_or_nothing(theirs, id) == token_or_nothing(ours, id);
  }
  if (!same)
    throw error(where + " has other tokens than " + trained.source.path().string() +
                "; the reference has to have the vocabulary of the model that is trained");
}

void require_same_shape(session const& reference, session const& trained, std::string const& where) {
  if (parameters_of(reference.config) != parameters_of(trained.config))
    throw error(where +
                " is a model of another shape, which can't move toward the one that is trained; leave --sync_ref_model out");
}

// Losses that sort have no weights, and say so.
void require_weights(loss_settings const& s) {
  pair_log_probs const one{{-1}, {-1}};
  std::vector<double> const number{1};
  try {
    static_cast<void>(make_loss(s).evaluate({.logp = one,
                                             .reference = one,
                                             .tokens_chosen = number,
                                             .tokens_rejected = number,
                                             .score_chosen = number,
                                             .score_rejected = number,
                                             .weights = number},
                                            1));
  } catch (std::invalid_argument const& refused) {
    throw error(std::string("--use_weighting: ") + refused.what());
  }
}

}  // namespace

void check_reference(training_settings const& s, round_settings const& r) {
  require(!s.sync_ref_model || r.momentum == momentum_choice::none || r.extrapolate == extrapolated::weights,
          "--sync_ref_model moves one model, and --extrapolate log-probs makes the reference of two; use --extrapolate weights");
  require(s.ref_model.empty() || !r.online(), "--ref_model_name_or_path scores the pairs before the run, and --prompts samples them in it; leave it out");
  require(s.ref_model.empty() || !s.sync_ref_model || !s.use_peft,
          "--sync_ref_model with --use_peft moves adapters of one base; leave --ref_model_name_or_path out");
  require(!s.ld_alpha || !make_loss(s.loss).has_cross_entropy,
          "--ld_alpha: sft counts every token whole, and the other losses don't; train on one of the two");
  if (s.use_weighting) require_weights(s.loss);
}

own_reference open_own_reference(run_settings const& settings, std::filesystem::path const& path, bool moves, session const& trained,
                                 process_group const& group) {
  std::string const where = "--ref_model_name_or_path " + path.string();
  session const reference(path, settings.compute);
  require_same_tokens(reference, trained, where);
  if (moves) require_same_shape(reference, trained, where);
  run_settings own = settings;
  causal_lm model(reference.config, reference.training_compute(own));
  reference.divide(model, settings, group);
  pack masters = reference.load(model);
  return {std::move(model), std::move(masters), own.compute.micro_batch_tokens};
}

pack score_by_own_reference(training_settings const& settings, session const& trained, process_group const& group,
                            std::span<std::vector<preference_pair>* const> lists) {
  std::string const where = "--ref_model_name_or_path " + settings.ref_model.string();
  auto [model, masters, at_once] = open_own_reference(settings, settings.ref_model, settings.sync_ref_model, trained, group);
  pack const weights = model.weights_for(masters);
  for (auto* const pairs : lists) {
    if (have_reference(*pairs))
      throw error(where +
                  ": the data bring the reference's log-probabilities already (ref_chosen_logps); leave one of the two out");
    pair_log_probs const logp = score_in_order(model, weights, *pairs, settings.per_device_eval_batch_size,
                                               at_once, group, settings.ld_alpha);
    for (std::size_t i = 0; i < pairs->size(); ++i) {
      (*pairs)[i].ref_chosen = logp.chosen[i];
      (*pairs)[i].ref_rejected = logp.rejected[i];
    }
  }
  return settings.sync_ref_model ? std::move(masters) : pack();
}

}  // namespace kedge::llm
