// SPDX-License-Identifier: Apache-2.0
#include <tuple>

#include "loss_registry.hpp"

namespace kedge::llm {

// A new loss is a type in include/kedge/losses/ and a row here.
std::vector<registered_loss> const& registered_losses() {
  static std::vector<registered_loss> const rows{
      loss<dpo>("sigmoid", "DPO, Rafailov et al. 2023", in_trl),
      loss<hinge>("hinge", "hinge on the margin, Zhao et al. 2023", in_trl),
      loss<ipo>("ipo", "IPO on log-ratios averaged over tokens, Azar et al. 2023", in_trl),
      loss<exo>("exo_pair", "EXO, Ji et al. 2024", in_trl),
      loss<nca>("nca_pair", "NCA, Chen et al. 2024", in_trl),
      loss<robust_dpo>("robust", "robust DPO, Chowdhury et al. 2024", in_trl),
      loss<bco>("bco_pair", "BCO, Jung et al. 2024", in_trl),
      loss<sppo_hard>("sppo_hard", "SPPO with hard labels, Wu et al. 2024", in_trl),
      loss<aot>("aot", "alignment by optimal transport, paired, Melnyk et al. 2024", in_trl),
      loss<aot_unpaired>("aot_unpaired", "alignment by optimal transport, unpaired, Melnyk et al. 2024", in_trl),
      loss<anchored_zero>("apo_zero", "Anchored (not accelerated) PO, zero, D'Oosterlinck et al. 2024", in_trl),
      loss<anchored_down>("apo_down", "Anchored (not accelerated) PO, down, D'Oosterlinck et al. 2024", in_trl),
      loss<discopop>("discopop", "DiscoPOP, Lu et al. 2024", in_trl),
      loss<sft>("sft", "cross-entropy of the chosen completions", in_trl),
      loss<length_normalized_dpo>("sigmoid_norm", "DPO on log-ratios averaged over tokens, Lambert et al. 2024", in_trl),
      loss<hypo>("hypo", "HyPO, DPO whose reference never prefers the rejected completion, Yuan et al. 2026", not_in_trl),
      loss<beta_dpo>("beta_dpo", "beta-DPO, beta by the batch's mean margin, Wu et al. 2024", not_in_trl),
      loss<cdpo>("cdpo", "conservative DPO, Mitchell 2023", not_in_trl),
      loss<ipo_sum>("ipo_sum", "IPO on summed log-ratios, Azar et al. 2023; the regression of INPO and ONPO", not_in_trl),
      loss<sppo>("sppo", "SPPO with win rates as scores, Wu et al. 2024", not_in_trl),
      loss<length_regularized_dpo>("r_dpo", "DPO with a price of length, Park et al. 2024", not_in_trl),
      loss<offset_dpo>("odpo", "DPO with an offset from scores, Amini et al. 2024", not_in_trl),
      loss<with_sft<simpo>>("simpo", "SimPO, Meng et al. 2024; cpo_alpha 0 leaves its SFT term out", not_in_trl),
      loss<with_sft<cpo>>("cpo", "CPO, Xu et al. 2024", not_in_trl),
      loss<with_sft<alpha_po>>("alpha_po", "AlphaPO, Gupta et al. 2025", not_in_trl),
      loss<alpha_dpo>("alpha_dpo", "alpha-DPO, Wu et al. 2024", not_in_trl),
      loss("orpo", "ORPO, Hong et al. 2024", not_in_trl, mixture{std::tuple{orpo{}, sft{}}, {1.0, 1.0}}),
      loss<slic_hf>("slic_hf", "SLiC-HF, Zhao et al. 2023", not_in_trl),
      loss<kto_pair>("kto_pair", "KTO on pairs, Ethayarajh et al. 2024", not_in_trl),
      loss<online_ipo>("online_ipo", "online IPO with win rates as scores, Zhou et al. 2025", not_in_trl),
      loss<dno>("dno", "DNO with win rates as scores and eta = beta, Rosset et al. 2024", not_in_trl),
      loss<distilled_dpo>("rebel", "REBEL with rewards as scores and eta = 1/beta, Gao et al. 2024", not_in_trl),
  };
  return rows;
}

}  // namespace kedge::llm
