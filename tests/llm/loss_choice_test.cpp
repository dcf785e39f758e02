// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/train/loss_choice.hpp>

#include "support/catch.hpp"

using namespace kedge;
using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

struct two_pairs {
  pair_log_probs logp{{-12.5, -9}, {-15.25, -11}}, reference{{-13, -10}, {-14.5, -9}};
  std::vector<double> tokens_chosen{10, 7}, tokens_rejected{12, 9}, score_chosen{0.8, 0.6}, score_rejected{0.2, 0.1};
  operator pair_batch() const { return {logp, reference, tokens_chosen, tokens_rejected, score_chosen, score_rejected}; }
};

}  // namespace

TEST_CASE("every name of loss_type makes a loss with finite value and slopes", "[llm][losses]") {
  two_pairs const batch;
  CHECK(loss_names().size() == 32);
  for (loss_name const& row : loss_names()) {
    loss_choice const loss = make_loss({.loss_type = {row.name}, .label_smoothing = row.name == "exo_pair" ? 1e-3 : 0.1});
    auto const [value, cotangent] = loss.evaluate(batch, 0);
    INFO(row.name);
    CHECK(loss.name == row.name);
    CHECK(std::isfinite(value));
    CHECK(std::isfinite(kedge::dot(cotangent, cotangent)));
  }
}

TEST_CASE("TRL's loss names are all known", "[llm][losses]") {
  std::size_t in_trl = 0;
  for (loss_name const& row : loss_names()) in_trl += row.in_trl ? 1 : 0;
  CHECK(in_trl == 15);
}

TEST_CASE("a chosen loss is the library's loss of that type", "[llm][losses]") {
  two_pairs const batch;
  CHECK(make_loss({}).evaluate(batch, 4).value == preference_loss(dpo{0.1}, batch, 4).value);
  CHECK(make_loss({.loss_type = {"apo_zero"}, .beta = 0.3}).evaluate(batch, 0).value ==
        preference_loss(anchored_zero{0.3}, batch).value);
  CHECK(make_loss({.f_divergence_type = "js_divergence"}).evaluate(batch, 0).value ==
        preference_loss(with_divergence{jensen_shannon{}, dpo{0.1}}, batch).value);
}

TEST_CASE("loss_weights make a weighted sum", "[llm][losses]") {
  two_pairs const batch;
  loss_choice const mpo = make_loss({.loss_type = {"sigmoid", "bco_pair", "sft"}, .loss_weights = {0.8, 0.2, 1}});
  CHECK(mpo.name == "0.8 sigmoid + 0.2 bco_pair + 1 sft");
  CHECK_FALSE(mpo.shift_invariant);
  CHECK(mpo.compares_pairs);
  auto const found = mpo.evaluate(batch, 0);
  auto const expected = preference_loss(mixture{std::tuple{dpo{}, bco{}, sft{}}, {0.8, 0.2, 1.0}}, batch);
  CHECK_THAT(found.value, WithinAbs(expected.value, 1e-15));
  CHECK_THAT(found.cotangent.chosen[1], WithinAbs(expected.cotangent.chosen[1], 1e-16));
}

TEST_CASE("a loss says what it reads", "[llm][losses]") {
  CHECK(make_loss({}).shift_invariant);
  CHECK_FALSE(make_loss({.loss_type = {"ipo"}}).shift_invariant);
  CHECK_FALSE(make_loss({.f_divergence_type = "forward_kl"}).shift_invariant);
  CHECK_FALSE(make_loss({.loss_type = {"simpo"}}).needs_reference);
  CHECK(make_loss({.loss_type = {"rebel"}}).reads_scores);
  CHECK(make_loss({.loss_type = {"aot"}}).compares_pairs);
}

TEST_CASE("a wrong choice of loss is refused in one line", "[llm][losses]") {
  CHECK_THROWS_WITH(make_loss({.loss_type = {"sigmod"}}),
                    contains("unknown loss_type 'sigmod'; known are sigmoid, hinge, ipo"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"sigmoid", "sft"}, .loss_weights = {1}}), contains("1 loss_weights for 2"));
  CHECK_THROWS_WITH(make_loss({.beta = 0}), "beta = 0; it must be positive");
  CHECK_THROWS_WITH(make_loss({.loss_type = {"robust"}, .label_smoothing = 0.6}), contains("label_smoothing = 0.6"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"exo_pair"}, .label_smoothing = 0}), contains("above 0"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"apo_zero"}, .f_divergence_type = "forward_kl"}), contains("use reverse_kl"));
  CHECK_THROWS_WITH(make_loss({.f_divergence_type = "kl"}), contains("unknown f_divergence_type 'kl'"));
  CHECK_THROWS_AS(make_loss({.loss_type = {}}), error);
}
