// SPDX-License-Identifier: Apache-2.0
// What is a tensor, a policy, a loss, and what isn't. Compiling it is the test.
#include <string>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

namespace {

using namespace kedge;

static_assert(tensor<std::vector<double>> && tensor<std::vector<float>>);
static_assert(tensor<std::vector<std::vector<double>>> && tensor<std::vector<std::vector<std::vector<float>>>>);
static_assert(tensor<pair_log_probs>);
static_assert(!tensor<int> && !tensor<double> && !tensor<std::string> && !tensor<std::vector<int>>);
static_assert(!tensor<std::vector<double>&> && !tensor<std::vector<double> const> && !tensor<double*>);

static_assert(policy<lab::softmax_linear, lab::vector, std::vector<lab::arm_pair>>);
static_assert(!policy<int, lab::vector, std::vector<lab::arm_pair>>);

template <class... Loss>
inline constexpr bool pairwise = (pair_loss<Loss> && ...) && !(batch_loss<Loss> || ...);
static_assert(
    pairwise<dpo, cdpo, robust_dpo, hinge, ipo, ipo_sum, exo, nca, bco, sppo_hard, sppo, anchored_zero, anchored_down>);
static_assert(
    pairwise<discopop, length_normalized_dpo, length_regularized_dpo, offset_dpo, simpo, alpha_po, orpo, cpo, slic_hf>);
static_assert(pairwise<kto, inpo, onpo, online_ipo, dno, rebel, distilled_dpo, with_divergence<forward_kl, dpo>>);
static_assert(batch_loss<sft> && batch_loss<aot> && batch_loss<aot_unpaired> && batch_loss<alpha_dpo> && batch_loss<kto_pair>);
static_assert(!preference_loss_type<int>);

static_assert(mixture<dpo, sft>::needs_reference && !mixture<cpo, sft>::needs_reference);
static_assert(!mixture<dpo, bco>::shift_invariant && mixture<dpo, hinge>::shift_invariant);
static_assert(reads_scores<rebel> && !reads_scores<dpo> && reads_scores<mixture<dpo, rebel>>);

static_assert(momentum<no_momentum> && momentum<constant_momentum> && momentum<nesterov_momentum> && !momentum<int>);

using logits = std::vector<double>;
static_assert(round_problem<lab::exact_bandit<logits>, logits, logits>);
static_assert(round_problem<mirror_problem<logits, lab::preference_game>, logits, logits>);
static_assert(!round_problem<int, logits, logits>);

template <class Schedule>
inline constexpr bool is_schedule = schedule<Schedule, state<logits, logits, Schedule>>;
static_assert(is_schedule<hand_off> && is_schedule<fixed_anchor> && is_schedule<ema_anchor> && is_schedule<soup_anchor>);
static_assert(is_schedule<bema_anchor> && is_schedule<inpo_anchor> && is_schedule<recent_anchors> && is_schedule<harmonic_anchor>);
static_assert(is_schedule<moving_magnet> && is_schedule<halpern_anchor> && is_schedule<every<every<bema_anchor>>>);
static_assert(is_schedule<extrapolated_weights<fista_momentum>> && is_schedule<extrapolated_log_probs<guler_momentum>>);
static_assert(!is_schedule<int> && !is_schedule<extrapolated_weights<int>> && !is_schedule<logits>);
static_assert(momentum<fista_momentum> && momentum<guler_momentum> && momentum<strongly_convex_momentum>);
static_assert(reads_state<guler_momentum, state<logits, logits>> && !reads_state<fista_momentum, state<logits, logits>>);
static_assert(observer<no_observer, state<logits, logits>, int> && observer<restart_on_turn<logits>&, state<logits, logits>, int>);
static_assert(!observer<int, state<logits, logits>, int> && !observer<observer_list<no_observer, int>, state<logits, logits>, int>);
static_assert(listed<state<logits, logits, bema_anchor>> && listed<mirror_memory<logits>> && !listed<logits>);

}  // namespace
