// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

#include <kedge/loop.hpp>

namespace kedge {

/// Settings of a mirror-descent round on logits; every method is one of them, with a schedule of the loop:   docs/math.md (9)
///   iterative SPPO, Nash MD      hand_off,                           {.eta}
///   APO                          extrapolated_weights{rule},         {.eta}
///   functional momentum          extrapolated_weights{rule},         {.eta, .reward_at_result = true}
///   OMWU, ONPO                   hand_off,                           {.eta, .optimism = 1}
///   EGPO, mirror prox            hand_off,                           {.eta, .magnet = β, .extragradient = true}
///   magnetic mirror descent      hand_off,                           {.eta = η/(1 + ηm), .magnet = m}
struct mirror_step {
  double eta = 1;                 ///< step size, 1/β of the papers
  double optimism = 0;            ///< c in r_t + c (r_t − r_{t−1}); the first step is plain
  double magnet = 0;              ///< weight of the KL to the magnet, the point the run started from
  bool extragradient = false;     ///< the reward is taken at the point that a first step reaches
  bool reward_at_result = false;  ///< with momentum: the reward at θ̂_t and not at the extrapolated anchor
};

/// What a mirror step keeps from round to round: the rewards of this round and of the one before.
template <tensor P>
struct mirror_memory {
  std::optional<P> now, before;
  std::size_t sampled = 0;  ///< round + 1 of `now`

  static constexpr auto parts = std::tuple{part{"now", &mirror_memory::now}, part{"before", &mirror_memory::before},
                                           part{"sampled", &mirror_memory::sampled}};
};

/// A problem whose rewards depend on the policy: a game, a learned reward. `rewards(logits)` -> P is exact or sampled.
/// math    θ̂_{t+1} = (1 − ηm) θ_anchor + ηm θ_magnet + η (r_t + c (r_t − r_{t−1}))
/// cost    one call of rewards a round, two with extragradient; three copies of a point
/// Make its state by state_for<P>(start, schedule, problem), which has a place for the rewards.
template <tensor P, class Rewards>
class mirror_problem {
 public:
  template <tensor Point>
  using memory = mirror_memory<Point>;

  /// throws  std::invalid_argument unless eta > 0, magnet ≥ 0 and eta · magnet ≤ 1, or for optimism with extragradient: the reward at
  ///         the point ahead takes the place of the guess
  mirror_problem(Rewards rewards, P magnet, mirror_step step)
      : rewards_(std::move(rewards)), magnet_(std::move(magnet)), step_(step) {
    detail::require(step.eta > 0, "mirror_step: eta = ", step.eta, "; it must be positive");
    detail::require(step.magnet >= 0 && step.eta * step.magnet <= 1, "mirror_step: magnet = ", step.magnet,
                    " with eta = ", step.eta, "; the magnet must not be negative, nor eta times magnet above 1");
    detail::require(!step.extragradient || step.optimism == 0, "mirror_step: optimism = ", step.optimism,
                    " with extragradient; both foresee the next reward, choose one");
  }

  /// The rewards against which the round is played.
  /// throws  std::invalid_argument for reward_at_result under a schedule without momentum
  template <class State>
  mirror_memory<P> const& source(State& s) const {
    mirror_memory<P>& own = s.problem;
    if (own.sampled != s.round + 1) {
      detail::require(!step_.reward_at_result || s.previous.has_value(),
                      "mirror_step: reward_at_result needs a schedule with momentum; elsewhere the result is the anchor");
      if (own.now) own.before = std::move(own.now);
      own.now = rewards_(step_.reward_at_result ? *s.previous : s.theta);
      own.sampled = s.round + 1;
    }
    return own;
  }

  [[nodiscard]] P score(P const& logits, mirror_memory<P> const&) const { return deep_copy(logits); }

  status solve(P& logits, mirror_memory<P> const& rewards, P const& anchor, std::size_t) const {
    move(anchor, *rewards.now, logits);
    if (step_.extragradient)
      move(anchor, rewards_(logits), logits);
    else if (step_.optimism != 0 && rewards.before) {
      axpby(step_.eta * step_.optimism, *rewards.now, 1, logits);
      axpby(-step_.eta * step_.optimism, *rewards.before, 1, logits);
    }
    return status::done;
  }

 private:
  void move(P const& anchor, P const& reward, P& logits) const {
    double const pull = step_.eta * step_.magnet;
    axpby(1 - pull, anchor, 0, logits);
    if (pull != 0) axpby(pull, magnet_, 1, logits);
    axpby(step_.eta, reward, 1, logits);
  }

  Rewards rewards_;
  P magnet_;
  mirror_step step_;
};

template <class Rewards, tensor P>
mirror_problem(Rewards, P, mirror_step) -> mirror_problem<P, Rewards>;

}  // namespace kedge
