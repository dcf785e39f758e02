// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <kedge/llm/base/names.hpp>
#include <kedge/losses.hpp>

namespace kedge::llm {

/// The divergence that holds the policy to its reference. Names are TRL's.
enum class f_divergence { reverse_kl, forward_kl, js_divergence, alpha_divergence };

constexpr auto names(f_divergence) {
  using row = named<f_divergence>;
  return std::array{row{f_divergence::reverse_kl, "reverse_kl", "DPO's own"}, row{f_divergence::forward_kl, "forward_kl"},
                    row{f_divergence::js_divergence, "js_divergence"},
                    row{f_divergence::alpha_divergence, "alpha_divergence", "with f_alpha_divergence_coef"}};
}

/// Which loss, and its numbers.
struct loss_settings {
  std::vector<std::string> loss_type{"sigmoid"};  ///< several make a weighted mixture
  std::vector<double> loss_weights{};             ///< one a loss; empty: 1 each
  double beta = 0.1;
  f_divergence f_divergence_type = f_divergence::reverse_kl;
  std::map<std::string, double, std::less<>>
      parameters{};  ///< of loss_parameters(), by name; what isn't there has the loss's default
};

/// A loss chosen at run time. `evaluate` is kedge::preference_loss of the chosen type.
struct loss_choice {
  std::string name;              ///< "sigmoid", or "0.8 sigmoid + 0.2 bco_pair + 1 sft"
  bool shift_invariant = false;  ///< sequence-level extrapolation of log-probabilities is exact
  bool needs_reference = false;
  bool reads_tokens = false;    ///< needs tokens_chosen and tokens_rejected
  bool reads_scores = false;    ///< needs score_chosen and score_rejected in the data
  bool compares_pairs = false;  ///< the value depends on which pairs share a batch (aot, alpha_dpo, beta_dpo, kto_pair, sft)
  double beta = 0;              ///< what multiplies log-ratios in the reported rewards
  std::function<loss_and_cotangent(pair_batch const&, std::size_t total)> evaluate;
  bool has_cross_entropy = false;  ///< sft is a part of it, which counts every token whole
};

/// throws  kedge::llm::error: a name that isn't known (names the nearest known one), a number of weights other than that of losses,
///         a divergence for a loss that has none, a parameter out of its range or that none of the losses reads
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

/// A number that some losses read, beside beta. A loss may take less than the whole range; make_loss checks its own.
struct loss_parameter {
  std::string name;
  std::string help;            ///< what it does, its unit
  std::string defaults;        ///< "0.5", or "0.1 (cdpo), 0 (robust, aot)" where losses differ
  double least = 0, most = 0;  ///< closed range, unless open says otherwise; the union over the losses
  bool open_least = false, open_most = false;
  std::vector<std::string> losses;  ///< that read it; none: a divergence reads it
};

/// Every parameter of every loss, from the losses' own lists, in the order of loss_names().
[[nodiscard]] std::vector<loss_parameter> const& loss_parameters();

}  // namespace kedge::llm
