// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
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

/// A problem whose rewards depend on the policy: a game, a learned reward. `rewards(logits)` -> P is exact or sampled.
/// math    θ̂_{t+1} = (1 − ηm) θ_anchor + ηm θ_magnet + η (r_t + c (r_t − r_{t−1}))
/// cost    one call of rewards a round, two with extragradient; three copies of a point
template <tensor P, class Rewards>
class mirror_problem {
 public:
  /// throws  std::invalid_argument unless eta > 0, magnet ≥ 0 and eta · magnet ≤ 1
  mirror_problem(Rewards rewards, P magnet, mirror_step step)
      : rewards_(std::move(rewards)), magnet_(std::move(magnet)), step_(step) {
    detail::require(step.eta > 0, "mirror_step: eta = ", step.eta, "; it must be positive");
    detail::require(step.magnet >= 0 && step.eta * step.magnet <= 1, "mirror_step: magnet = ", step.magnet,
                    " with eta = ", step.eta, "; the magnet must not be negative, nor eta times magnet above 1");
  }

  /// The rewards against which the round is played.
  template <class State>
  P const& source(State const& s) {
    if (sampled_ != s.round + 1) {
      bool const at_result = step_.reward_at_result && s.previous;
      if (now_) before_ = std::move(now_);
      now_ = rewards_(at_result ? *s.previous : s.theta);
      sampled_ = s.round + 1;
    }
    return *now_;
  }

  [[nodiscard]] P score(P const& logits, P const&) const { return deep_copy(logits); }

  status solve(P& logits, P const& reward, P const& anchor, std::size_t) {
    move(anchor, reward, logits);
    if (step_.extragradient)
      move(anchor, rewards_(logits), logits);
    else if (step_.optimism != 0 && before_) {
      axpby(step_.eta * step_.optimism, reward, 1, logits);
      axpby(-step_.eta * step_.optimism, *before_, 1, logits);
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
  std::optional<P> now_, before_;
  std::size_t sampled_ = 0;  // round + 1 of now_
};

template <class Rewards, tensor P>
mirror_problem(Rewards, P, mirror_step) -> mirror_problem<P, Rewards>;

}  // namespace kedge
