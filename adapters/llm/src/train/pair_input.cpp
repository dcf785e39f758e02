// SPDX-License-Identifier: Apache-2.0
#include "pair_input.hpp"

#include <algorithm>

#include "../model/profile.hpp"

namespace kedge::llm {
namespace {

template <class Figure>
std::vector<double> column(std::span<preference_pair const> pairs, std::span<std::size_t const> which, Figure figure) {
  std::vector<double> values;
  values.reserve(which.size());
  for (std::size_t const i : which) values.push_back(static_cast<double>(figure(pairs[i])));
  return values;
}

}  // namespace

ragged_batch packed_pairs(causal_lm const& model, std::span<preference_pair const> pairs, std::span<std::size_t const> which,
                          read_at where, std::optional<double> ld_alpha) {
  timed const scope(phase::data);
  ragged_batch batch = pack_pairs(pairs, which, where, model.shares_prefixes());
  if (ld_alpha) weigh_tails(batch, *ld_alpha);
  return batch;
}

pair_log_probs split_pairs(std::span<double const> sequences) {
  pair_log_probs pairs;
  for (std::size_t i = 0; i + 1 < sequences.size(); i += 2) {
    pairs.chosen.push_back(sequences[i]);
    pairs.rejected.push_back(sequences[i + 1]);
  }
  return pairs;
}

std::vector<double> joined_pairs(pair_log_probs const& pairs) {
  std::vector<double> sequences;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    sequences.push_back(pairs.chosen[i]);
    sequences.push_back(pairs.rejected[i]);
  }
  return sequences;
}

pair_log_probs at_places(pair_log_probs const& all, std::span<std::size_t const> which) {
  pair_log_probs part;
  for (std::size_t const i : which) {
    part.chosen.push_back(all.chosen[i]);
    part.rejected.push_back(all.rejected[i]);
  }
  return part;
}

void put(pair_log_probs const& part, std::span<std::size_t const> which, pair_log_probs& all) {
  for (std::size_t i = 0; i < which.size(); ++i) {
    all.chosen[which[i]] = part.chosen[i];
    all.rejected[which[i]] = part.rejected[i];
  }
}

pair_log_probs given_reference(std::span<preference_pair const> pairs) {
  pair_log_probs given;
  for (preference_pair const& pair : pairs) {
    given.chosen.push_back(pair.ref_chosen);
    given.rejected.push_back(pair.ref_rejected);
  }
  return given;
}

void score_each(causal_lm const& model, pack const& weights, std::span<preference_pair const> pairs,
                std::span<std::span<std::size_t const> const> micro_batches, pair_log_probs& all,
                std::optional<double> ld_alpha, token_counter* tokens) {
  for (auto const which : micro_batches) {
    if (which.empty()) continue;
    ragged_batch const batch = packed_pairs(model, pairs, which, read_at::every_token, ld_alpha);
    row_outputs const rows = model.rows(weights, batch, tokens == nullptr ? row_figures() : token_figures::wanted);
    if (tokens != nullptr) tokens->add(rows, batch, which);
    put(split_pairs(sums_by_sequence(rows.logp, batch)), which, all);
  }
}

void token_figures::sum_over(process_group const& group) {
  std::vector<double> all{entropy, logits_chosen, logits_rejected, accuracy};
  group.sum(all);
  *this = {all[0], all[1], all[2], all[3]};
}

token_counter::token_counter(std::span<preference_pair const> pairs, std::span<std::size_t const> which, std::size_t batch)
    : batches_(which, batch), chosen_(batches_.count()), rejected_(batches_.count()), all_(batches_.count()) {
  for (std::size_t const i : which) {
    // Nothing stands before a sequence's first token.
    auto const read = [&](std::vector<std::int32_t> const& completion) { return completion.size() - (pairs[i].prompt.empty() && !completion.empty() ? 1 : 0); };
    std::size_t const chosen = read(pairs[i].chosen), rejected = read(pairs[i].rejected), place = batches_.of(i);
    chosen_.add(place, chosen);
    rejected_.add(place, rejected);
    all_.add(place, chosen + rejected);
  }
}

void token_counter::add(row_outputs const& rows, ragged_batch const& batch, std::span<std::size_t const> micro) {
  for (std::size_t r = 0; r < rows.logp.size(); ++r) {
    auto const sequence = static_cast<std::size_t>(batch.sequence[r]);
    std::size_t const place = batches_.of(micro[sequence / 2]);
    figures_.entropy += all_.of(place) * rows.entropy[r];
    if (sequence % 2 == 1) {
      figures_.logits_rejected += rejected_.of(place) * rows.mean_logit[r];
      continue;
    }
    figures_.logits_chosen += chosen_.of(place) * rows.mean_logit[r];
    figures_.accuracy += chosen_.of(place) * rows.likeliest[r];
  }
}

std::vector<std::size_t> own_share(process_group const& group, std::span<preference_pair const> pairs,
                                   std::span<std::size_t const> step) {
  return balanced_share(step, group.rank(), group.size(), [&](std::size_t i) { return shared_tokens(pairs[i]); });
}

std::vector<double> weights_by_policy(row_outputs const& rows, ragged_batch const& batch) {
  std::vector<double> weights(batch.sequences / 2, 1);
  for (std::size_t first = 0, end = 0; first < batch.sequence.size(); first = end) {
    auto const sequence = batch.sequence[first];
    while (end < batch.sequence.size() && batch.sequence[end] == sequence) ++end;
    auto const of_sequence = [&](std::vector<double> const& values) { return std::span(values).subspan(first, end - first); };
    weights[static_cast<std::size_t>(sequence) / 2] *= wpo_weight(of_sequence(rows.logp), of_sequence(rows.log_squares));
  }
  return weights;
}

loss_input::loss_input(std::span<preference_pair const> pairs, std::span<std::size_t const> which)
    : logp{std::vector<double>(which.size()), std::vector<double>(which.size())},
      ref(logp),
      tokens_chosen(column(pairs, which, [](preference_pair const& p) { return p.chosen.size(); })),
      tokens_rejected(column(pairs, which, [](preference_pair const& p) { return p.rejected.size(); })),
      score_chosen(column(pairs, which, [](preference_pair const& p) { return p.score_chosen; })),
      score_rejected(column(pairs, which, [](preference_pair const& p) { return p.score_rejected; })) {}

}  // namespace kedge::llm
