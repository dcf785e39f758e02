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
round_settings apo() {
  return {.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant, .alpha = {0.5}};
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
  round_settings rounds = apo();
  CHECK(make_null_baseline(s, rounds, 2, null_choice::none) == 1);
  CHECK(s.learning_rate == 1e-4);
  CHECK(rounds.momentum == momentum_choice::constant);
}

TEST_CASE("both divides beta by r and multiplies the rate of AdamW by r with what is compared with gradients divided by r") {
  training_settings s = settings_with("adamw_torch_fused");
  round_settings rounds = apo();
  CHECK_THAT(make_null_baseline(s, rounds, 2, null_choice::both), WithinRel(1.25, tolerance));
  CHECK_THAT(s.loss.beta, WithinRel(0.1 / 1.25, tolerance));
  CHECK_THAT(s.learning_rate, WithinRel(1.25e-4, tolerance));
  CHECK_THAT(s.adam_epsilon, WithinRel(1e-8 / 1.25, tolerance));
  CHECK_THAT(s.max_grad_norm, WithinRel(1 / 1.25, tolerance));
  CHECK(rounds.momentum == momentum_choice::none);
}

TEST_CASE("both multiplies the rate of SGD by the square of r and leaves it with IPO") {
  training_settings s = settings_with("sgd");
  round_settings rounds = apo();
  (void)make_null_baseline(s, rounds, 2, null_choice::both);
  CHECK_THAT(s.learning_rate, WithinRel(1.25 * 1.25 * 1e-4, tolerance));
  s = settings_with("sgd", {"ipo"});
  rounds = apo();
  (void)make_null_baseline(s, rounds, 2, null_choice::both);
  CHECK_THAT(s.learning_rate, WithinRel(1e-4, tolerance));
  CHECK_THAT(s.max_grad_norm, WithinRel(1.25, tolerance));
}

TEST_CASE("beta alone and the rate alone change nothing else") {
  training_settings s = settings_with("adamw_torch_fused");
  round_settings rounds = apo();
  rounds.beta = {0.2, 0.4};
  (void)make_null_baseline(s, rounds, 2, null_choice::beta);
  CHECK(s.learning_rate == 1e-4);
  CHECK(s.max_grad_norm == 1);
  CHECK_THAT(rounds.beta[1], WithinRel(0.4 / 1.25, tolerance));
  s = settings_with("adamw_torch_fused");
  rounds = apo();
  (void)make_null_baseline(s, rounds, 2, null_choice::rate);
  CHECK(s.loss.beta == 0.1);
  CHECK_THAT(s.learning_rate, WithinRel(1.25e-4, tolerance));
}

TEST_CASE("a null baseline is refused where the theorem says nothing") {
  training_settings s = settings_with("adamw_torch_fused", {"kto_pair"});
  round_settings rounds = apo();
  CHECK_THROWS_WITH(make_null_baseline(s, rounds, 2, null_choice::both), contains("it isn't so of kto_pair"));
  CHECK_NOTHROW(make_null_baseline(s, rounds, 2, null_choice::rate));
  s = settings_with("adamw_torch_fused", {"sigmoid", "ipo"});
  rounds = apo();
  CHECK_THROWS_WITH(make_null_baseline(s, rounds, 2, null_choice::both), contains("these are of two kinds"));
  rounds.reference.what = reference_kind::start;
  CHECK_THROWS_WITH(make_null_baseline(s, rounds, 2, null_choice::beta), contains("--reference hand-off"));
}
