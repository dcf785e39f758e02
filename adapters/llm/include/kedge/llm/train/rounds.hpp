// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/reference.hpp>

namespace kedge::llm {

enum class round_method { dpo, sdpo, apo };
constexpr auto names(round_method) {
  return std::array{named{round_method::dpo, "dpo"}, named{round_method::sdpo, "sdpo"}, named{round_method::apo, "apo"}};
}

/// The order of the chunks that a data set is cut into.
enum class chunk_order { given, easy_to_hard, hard_to_easy, random };
constexpr auto names(chunk_order) {
  return std::array{named{chunk_order::given, "given"}, named{chunk_order::easy_to_hard, "easy-to-hard"},
                    named{chunk_order::hard_to_easy, "hard-to-easy"}, named{chunk_order::random, "random"}};
}

/// What makes a pair easy.
enum class pair_difficulty { score_gap, logp_margin };
constexpr auto names(pair_difficulty) {
  return std::array{named{pair_difficulty::score_gap, "score-gap", "score_chosen - score_rejected"},
                    named{pair_difficulty::logp_margin, "logp-margin", "log-probability margin of the start"}};
}

/// What is extrapolated between rounds.
enum class extrapolated { weights, log_probs };
constexpr auto names(extrapolated) {
  return std::array{named{extrapolated::weights, "weights"}, named{extrapolated::log_probs, "log-probs"}};
}

/// Which completions of a prompt make pairs.
enum class pairing_rule { best_worst, all };
constexpr auto names(pairing_rule) {
  return std::array{named{pairing_rule::best_worst, "best-worst"}, named{pairing_rule::all, "all"}};
}

/// What fresh pairs are sampled from.
enum class sampled_policy { weights, mixture };
constexpr auto names(sampled_policy) {
  return std::array{named{sampled_policy::weights, "weights"}, named{sampled_policy::mixture, "mixture"}};
}

/// What the optimizer's state and the schedule of the learning rate span.
enum class optimizer_span { round, run };
constexpr auto names(optimizer_span) {
  return std::array{named{optimizer_span::round, "round", "both begin anew each round"}, named{optimizer_span::run, "run", "both go on from round to round"}};
}

/// Which null baseline of APO runs in its place. none: APO itself. The others are kedge::null_kind.         docs/math.md (7′)
enum class null_choice { none, beta, rate, both };
constexpr auto names(null_choice) {
  return std::array{named{null_choice::none, "none"}, named{null_choice::beta, "beta", "right where rounds are solved"},
                    named{null_choice::rate, "rate", "right where they are hardly begun"},
                    named{null_choice::both, "both", "right in between too"}};
}

/// What makes the rounds of a run.
struct round_settings {
  round_method method = round_method::dpo;
  std::size_t rounds = 1;
  std::size_t chunks = 0;  ///< cut one data set into so many rounds; 0: one file a round
  chunk_order order = chunk_order::given;
  pair_difficulty difficulty = pair_difficulty::score_gap;
  reference_choice reference{.what = reference_kind::hand_off};  ///< goes with momentum only as hand-off
  momentum_choice momentum = momentum_choice::none;
  std::vector<double> alpha{0.3};  ///< constant momentum; several: α_1, α_2, … , the last one goes on
  std::vector<double> beta{};      ///< a β for each round, the last one goes on; empty: the loss's
  double nesterov_s = 3;
  double kappa = 1;  ///< condition number, of strongly convex momentum
  extrapolated extrapolate = extrapolated::weights;
  llm::optimizer_span optimizer_span = llm::optimizer_span::round;
  null_choice null = null_choice::none;  ///< which null baseline these rounds are, once make_null_baseline has made them one

  // Fresh pairs each round: sampled from the round's anchor, rewarded, paired. Off while sampling.prompts is empty.
  on_policy_settings sampling{};
  std::size_t prompts_per_round = 0;  ///< 0: all
  std::size_t num_samples = 4;        ///< completions of a prompt
  pairing_rule pairing = pairing_rule::best_worst;
  sampled_policy sample_from =
      sampled_policy::weights;  ///< the extrapolated model, or both models' log-probabilities, token by token

  [[nodiscard]] bool online() const { return !sampling.prompts.empty(); }
};

/// The rounds that a method has where nothing else is said.
[[nodiscard]] inline round_settings usual_rounds(round_method method) {
  return {.method = method, .momentum = method == round_method::apo ? momentum_choice::constant : momentum_choice::none};
}

/// β of the plain iterative run that ends at the same policy as these rounds, under exact Bradley–Terry dynamics.
/// `beta`: of the rounds that round_settings gives none
[[nodiscard]] double effective_beta(round_settings const& rounds, std::size_t count, double beta);

template <>
struct setting_type<reference_choice> {
  [[nodiscard]] static std::optional<reference_choice> read(std::string_view text, number_range const&) {
    return parse_reference(std::string(text));
  }
  [[nodiscard]] static nlohmann::ordered_json write(reference_choice const& value);
  [[nodiscard]] static bool valid(reference_choice const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return all_names<reference_kind>() + ", or a model's folder"; }
};

void declare(settings_list& list, on_policy_settings& settings);
/// The reference of dpo; the rounds of sdpo; those of apo. Each has the former as well.
void declare_reference(settings_list& list, round_settings& settings);
void declare_chunks(settings_list& list, round_settings& settings);
void declare_rounds(settings_list& list, round_settings& settings);

}  // namespace kedge::llm
