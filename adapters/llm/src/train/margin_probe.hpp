// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "preference_problem.hpp"

namespace kedge::llm {

/// Forward passes in bf16 that take as long as one in fp32. On a GPU 16, as the data sheets have their products (A100: 312 to 19.5 TFLOP/s, H100:
/// 989 to 67); with TF32 4: products take twice as long, attention has no call for all segments. On a processor with matrix units 8, half of what
/// products differ by; else 1.
[[nodiscard]] double cost_of_fp32(at::Device device, bool tf32);

/// How many pairs of a round are probed so that it takes at most 2.5 % of the round. A probed pair takes a forward pass in fp32 for each
/// of the reference's points, and one in each type at the end; a trained one as much as three in bf16, whether its reference is computed or not.
/// least: what is probed where fewer than two would be
[[nodiscard]] std::size_t probed_pairs(std::size_t pairs, std::size_t trained, std::size_t points, double cost_of_fp32, std::size_t least);

/// Measures on some pairs of a round what bf16 does to the margins that its loss sees, (log π − log ρ)(chosen) − (log π − log ρ)(rejected):
/// the same masters are computed in fp32 as well. Policy and reference are rounded alike before the first step, so what counts is the
/// difference after the last one. Off where the forward pass isn't in bf16, with an adapter, whose base is held in bf16 alone, and for 0 pairs.
/// cost    a pass over the pairs for each point of the reference, and two at the end, without gradients
class margin_probe {
 public:
  margin_probe(causal_lm const& model, std::size_t most, std::size_t micro_batch_tokens, std::optional<double> ld_alpha = {});

  /// A round begins, of which so many pairs are `trained`, repeats counted: see probed_pairs. On a processor two are always looked at.
  /// weights: of the reference's points
  void begin(std::size_t pairs, std::size_t trained, std::vector<double> weights);
  /// The next point of the reference.
  void add(pack const& theta, std::vector<preference_pair> const& pairs);
  /// The round is over. returns  nothing where it is off
  [[nodiscard]] std::optional<margin_noise> measure(pack const& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference) const;

  std::vector<double> reference;  ///< fp32 margins of the reference: what a resume needs

 private:
  [[nodiscard]] std::vector<double> margins(causal_lm const& model, pack const& theta, std::vector<preference_pair> const& pairs) const;

  causal_lm const& model_;
  causal_lm precise_;
  std::size_t most_, micro_batch_tokens_;
  double cost_of_fp32_;
  std::optional<double> ld_alpha_;
  std::vector<std::size_t> which_;
  std::vector<double> weights_;
  std::size_t points_ = 0;
};

/// Writes a measurement to metrics.jsonl, and warns in a line where rounding is as large as the margins themselves.
/// returns  whether the run has been warned by now
[[nodiscard]] bool tell(margin_noise const& noise, std::size_t round, bool warned, training_log& log);

}  // namespace kedge::llm
