// SPDX-License-Identifier: Apache-2.0
#include "margin_probe.hpp"

#include <ATen/Context.h>

#include <algorithm>
#include <cmath>

#include "session.hpp"

namespace kedge::llm {
namespace {

double median(std::vector<double> values) {
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double cost_of_fp32(at::Device device, bool tf32) {
  if (device.is_cpu()) return fast_fp32_products() ? 1 : 8;
  return tf32 ? 4 : 16;
}

std::size_t probed_pairs(std::size_t pairs, std::size_t trained, std::size_t points, double cost, std::size_t least) {
  constexpr double share = 0.025, of_training = 3;
  double const of_probing = cost * static_cast<double>(points + 1) + 1;
  auto const affordable = static_cast<std::size_t>(share * of_training * static_cast<double>(trained) / of_probing);
  return std::min(pairs, affordable < 2 ? least : affordable);
}

margin_probe::margin_probe(causal_lm const& model, std::size_t most, std::size_t micro_batch_tokens, std::optional<double> ld_alpha)
    : model_(model),
      precise_(model.config(), in_fp32(model.settings())),
      most_(model.settings().type == at::kBFloat16 && !model.settings().fp32_weights && !model.adapted() ? most : 0),
      micro_batch_tokens_(micro_batch_tokens),
      cost_of_fp32_(cost_of_fp32(model.settings().device, at::globalContext().allowTF32CuBLAS())),
      ld_alpha_(ld_alpha) {
  if (model.division()) precise_.divide(model.division());
}

void margin_probe::begin(std::size_t pairs, std::size_t trained, std::vector<double> weights) {
  std::size_t const count = std::min(most_, probed_pairs(pairs, trained, weights.size(), cost_of_fp32_, model_.settings().device.is_cpu() ? 2 : 0));
  which_.clear();
  for (std::size_t i = 0; i < count; ++i) which_.push_back(i * pairs / count);
  weights_ = std::move(weights);
  points_ = 0;
}

void margin_probe::add(pack const& theta, std::vector<preference_pair> const& pairs) {
  if (which_.empty()) return;
  if (points_ == 0) reference.assign(which_.size(), 0);
  std::vector<double> const part = margins(precise_, theta, pairs);
  double const weight = weights_.at(points_++);
  for (std::size_t i = 0; i < part.size(); ++i) reference[i] += weight * part[i];
}

std::vector<double> margin_probe::margins(causal_lm const& model, pack const& theta, std::vector<preference_pair> const& pairs) const {
  pack const weights = model.weights_for(theta);
  pair_log_probs logp{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  score_each(model, weights, pairs, cut_micro_batches(pairs, which_, micro_batch_tokens_), logp, ld_alpha_);
  std::vector<double> all;
  for (std::size_t const i : which_) all.push_back(logp.chosen[i] - logp.rejected[i]);
  return all;
}

std::optional<margin_noise> margin_probe::measure(pack const& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& rounded) const {
  if (which_.empty() || reference.size() != which_.size()) return {};  // a resumed run may look at others, or have begun to look
  std::vector<double> const policy = margins(model_, theta, pairs), precise = margins(precise_, theta, pairs);
  std::vector<double> noise, size;
  for (std::size_t i = 0; i < which_.size(); ++i) {
    double const exact = precise[i] - reference[i], seen = policy[i] - (rounded.chosen[which_[i]] - rounded.rejected[which_[i]]);
    noise.push_back(std::abs(seen - exact));
    size.push_back(std::abs(exact));
  }
  return margin_noise{which_.size(), median(noise), *std::max_element(noise.begin(), noise.end()), median(size)};
}

bool tell(margin_noise const& n, std::size_t round, bool warned, training_log& log) {
  log.record({{"step", log.global_step()}, {"round", round}, {"bf16_noise/median", n.median}, {"bf16_noise/maximum", n.maximum}, {"bf16_noise/margins", n.margin},
              {"bf16_noise/pairs", n.pairs}});
  if (warned || n.median == 0 || n.median < n.margin) return warned;
  log.say("warning: rounding to bf16 moves the margins of policy over reference by " + short_number(n.median) + " nats, and the round made them " +
          short_number(n.margin) + " (medians of " + std::to_string(n.pairs) +
          " pairs): losses and rewards say little; use --dtype float32, or a larger --learning_rate or more steps");
  return true;
}

}  // namespace kedge::llm
