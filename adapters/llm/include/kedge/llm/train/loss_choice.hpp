// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <kedge/losses.hpp>

namespace kedge::llm {

/// Which loss, and its parameters, as the command line names them. Names and defaults are TRL's where it has them.
struct loss_settings {
  std::vector<std::string> loss_type{"sigmoid"};  ///< several make a weighted mixture
  std::vector<double> loss_weights{};             ///< one a loss; empty: 1 each
  double beta = 0.1;
  std::optional<double> label_smoothing{};       ///< unset: 0, and 1e-3 for exo_pair, which can't do with 0
  std::string f_divergence_type = "reverse_kl";  ///< reverse_kl, forward_kl, js_divergence, alpha_divergence
  double f_alpha_divergence_coef = 0.5;
  double discopop_tau = 0.05;
  double simpo_gamma = 0.5;  ///< simpo, alpha_po, alpha_dpo
  double cpo_alpha = 1;      ///< weight of the SFT term in cpo, simpo and alpha_po
  double alpha = 0.1;        ///< alpha_po's shape, alpha_dpo's weight of the z-score
  double rdpo_alpha = 0.01;  ///< r_dpo: price of a token, in nats
  double odpo_alpha = 1;     ///< odpo: weight of log(score gap)
  double slic_delta = 1, slic_lambda = 0.1;
  double bco_shift = 0;                                 ///< bco_pair
  double desirable_weight = 1, undesirable_weight = 1;  ///< kto_pair
};

/// A loss chosen at run time. `evaluate` is kedge::preference_loss of the chosen type.
struct loss_choice {
  std::string name;              ///< "sigmoid", or "0.8 sigmoid + 0.2 bco_pair + 1 sft"
  bool shift_invariant = false;  ///< sequence-level extrapolation of log-probabilities is exact
  bool needs_reference = false;
  bool reads_scores = false;    ///< needs score_chosen and score_rejected in the data
  bool compares_pairs = false;  ///< the value depends on which pairs share a batch (aot, alpha_dpo, kto_pair, sft)
  double beta = 0;              ///< what multiplies log-ratios in the reported rewards
  std::function<loss_and_cotangent(pair_batch const&, std::size_t total)> evaluate;
};

/// throws  kedge::llm::error: a name that isn't known (lists those that are), a number of weights other than that of losses,
///         a divergence for a loss that has none, a parameter out of its range
/// A loss with compares_pairs sees the pairs it is given: gather a whole batch's log-probabilities before calling evaluate, or
/// use a micro-batch as large as the batch, where that matters.
[[nodiscard]] loss_choice make_loss(loss_settings const& settings);

/// One row of the table behind --loss_type.
struct loss_name {
  std::string name;
  std::string description;  ///< whose it is, in a line
  bool in_trl;              ///< TRL 1.16's DPOTrainer has this name, with this meaning
};

/// Every name that make_loss knows, TRL's first.
[[nodiscard]] std::vector<loss_name> const& loss_names();

}  // namespace kedge::llm
