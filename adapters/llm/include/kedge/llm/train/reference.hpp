// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// What a round's reference is: which of the core's schedules places the anchor.
enum class reference_kind { hand_off, start, ema, bema, mean, inpo, magnet, halpern, recent, harmonic, soup, mkl };

constexpr auto names(reference_kind) {
  using enum reference_kind;
  return std::array{
      named<reference_kind>{hand_off, "hand-off", "the model that the round before has trained"},
      named<reference_kind>{start, "start", "the model that the run starts from, in every round"},
      named<reference_kind>{ema, "ema", "a moving average of the rounds' results (TR-DPO)"},
      named<reference_kind>{bema, "bema", "a moving average, corrected for its lag"},
      named<reference_kind>{mean, "mean", "the average of all results so far"},
      named<reference_kind>{inpo, "inpo", "start and last result, mixed in log space"},
      named<reference_kind>{magnet, "magnet", "the same, the start replaced by the last result every so many rounds (MPO, COMAL)"},
      named<reference_kind>{halpern, "halpern", "start and last result, the start with weight 1/(t+1) after t rounds"},
      named<reference_kind>{recent, "recent", "the last results, mixed in log space with the weights given (MNPO)"},
      named<reference_kind>{harmonic, "harmonic", "several models, mixed in probabilities (MRPO)"},
      named<reference_kind>{soup, "soup", "the average of several models' weights (SALSA); a model's folder alone is a soup of one"},
      named<reference_kind>{mkl, "mkl", "several models, mixed in log space"},
  };
}

/// What --reference says. By default PPO measures against the start, and a round on pairs against the round before.
struct reference_choice {
  using kind = reference_kind;
  kind what = kind::start;
  std::vector<std::filesystem::path> models{};                 ///< of harmonic, soup and mkl
  std::vector<double> weights{};                               ///< of the models, or of recent; sum to one; empty: equal
  std::vector<std::pair<std::string, double>> numbers{};       ///< a schedule's parameters by name, in range
};

/// "NAME", "NAME:parameter=number,…", "recent:W,W[,…]", "harmonic|soup|mkl:DIR,DIR[,…][@W,W]", a model's DIR, or "" for `otherwise`.
/// throws  error in one line that lists what is known: for an unknown name or parameter, a number out of its range, weights that
///         don't sum to one or are not one a model
[[nodiscard]] reference_choice parse_reference(std::string const& text, reference_kind otherwise = reference_kind::start);

/// One line a name: what it is, its parameters with defaults and ranges.
[[nodiscard]] std::string describe_references();

/// Which rule throws the anchor ahead.
enum class momentum_choice { none, constant, nesterov, fista, strongly_convex };

constexpr auto names(momentum_choice) {
  using enum momentum_choice;
  return std::array{named<momentum_choice>{none, "none"}, named<momentum_choice>{constant, "constant"},
                    named<momentum_choice>{nesterov, "nesterov"}, named<momentum_choice>{fista, "fista"},
                    named<momentum_choice>{strongly_convex, "strongly-convex"}};
}

/// What decides where anchor and start of each round are.
struct schedule_settings {
  reference_choice reference{.what = reference_kind::hand_off};
  momentum_choice momentum = momentum_choice::none;  ///< goes with hand-off alone
  std::vector<double> alpha{0.3};                    ///< of constant momentum; several: α_1, α_2, … , the last one goes on
  double nesterov_s = 3;
  double kappa = 1;                                  ///< condition number, of strongly convex momentum
  bool log_probs = false;                            ///< extrapolate log-probabilities and not weights
  std::size_t products = 0;                          ///< points are adapters that begin with so many pairs A, B, which extrapolate by their product
};

}  // namespace kedge::llm
