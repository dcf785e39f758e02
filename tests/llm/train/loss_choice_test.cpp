// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/loss_choice.hpp>

#include "../adapters/llm/src/train/loss_registry.hpp"
#include "support/catch.hpp"

using namespace kedge;
using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

struct two_pairs {
  pair_log_probs logp{{-12.5, -9}, {-15.25, -9.5}}, reference{{-13, -10}, {-14.5, -9}};
  std::vector<double> tokens_chosen{10, 7}, tokens_rejected{12, 9}, score_chosen{0.8, 0.6}, score_rejected{0.2, 0.1};
  operator pair_batch() const { return {logp, reference, tokens_chosen, tokens_rejected, score_chosen, score_rejected}; }
};

// A loss of a user's own, with two parameters: all that it takes beside a row.
struct squared_hinge {
  double beta = 0.1;
  double target = 1, power = 2;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr auto parameters =
      std::tuple{parameter<squared_hinge>{"beta", &squared_hinge::beta, 0, unbounded, "weight of the reference", true},
                 parameter<squared_hinge>{"hinge_target", &squared_hinge::target, 0, unbounded, "margin to reach"},
                 parameter<squared_hinge>{"hinge_power", &squared_hinge::power, 1, 2, "of what is missing"}};
  pair_slopes operator()(pair_terms const& pair) const {
    double const missing = std::max(0.0, target - beta * pair.margin()), slope = -beta * power * std::pow(missing, power - 1);
    return {std::pow(missing, power), slope, -slope};
  }
};

}  // namespace

TEST_CASE("a new loss with two parameters is a type and a row", "[llm][losses]") {
  registered_loss const row = loss<squared_hinge>("squared_hinge", "an example", not_in_trl);
  REQUIRE(row.parameters.size() == 2);
  CHECK((row.parameters[1].name == "hinge_power" && row.parameters[1].defaults == "2" && row.parameters[1].most == 2));
  two_pairs const batch;
  CHECK(row.make({.beta = 0.2, .parameters = {{"hinge_target", 3}}}).evaluate(batch, 0).value ==
        preference_loss(squared_hinge{0.2, 3}, batch).value);
  CHECK_THROWS_WITH(row.make({.parameters = {{"hinge_power", 3}}}),
                    "loss_type squared_hinge: hinge_power = 3; it must be at least 1 and at most 2");
  CHECK((row.needs_reference && row.takes_divergence));
  CHECK_FALSE(row.make({.f_divergence_type = f_divergence::forward_kl}).shift_invariant);
}

TEST_CASE("every name of loss_type makes a loss with finite value and slopes", "[llm][losses]") {
  two_pairs const batch;
  CHECK(loss_names().size() == 32);
  for (loss_name const& row : loss_names()) {
    loss_choice const loss = make_loss({.loss_type = {row.name}});
    auto const [value, cotangent] = loss.evaluate(batch, 0);
    INFO(row.name);
    CHECK(loss.name == row.name);
    CHECK(std::isfinite(value));
    CHECK(std::isfinite(kedge::dot(cotangent, cotangent)));
  }
}

TEST_CASE("every parameter of every loss changes it, and is refused where it is NaN or beyond its range", "[llm][losses]") {
  two_pairs const batch;
  double const nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  std::vector<std::string> names;
  for (loss_parameter const& p : loss_parameters()) {
    names.push_back(p.name);
    INFO(p.name);
    CHECK_FALSE((p.help.empty() || p.defaults.empty()));
    for (std::string const& loss : p.losses) {
      INFO(loss);
      double const before = make_loss({.loss_type = {loss}}).evaluate(batch, 0).value;
      CHECK(make_loss({.loss_type = {loss}, .parameters = {{p.name, 0.3}}}).evaluate(batch, 0).value != before);
      for (double const wrong : {nan, infinity, -infinity})
        CHECK_THROWS_WITH(make_loss({.loss_type = {loss}, .parameters = {{p.name, wrong}}}),
                          contains("loss_type " + loss + ": " + p.name + " = "));
    }
  }
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"alpha_dpo_alpha", "alpha_po_alpha", "bco_shift", "beta_dpo_alpha",
                                          "beta_dpo_threshold", "cpo_alpha", "desirable_weight", "discopop_tau",
                                          "f_alpha_divergence_coef", "label_smoothing", "odpo_alpha", "rdpo_alpha",
                                          "simpo_gamma", "slic_delta", "slic_lambda", "undesirable_weight"});
}

TEST_CASE("a parameter's defaults are those of the losses that read it, its range takes all of theirs in", "[llm][losses]") {
  auto const named = [](std::string const& name) {
    auto const& all = loss_parameters();
    return *std::find_if(all.begin(), all.end(), [&](loss_parameter const& p) { return p.name == name; });
  };
  loss_parameter const smoothing = named("label_smoothing");
  CHECK(smoothing.defaults == "0.001 (exo_pair), 0 (robust, aot, aot_unpaired, cpo), 0.1 (cdpo)");
  CHECK((smoothing.least == 0 && !smoothing.open_least && smoothing.most == 1 && smoothing.open_most));
  CHECK(named("alpha_po_alpha").defaults == "0.25");
  CHECK(named("simpo_gamma").losses == std::vector<std::string>{"simpo", "alpha_po", "alpha_dpo"});
  CHECK(named("f_alpha_divergence_coef").losses.empty());
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
  CHECK(make_loss({.f_divergence_type = f_divergence::js_divergence}).evaluate(batch, 0).value ==
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
  CHECK_FALSE(make_loss({.f_divergence_type = f_divergence::forward_kl}).shift_invariant);
  CHECK_FALSE(make_loss({.loss_type = {"simpo"}}).needs_reference);
  CHECK(make_loss({.loss_type = {"rebel"}}).reads_scores);
  CHECK(make_loss({.loss_type = {"sigmoid", "ipo"}}).reads_tokens);
  CHECK_FALSE(make_loss({}).reads_tokens);
  CHECK_FALSE(make_loss({.loss_type = {"cpo"}}).shift_invariant);
  CHECK(make_loss({.loss_type = {"cpo"}, .parameters = {{"cpo_alpha", 0}}}).shift_invariant);
  CHECK(make_loss({.loss_type = {"aot"}}).compares_pairs);
}

TEST_CASE("divergences go with losses of the margin, as in TRL", "[llm][losses]") {
  std::vector<std::string> taken;
  for (loss_name const& row : loss_names()) {
    try {
      two_pairs const batch;
      loss_choice const loss = make_loss({.loss_type = {row.name}, .f_divergence_type = f_divergence::forward_kl});
      CHECK(loss.evaluate(batch, 0).value != make_loss({.loss_type = {row.name}}).evaluate(batch, 0).value);
      if (row.in_trl) taken.push_back(row.name);
    } catch (error const& refused) {
      CHECK_THAT(refused.what(), contains("use reverse_kl"));
    }
  }
  CHECK(taken == std::vector<std::string>{"sigmoid", "hinge", "ipo", "exo_pair", "robust", "discopop", "sigmoid_norm"});
  CHECK_NOTHROW(make_loss({.loss_type = {"sigmoid", "sft"}, .f_divergence_type = f_divergence::forward_kl}));
  auto const alpha = [](double coefficient) {
    return make_loss(
        {.f_divergence_type = f_divergence::alpha_divergence, .parameters = {{"f_alpha_divergence_coef", coefficient}}});
  };
  two_pairs const batch;
  CHECK(alpha(0.3).evaluate(batch, 0).value == preference_loss(with_divergence{alpha_divergence{0.3}, dpo{}}, batch).value);
  CHECK(alpha(1).shift_invariant);
}

TEST_CASE("a wrong choice of loss is refused in one line", "[llm][losses]") {
  CHECK_THROWS_WITH(make_loss({.loss_type = {"sigmod"}}),
                    contains("unknown loss_type 'sigmod'; did you mean 'sigmoid'? Known are sigmoid, hinge, ipo"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"inpo"}}), contains("ipo_sum with beta = eta"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"onpo"}}), contains("ipo_sum with beta = 1/eta"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"sigmoid", "sft"}, .loss_weights = {1}}), contains("1 loss_weights for 2"));
  CHECK_THROWS_WITH(make_loss({.beta = 0}), "beta = 0; it must be positive");
  CHECK_THROWS_WITH(make_loss({.loss_type = {"robust"}, .parameters = {{"label_smoothing", 0.6}}}),
                    "loss_type robust: label_smoothing = 0.6; it must be at least 0 and below 0.5");
  CHECK_THROWS_WITH(make_loss({.loss_type = {"exo_pair"}, .parameters = {{"label_smoothing", 0}}}), contains("above 0"));
  CHECK_THROWS_WITH(
      make_loss({.parameters = {{"label_smoothing", 0.1}}}),
      contains(
          "label_smoothing is given, but loss_type sigmoid doesn't read it; leave it out, or choose one of exo_pair, robust"));
  CHECK_THROWS_WITH(make_loss({.parameters = {{"f_alpha_divergence_coef", 0.1}}}),
                    contains("f_divergence_type reverse_kl doesn't read it"));
  CHECK_THROWS_WITH(make_loss({.parameters = {{"simpo_gama", 0.1}}}), contains("did you mean 'simpo_gamma'?"));
  CHECK_THROWS_WITH(make_loss({.loss_type = {"apo_zero"}, .f_divergence_type = f_divergence::forward_kl}),
                    contains("use reverse_kl"));
  CHECK_THROWS_AS(make_loss({.loss_type = {}}), error);
}
