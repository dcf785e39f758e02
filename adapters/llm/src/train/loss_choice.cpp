// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/train/loss_choice.hpp>

namespace kedge::llm {
namespace {

template <preference_loss_type Loss>
loss_choice choice(std::string name, double beta, Loss loss) {
  detail::check_loss(loss);
  loss_choice made;
  made.name = std::move(name);
  made.shift_invariant = Loss::shift_invariant;
  made.needs_reference = Loss::needs_reference;
  made.reads_scores = reads_scores<Loss>;
  made.compares_pairs = batch_loss<Loss>;
  made.beta = beta;
  made.evaluate = [loss](pair_batch const& batch, std::size_t total) { return preference_loss(loss, batch, total); };
  return made;
}

// A loss of log-ratios, under the divergence that the settings name.
template <pair_loss Loss>
loss_choice divergent(std::string const& name, loss_settings const& s, Loss const& loss) {
  if (s.f_divergence_type == "forward_kl") return choice(name, s.beta, with_divergence{forward_kl{}, loss});
  if (s.f_divergence_type == "js_divergence") return choice(name, s.beta, with_divergence{jensen_shannon{}, loss});
  if (s.f_divergence_type == "alpha_divergence" && std::abs(s.f_alpha_divergence_coef - 1) >= 1e-6)
    return choice(name, s.beta, with_divergence{alpha_divergence{s.f_alpha_divergence_coef}, loss});
  return choice(name, s.beta, loss);
}

template <class Loss>
loss_choice with_sft(std::string const& name, loss_settings const& s, Loss const& loss, double weight) {
  if (weight == 0) return choice(name, s.beta, loss);
  return choice(name, s.beta, mixture{std::tuple{loss, sft{}}, {1.0, weight}});
}

using maker = loss_choice (*)(std::string const&, loss_settings const&);

struct table_row {
  loss_name name;
  bool any_divergence;
  maker make;
};

double smoothing(loss_settings const& s) {
  return s.label_smoothing.value_or(0);
}

std::vector<table_row> const& table() {
  using text = std::string const&;
  using settings = loss_settings const&;
  static std::vector<table_row> const rows{
      {{"sigmoid", "DPO, Rafailov et al. 2023", true}, true, [](text n, settings s) { return divergent(n, s, dpo{s.beta}); }},
      {{"hinge", "hinge on the margin, Zhao et al. 2023", true},
       true,
       [](text n, settings s) { return divergent(n, s, hinge{s.beta}); }},
      {{"ipo", "IPO on log-ratios averaged over tokens, Azar et al. 2023", true},
       true,
       [](text n, settings s) { return divergent(n, s, ipo{s.beta}); }},
      {{"exo_pair", "EXO, Ji et al. 2024", true},
       true,
       [](text n, settings s) {
         return divergent(n, s, exo{s.beta, s.label_smoothing.value_or(1e-3)});
       }},
      {{"nca_pair", "NCA, Chen et al. 2024", true}, false, [](text n, settings s) { return choice(n, s.beta, nca{s.beta}); }},
      {{"robust", "robust DPO, Chowdhury et al. 2024", true},
       true,
       [](text n, settings s) {
         return divergent(n, s, robust_dpo{s.beta, smoothing(s)});
       }},
      {{"bco_pair", "BCO, Jung et al. 2024", true},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, bco{s.beta, s.bco_shift});
       }},
      {{"sppo_hard", "SPPO with hard labels, Wu et al. 2024", true},
       false,
       [](text n, settings s) { return choice(n, s.beta, sppo_hard{s.beta}); }},
      {{"aot", "alignment by optimal transport, paired, Melnyk et al. 2024", true},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, aot{s.beta, smoothing(s)});
       }},
      {{"aot_unpaired", "alignment by optimal transport, unpaired, Melnyk et al. 2024", true},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, aot_unpaired{s.beta, smoothing(s)});
       }},
      {{"apo_zero", "Anchored (not accelerated) PO, zero, D'Oosterlinck et al. 2024", true},
       false,
       [](text n, settings s) { return choice(n, s.beta, anchored_zero{s.beta}); }},
      {{"apo_down", "Anchored (not accelerated) PO, down, D'Oosterlinck et al. 2024", true},
       false,
       [](text n, settings s) { return choice(n, s.beta, anchored_down{s.beta}); }},
      {{"discopop", "DiscoPOP, Lu et al. 2024", true},
       true,
       [](text n, settings s) {
         return divergent(n, s, discopop{s.beta, s.discopop_tau});
       }},
      {{"sft", "cross-entropy of the chosen completions", true},
       true,
       [](text n, settings s) { return choice(n, s.beta, sft{}); }},
      {{"sigmoid_norm", "DPO on log-ratios averaged over tokens, Lambert et al. 2024", true},
       true,
       [](text n, settings s) { return divergent(n, s, length_normalized_dpo{s.beta}); }},
      {{"cdpo", "conservative DPO, Mitchell 2023", false},
       true,
       [](text n, settings s) {
         return divergent(n, s, cdpo{s.beta, smoothing(s)});
       }},
      {{"ipo_sum", "IPO on summed log-ratios, Azar et al. 2023", false},
       true,
       [](text n, settings s) { return divergent(n, s, ipo_sum{s.beta}); }},
      {{"sppo", "SPPO with win rates as scores, Wu et al. 2024", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, sppo{s.beta}); }},
      {{"r_dpo", "DPO with a price of length, Park et al. 2024", false},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, length_regularized_dpo{s.beta, s.rdpo_alpha});
       }},
      {{"odpo", "DPO with an offset from scores, Amini et al. 2024", false},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, offset_dpo{s.beta, s.odpo_alpha});
       }},
      {{"simpo", "SimPO, Meng et al. 2024; --cpo_alpha 0 leaves its SFT term out", false},
       false,
       [](text n, settings s) {
         return with_sft(n, s, simpo{s.beta, s.simpo_gamma}, s.cpo_alpha);
       }},
      {{"cpo", "CPO, Xu et al. 2024", false},
       false,
       [](text n, settings s) {
         return with_sft(n, s, cpo{s.beta, smoothing(s)}, s.cpo_alpha);
       }},
      {{"alpha_po", "AlphaPO, Gupta et al. 2025", false},
       false,
       [](text n, settings s) {
         return with_sft(n, s, alpha_po{s.beta, s.simpo_gamma, s.alpha}, s.cpo_alpha);
       }},
      {{"alpha_dpo", "alpha-DPO, Wu et al. 2024", false},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, alpha_dpo{s.beta, s.simpo_gamma, s.alpha});
       }},
      {{"orpo", "ORPO, Hong et al. 2024", false}, false, [](text n, settings s) { return with_sft(n, s, orpo{s.beta}, 1); }},
      {{"slic_hf", "SLiC-HF, Zhao et al. 2023", false},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, slic_hf{s.slic_delta, s.slic_lambda});
       }},
      {{"kto_pair", "KTO on pairs, Ethayarajh et al. 2024", false},
       false,
       [](text n, settings s) {
         return choice(n, s.beta, kto_pair{s.beta, s.desirable_weight, s.undesirable_weight});
       }},
      {{"inpo", "INPO's regression with eta = beta, Zhang et al. 2024", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, inpo{s.beta}); }},
      {{"onpo", "ONPO's regression with eta = beta, Zhang et al. 2025", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, onpo{s.beta}); }},
      {{"online_ipo", "online IPO with win rates as scores, Zhou et al. 2025", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, online_ipo{s.beta}); }},
      {{"dno", "DNO with win rates as scores and eta = beta, Rosset et al. 2024", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, dno{s.beta}); }},
      {{"rebel", "REBEL with rewards as scores and eta = 1/beta, Gao et al. 2024", false},
       false,
       [](text n, settings s) { return choice(n, s.beta, rebel{1 / s.beta}); }},
  };
  return rows;
}

loss_choice make_one(std::string const& name, loss_settings const& settings) {
  for (table_row const& row : table()) {
    if (row.name.name != name) continue;
    if (!row.any_divergence && settings.f_divergence_type != "reverse_kl")
      throw error("loss_type " + name + " has no form for f_divergence_type " + settings.f_divergence_type +
                  "; use reverse_kl");
    return row.make(name, settings);
  }
  std::string known;
  for (table_row const& row : table()) known += (known.empty() ? "" : ", ") + row.name.name;
  throw error("unknown loss_type '" + name + "'; known are " + known);
}

// Σ_k w_k L_k of losses that are chosen one by one at run time.
loss_choice weighted_sum(std::vector<loss_choice> parts, std::vector<double> const& weights) {
  loss_choice sum;
  sum.shift_invariant = true;
  sum.beta = parts.front().beta;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    sum.name += (k ? " + " : "") + detail::text(weights[k]) + " " + parts[k].name;
    sum.shift_invariant = sum.shift_invariant && parts[k].shift_invariant;
    sum.needs_reference = sum.needs_reference || parts[k].needs_reference;
    sum.reads_scores = sum.reads_scores || parts[k].reads_scores;
    sum.compares_pairs = sum.compares_pairs || parts[k].compares_pairs;
  }
  auto const shared = std::make_shared<std::vector<loss_choice> const>(std::move(parts));
  sum.evaluate = [shared, weights](pair_batch const& batch, std::size_t total) {
    loss_and_cotangent result = shared->front().evaluate(batch, total);
    kedge::axpby(weights[0], pair_log_probs(result.cotangent), 0, result.cotangent);
    result.value *= weights[0];
    for (std::size_t k = 1; k < shared->size(); ++k) {
      loss_and_cotangent const part = (*shared)[k].evaluate(batch, total);
      kedge::axpby(weights[k], part.cotangent, 1, result.cotangent);
      result.value += weights[k] * part.value;
    }
    return result;
  };
  return sum;
}

void check_settings(loss_settings const& s) {
  if (s.loss_type.empty()) throw error("no loss_type; name at least one");
  if (!s.loss_weights.empty() && s.loss_weights.size() != s.loss_type.size())
    throw error(std::to_string(s.loss_weights.size()) + " loss_weights for " + std::to_string(s.loss_type.size()) +
                " loss_type; give one weight a loss");
  for (double const weight : s.loss_weights)
    if (!std::isfinite(weight)) throw error("loss_weights: " + detail::text(weight) + "; weights must be finite");
  if (!(s.beta > 0)) throw error("beta = " + detail::text(s.beta) + "; it must be positive");
  for (char const* known : {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"})
    if (s.f_divergence_type == known) return;
  throw error("unknown f_divergence_type '" + s.f_divergence_type +
              "'; known are reverse_kl, forward_kl, js_divergence, alpha_divergence");
}

}  // namespace

loss_choice make_loss(loss_settings const& settings) try {
  check_settings(settings);
  std::vector<loss_choice> parts;
  for (std::string const& name : settings.loss_type) parts.push_back(make_one(name, settings));
  if (parts.size() == 1 && (settings.loss_weights.empty() || settings.loss_weights[0] == 1)) return parts.front();
  std::vector<double> const weights =
      settings.loss_weights.empty() ? std::vector<double>(parts.size(), 1) : settings.loss_weights;
  return weighted_sum(std::move(parts), weights);
} catch (std::invalid_argument const& refused) {
  throw error(refused.what());
}

std::vector<loss_name> const& loss_names() {
  static std::vector<loss_name> const names = [] {
    std::vector<loss_name> found;
    for (table_row const& row : table()) found.push_back(row.name);
    return found;
  }();
  return names;
}

}  // namespace kedge::llm
