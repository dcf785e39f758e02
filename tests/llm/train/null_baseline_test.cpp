// SPDX-License-Identifier: Apache-2.0

// The null baseline of APO as settings of a run.                                                            docs/math.md (7′)

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <kedge/llm/train/null_baseline.hpp>

#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::WithinRel;

namespace {

constexpr double tolerance = 1e-12;

// alpha = 0.5 and two rounds: C_2 = 2.5, r = 1.25.
round_settings apo(null_choice null) {
  return {.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant, .alpha = {0.5}, .null = null};
}

training_settings settings_with(std::string_view optimizer, std::vector<std::string> losses = {"sigmoid"}) {
  training_settings s;
  s.learning_rate = 1e-4;
  s.optim = optimizer_choice(optimizer);
  s.loss.loss_type = std::move(losses);
  return s;
}

}  // namespace

TEST_CASE("no choice leaves the settings of APO as they are") {
  training_settings s = settings_with("adamw_torch_fused");
  round_settings rounds = apo(null_choice::none);
  CHECK(make_null_baseline(s, rounds) == 1);
  CHECK(s.learning_rate == 1e-4);
  CHECK(rounds.momentum == momentum_choice::constant);
}

TEST_CASE("both divides beta by r and multiplies the rate of AdamW by r with what is compared with gradients divided by r") {
  training_settings s = settings_with("adamw_torch_fused");
  round_settings rounds = apo(null_choice::both);
  CHECK_THAT(make_null_baseline(s, rounds), WithinRel(1.25, tolerance));
  CHECK_THAT(s.loss.beta, WithinRel(0.1 / 1.25, tolerance));
  CHECK_THAT(s.learning_rate, WithinRel(1.25e-4, tolerance));
  CHECK_THAT(s.adam_epsilon, WithinRel(1e-8 / 1.25, tolerance));
  CHECK_THAT(s.max_grad_norm, WithinRel(1 / 1.25, tolerance));
  CHECK(rounds.momentum == momentum_choice::none);
}

TEST_CASE("both multiplies the rate of SGD by the square of r and leaves it with IPO") {
  training_settings s = settings_with("sgd");
  round_settings rounds = apo(null_choice::both);
  (void)make_null_baseline(s, rounds);
  CHECK_THAT(s.learning_rate, WithinRel(1.25 * 1.25 * 1e-4, tolerance));
  s = settings_with("sgd", {"ipo"});
  rounds = apo(null_choice::both);
  (void)make_null_baseline(s, rounds);
  CHECK_THAT(s.learning_rate, WithinRel(1e-4, tolerance));
  CHECK_THAT(s.max_grad_norm, WithinRel(1.25, tolerance));
}

TEST_CASE("beta alone and the rate alone change nothing else") {
  training_settings s = settings_with("adamw_torch_fused");
  round_settings rounds = apo(null_choice::beta);
  rounds.beta = {0.2, 0.4};
  (void)make_null_baseline(s, rounds);
  CHECK(s.learning_rate == 1e-4);
  CHECK(s.max_grad_norm == 1);
  CHECK_THAT(rounds.beta[1], WithinRel(0.4 / 1.25, tolerance));
  s = settings_with("adamw_torch_fused");
  rounds = apo(null_choice::rate);
  (void)make_null_baseline(s, rounds);
  CHECK(s.loss.beta == 0.1);
  CHECK_THAT(s.learning_rate, WithinRel(1.25e-4, tolerance));
}

TEST_CASE("a null baseline is refused where the theorem says nothing") {
  training_settings s = settings_with("adamw_torch_fused", {"kto_pair"});
  round_settings rounds = apo(null_choice::both);
  CHECK_THROWS_WITH(make_null_baseline(s, rounds), contains("it isn't so of kto_pair"));
  rounds.null = null_choice::rate;
  CHECK_NOTHROW(make_null_baseline(s, rounds));
  s = settings_with("adamw_torch_fused", {"sigmoid", "ipo"});
  rounds = apo(null_choice::both);
  CHECK_THROWS_WITH(make_null_baseline(s, rounds), contains("these are of two kinds"));
  s = settings_with("sgd");
  s.loss.f_divergence_type = f_divergence::js_divergence;
  CHECK_THROWS_WITH(make_null_baseline(s, rounds), contains("it isn't so under f_divergence_type js_divergence"));
  s = settings_with("sgd");
  s.use_weighting = true;
  CHECK_THROWS_WITH(make_null_baseline(s, rounds), contains("use_weighting gives pairs weights"));
  rounds.reference.what = reference_kind::start;
  rounds.null = null_choice::beta;
  CHECK_THROWS_WITH(make_null_baseline(s, rounds), contains("--reference hand-off"));
}
