// SPDX-License-Identifier: Apache-2.0
#pragma once

// All losses, by what they read. docs/math.md (1), (2) and docs/papers.md say which is whose.

#include <kedge/losses/batch.hpp>      // sft, aot, aot_unpaired, alpha_dpo, beta_dpo, kto_pair
#include <kedge/losses/evaluate.hpp>   // preference_loss
#include <kedge/losses/length.hpp>     // ipo, length_normalized_dpo, simpo, alpha_po, orpo, cpo, slic_hf
#include <kedge/losses/margin.hpp>     // dpo, hypo, cdpo, robust_dpo, hinge, ipo_sum, exo, discopop, R-DPO, ODPO
#include <kedge/losses/modifiers.hpp>  // mixture, with_sft, with_divergence, LD-DPO, WPO
#include <kedge/losses/online.hpp>     // inpo, onpo, online_ipo, dno, rebel, distilled_dpo
#include <kedge/losses/single.hpp>     // nca, bco, sppo_hard, sppo, anchored_zero, anchored_down, kto
#include <kedge/losses/unpaired.hpp>   // unpaired_kto
