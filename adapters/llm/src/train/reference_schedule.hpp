// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <kedge/detail/ranges.hpp>
#include <kedge/momentum.hpp>
#include <kedge/schedules.hpp>

#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/train/reference.hpp>

namespace kedge::llm {

/// A momentum rule chosen at run time.
struct chosen_momentum {
  std::variant<listed_momentum, nesterov_momentum, fista_momentum, strongly_convex_momentum> which;
  [[nodiscard]] double operator()(std::size_t round) const {
    return std::visit([&](auto const& rule) { return rule(round); }, which);
  }
};

/// Weights are extrapolated as they are; an adapter's factors by their product, in which the weights are linear.
struct chosen_extrapolation {
  std::size_t products = 0;  ///< pairs A, B that a point begins with
  void operator()(pack const& now, double alpha, pack& before) const {
    products > 0 ? extrapolate_product(now, alpha, before, products) : extrapolate_points{}(now, alpha, before);
  }
};

/// One of the core's schedules, chosen at run time. Its memory is that schedule's, so that a state keeps, copies, saves and restores
/// what the schedule has, and a state begun under one is refused by another.
class chosen_schedule {
 public:
  using any = std::variant<hand_off, fixed_anchor, every<ema_anchor>, every<bema_anchor>, every<soup_anchor>, inpo_anchor, moving_magnet,
                           halpern_anchor, recent_anchors, harmonic_anchor, extrapolated_weights<chosen_momentum, chosen_extrapolation>,
                           extrapolated_log_probs<chosen_momentum, chosen_extrapolation>>;

  template <tensor P>
  struct memory {
    template <class... Schedules>
    static std::variant<no_memory, memory_of<Schedules, P>...> begun(std::variant<Schedules...> const*);
    decltype(begun(static_cast<any const*>(nullptr))) kept;  ///< of schedule index() − 1; 0: nothing has begun

    /// Makes room for the schedule of this place in `any`.
    void begin(std::size_t schedule) { emplace(schedule, std::make_index_sequence<std::variant_size_v<decltype(kept)>>()); }

    template <class Self, class Visitor>
    static void for_each_part(Self& self, Visitor&& visit) {
      std::size_t schedule = self.kept.index();
      visit("schedule", schedule);
      if constexpr (!std::is_const_v<Self>)
        if (schedule != self.kept.index()) self.emplace(schedule, std::make_index_sequence<std::variant_size_v<decltype(kept)>>());
      std::visit([&](auto& own) { visit("own", own); }, self.kept);
    }

   private:
    template <std::size_t... I>
    void emplace(std::size_t index, std::index_sequence<I...>) {
      ((index == I ? static_cast<void>(kept.template emplace<I>()) : void()), ...);
    }
  };

  chosen_schedule() : chosen_schedule(hand_off{}) {}
  explicit chosen_schedule(any schedule)
      : keeps_anchor(std::visit([](auto const& s) { return s.keeps_anchor; }, schedule)), which_(std::move(schedule)) {}

  bool keeps_anchor;

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    if (own.kept.index() == 0) own.begin(which_.index() + 1);
    kedge::detail::require(own.kept.index() == which_.index() + 1, "the run began under reference schedule ", own.kept.index(), " and goes on under ",
                           which_.index() + 1, "; go on with the one that it began with");
    place_as(s, own, std::make_index_sequence<std::variant_size_v<any>>());
  }

  template <class Term, class L>
  [[nodiscard]] L combine(std::vector<Term> const& terms, std::vector<L> const& logp) const {
    return std::visit(
        [&](auto const& schedule) {
          if constexpr (requires { schedule.combine(terms, logp); }) {
            return schedule.combine(terms, logp);
          } else {
            require_affine_terms(terms);
            return kedge::combine(terms, logp);
          }
        },
        which_);
  }

  [[nodiscard]] any const& which() const { return which_; }

 private:
  template <class State, class Memory, std::size_t... I>
  void place_as(State& s, Memory& own, std::index_sequence<I...>) const {
    auto place_one = [&](auto const& schedule, auto& memory) {
      kedge::detail::require_in_range(schedule);
      if constexpr (requires { schedule.place(s, memory); })
        schedule.place(s, memory);
      else
        schedule.place(s);
    };
    ((which_.index() == I ? place_one(std::get<I>(which_), std::get<I + 1>(own.kept)) : void()), ...);
  }

  any which_;
};

/// The rule that throws the anchor ahead; α = 0 without one.
[[nodiscard]] chosen_momentum momentum_of(schedule_settings const& settings);

/// The schedule that these settings mean. The caller fills state.anchor for references that are other models: see make_anchor().
/// throws  error if momentum is asked for beside a reference other than hand-off
[[nodiscard]] chosen_schedule make_schedule(schedule_settings const& settings);

/// Points that a reference keeps from round to round, beside the one that is trained: a plan of memory counts them.
[[nodiscard]] std::int64_t kept_by(reference_choice const& reference);

}  // namespace kedge::llm
