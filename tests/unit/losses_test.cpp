// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>

#include <kedge/losses.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

using pair_function = std::function<pair_slopes(pair_terms const&)>;

std::map<std::string, pair_function> const all_pair_losses{
    {"dpo", dpo{}},
    {"cdpo", cdpo{}},
    {"robust_dpo", robust_dpo{.label_smoothing = 0.1}},
    {"hypo", hypo{}},
    {"hinge", hinge{}},
    {"ipo", ipo{}},
    {"ipo_sum", ipo_sum{}},
    {"exo", exo{}},
    {"nca", nca{}},
    {"bco", bco{}},
    {"bco_shifted", bco{.shift = 0.3}},
    {"sppo_hard", sppo_hard{}},
    {"sppo", sppo{}},
    {"anchored_zero", anchored_zero{}},
    {"anchored_down", anchored_down{}},
    {"discopop", discopop{}},
    {"length_normalized_dpo", length_normalized_dpo{}},
    {"length_regularized_dpo", length_regularized_dpo{}},
    {"offset_dpo", offset_dpo{}},
    {"simpo", simpo{}},
    {"simpo_small_beta", simpo{.beta = 0.1}},
    {"alpha_po", alpha_po{}},
    {"orpo", orpo{}},
    {"cpo", cpo{}},
    {"slic_hf", slic_hf{}},
    {"kto", kto{.kl = 0.05}},
    {"inpo", inpo{.eta = 0.02}},
    {"onpo", onpo{}},
    {"online_ipo", online_ipo{}},
    {"dno", dno{}},
    {"rebel", rebel{.eta = 0.5}},
    {"distilled_dpo", distilled_dpo{}},
    {"forward_kl dpo", with_divergence{forward_kl{}, dpo{}}},
    {"jensen_shannon dpo", with_divergence{jensen_shannon{}, dpo{}}},
    {"alpha_divergence dpo", with_divergence{alpha_divergence{}, dpo{}}},
};

std::map<std::string, pair_terms> const golden_pairs{
    {"note", {-12.5, -15.25, -13, -14.5, 10, 12, 0.8, 0.2}},
    {"wrong", {-40.5, -11.25, -31, -19.5, 17, 5, 0.65, 0.45}},
    {"start", {-20, -30, -20, -30, 8, 9, 0.5, 0.4}},
    {"far", {-100, -60100, -50100, -10100, 100, 400, 0.9, 0.1}},
    {"far wrong", {-60100, -100, -10100, -50100, 100, 400, 0.9, 0.1}},
};

struct golden_row {
  std::string loss, example;
  pair_slopes expected;
};

std::vector<golden_row> golden_table() {
  std::ifstream file(KEDGE_TESTS_DIR "/golden/core/losses.csv");
  std::vector<golden_row> rows;
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    std::string cell[5];
    for (std::string& text : cell) std::getline(cells, text, ',');
    rows.push_back({cell[0],
                    cell[1],
                    {std::strtod(cell[2].c_str(), nullptr), std::strtod(cell[3].c_str(), nullptr),
                     std::strtod(cell[4].c_str(), nullptr)}});
  }
  return rows;
}

bool close(double found, double expected) { return std::abs(found - expected) <= 1e-12 * std::max(1.0, std::abs(expected)); }

// A batch with everything in it.
struct random_batch {
  pair_log_probs logp, reference;
  std::vector<double> tokens_chosen, tokens_rejected, score_chosen, score_rejected;

  random_batch(std::size_t n, unsigned seed) {
    std::mt19937_64 generator(seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (std::size_t i = 0; i < n; ++i) {
      tokens_chosen.push_back(std::floor(5 + 20 * uniform(generator)));
      tokens_rejected.push_back(std::floor(5 + 20 * uniform(generator)));
      reference.chosen.push_back(-tokens_chosen[i] * (0.5 + uniform(generator)));
      reference.rejected.push_back(-tokens_rejected[i] * (0.5 + uniform(generator)));
      logp.chosen.push_back(reference.chosen[i] + 4 * uniform(generator) - 2);
      logp.rejected.push_back(reference.rejected[i] + 4 * uniform(generator) - 2);
      score_chosen.push_back(0.5 + 0.5 * uniform(generator));
      score_rejected.push_back(0.5 * uniform(generator));
    }
  }
  operator pair_batch() const { return {logp, reference, tokens_chosen, tokens_rejected, score_chosen, score_rejected}; }
};

template <class Loss>
void check_slopes_by_differences(Loss const& loss) {
  random_batch batch(7, 11);
  auto const [value, cotangent] = preference_loss(loss, batch);
  auto difference = [&](double& coordinate) {
    double const kept = coordinate, step = 1e-5;
    coordinate = kept + step;
    double const up = preference_loss(loss, batch).value;
    coordinate = kept - step;
    double const down = preference_loss(loss, batch).value;
    coordinate = kept;
    return (up - down) / (2 * step);
  };
  for (std::size_t i = 0; i < 7; ++i) {
    INFO("pair " << i << ", value " << value);
    CHECK_THAT(difference(batch.logp.chosen[i]), WithinAbs(cotangent.chosen[i], 1e-7 * (1 + std::abs(cotangent.chosen[i]))));
    CHECK_THAT(difference(batch.logp.rejected[i]),
               WithinAbs(cotangent.rejected[i], 1e-7 * (1 + std::abs(cotangent.rejected[i]))));
  }
}

}  // namespace

TEST_CASE("every loss of a pair has the golden value and slopes", "[losses]") {
  std::vector<golden_row> const rows = golden_table();
  REQUIRE(rows.size() == 169);
  for (golden_row const& row : rows) {
    INFO(row.loss << ", " << row.example);
    pair_slopes const found = all_pair_losses.at(row.loss)(golden_pairs.at(row.example));
    INFO(found.value << " " << row.expected.value);
    CHECK(close(found.value, row.expected.value));
    CHECK(close(found.chosen, row.expected.chosen));
    CHECK(close(found.rejected, row.expected.rejected));
  }
}

TEST_CASE("the golden table covers every loss of a pair", "[losses]") {
  std::map<std::string, int> covered;
  for (golden_row const& row : golden_table()) ++covered[row.loss];
  CHECK(covered.size() == all_pair_losses.size());
  for (auto const& [name, loss] : all_pair_losses) {
    INFO(name);
    CHECK(covered.count(name) == 1);
  }
}

TEMPLATE_TEST_CASE("slopes are the derivatives of the value", "[losses]", dpo, hypo, cdpo, robust_dpo, hinge, ipo, ipo_sum, exo,
                   nca, bco, sppo_hard, sppo, anchored_zero, anchored_down, discopop, length_normalized_dpo,
                   length_regularized_dpo, offset_dpo, simpo, alpha_po, orpo, cpo, slic_hf, kto, onpo, online_ipo, dno, rebel,
                   distilled_dpo, sft, aot, aot_unpaired) {
  check_slopes_by_differences(TestType{});
}

TEST_CASE("slopes of mixtures and divergences are the derivatives of the value", "[losses]") {
  check_slopes_by_differences(mixture{std::tuple{dpo{}, bco{}, sft{}}, {0.8, 0.2, 1.0}});
  check_slopes_by_differences(with_sft{simpo{}, 0.3});
  check_slopes_by_differences(with_divergence{forward_kl{}, hinge{}});
  check_slopes_by_differences(with_divergence{jensen_shannon{}, ipo{}});
  check_slopes_by_differences(with_divergence{alpha_divergence{.alpha = 0.5}, robust_dpo{.label_smoothing = 0.1}});
}

TEST_CASE("every loss is finite for margins up to 1e4 in units of 1/beta", "[losses]") {
  for (auto const& [name, loss] : all_pair_losses)
    for (double const z : {-1e4, -800.0, -40.0, 40.0, 800.0, 1e4}) {
      pair_terms const pair{-1e5 + 5 * z - 1e5, -1e5 - 5 * z - 1e5, -2e5, -2e5, 100, 90, 0.7, 0.3};
      pair_slopes const found = loss(pair);
      INFO(name << ", z = " << z);
      CHECK(std::isfinite(found.value));
      CHECK(std::isfinite(found.chosen));
      CHECK(std::isfinite(found.rejected));
    }
}

TEST_CASE("a loss is shift-invariant exactly where it says so", "[losses]") {
  auto moves = [](auto const& loss) {
    random_batch batch(5, 3);
    double const before = preference_loss(loss, batch).value;
    for (std::size_t i = 0; i < 5; ++i) {
      batch.reference.chosen[i] += 0.7 * static_cast<double>(i + 1);
      batch.reference.rejected[i] += 0.7 * static_cast<double>(i + 1);
    }
    return std::abs(preference_loss(loss, batch).value - before) > 1e-9 * (1 + std::abs(before));
  };
  auto check = [&]<class Loss>(Loss const& loss) { CHECK(moves(loss) == !Loss::shift_invariant); };
  auto holds = [&](auto const&... loss) { (check(loss), ...); };
  holds(dpo{}, hypo{}, beta_dpo{}, cdpo{}, robust_dpo{}, hinge{}, ipo_sum{}, exo{}, discopop{}, length_regularized_dpo{},
        offset_dpo{}, aot{}, inpo{}, onpo{}, online_ipo{}, dno{}, rebel{}, distilled_dpo{});
  holds(ipo{}, length_normalized_dpo{}, nca{}, bco{}, sppo_hard{}, sppo{}, anchored_zero{}, anchored_down{}, kto{},
        aot_unpaired{}, with_divergence{jensen_shannon{}, dpo{}});
  CHECK(moves(kto_pair{}));
}

TEST_CASE("a loss is of the degree in its margin that it says", "[losses]") {
  auto value = [](auto loss, double beta, double scale) {
    loss.beta = beta;
    random_batch batch(5, 3);
    for (std::vector<double>* numbers : {&batch.logp.chosen, &batch.logp.rejected, &batch.reference.chosen, &batch.reference.rejected})
      for (double& x : *numbers) x *= scale;
    return preference_loss(loss, batch).value;
  };
  auto check = [&]<class Loss>(Loss const& loss) {
    constexpr double beta = 0.3;
    double const expected = std::pow(beta, -margin_degree<Loss>.value()) * value(loss, 1, beta);
    CHECK_THAT(value(loss, beta, 1), WithinAbs(expected, 1e-12 * std::abs(expected)));
  };
  auto holds = [&](auto const&... loss) { (check(loss), ...); };
  holds(dpo{}, cdpo{}, robust_dpo{.label_smoothing = 0.1}, hinge{}, ipo_sum{}, ipo{}, exo{}, discopop{}, length_normalized_dpo{}, aot{});
  static_assert(!margin_degree<hypo> && !margin_degree<length_regularized_dpo> && !margin_degree<kto_pair> && !margin_degree<nca>);
}

TEST_CASE("a loss that needs no reference doesn't read it", "[losses]") {
  auto ignores = [](auto const& loss) {
    random_batch batch(5, 3);
    double const before = preference_loss(loss, batch).value;
    batch.reference = {};
    return preference_loss(loss, batch).value == before;
  };
  CHECK(ignores(simpo{}));
  CHECK(ignores(cpo{}));
  CHECK(ignores(alpha_po{}));
  CHECK(ignores(orpo{}));
  CHECK(ignores(slic_hf{}));
  CHECK(ignores(sft{}));
}

TEST_CASE("DPO with the reference equal to the policy is ln 2, its slope minus half of beta", "[losses]") {
  pair_slopes const found = dpo{.beta = 0.3}({-12, -20, -12, -20});
  CHECK_THAT(found.value, WithinAbs(std::log(2.0), 1e-16));
  CHECK(found.chosen == -0.15);
  CHECK(found.rejected == 0.15);
}

TEST_CASE("micro-batches add up to the batch", "[losses]") {
  random_batch const batch(6, 5);
  auto part = [&](std::size_t from, std::size_t count) {
    auto cut = [&](std::vector<double> const& x) {
      auto const begin = x.begin() + static_cast<std::ptrdiff_t>(from);
      return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count));
    };
    pair_log_probs const logp{cut(batch.logp.chosen), cut(batch.logp.rejected)};
    pair_log_probs const reference{cut(batch.reference.chosen), cut(batch.reference.rejected)};
    return preference_loss(dpo{}, {logp, reference}, 6);
  };
  auto const whole = preference_loss(dpo{}, batch);
  auto const first = part(0, 2), second = part(2, 4);
  CHECK_THAT(first.value + second.value, WithinAbs(whole.value, 1e-15));
  CHECK(first.cotangent.chosen[1] == whole.cotangent.chosen[1]);
  CHECK(second.cotangent.rejected[3] == whole.cotangent.rejected[5]);
}

TEST_CASE("a mixture is the weighted sum of its losses", "[losses]") {
  random_batch const batch(6, 5);
  auto const mixed = preference_loss(mixture{std::tuple{dpo{}, sft{}}, {1.0, 0.25}}, batch);
  auto const first = preference_loss(dpo{}, batch), second = preference_loss(sft{}, batch);
  CHECK_THAT(mixed.value, WithinAbs(first.value + 0.25 * second.value, 1e-14));
  for (std::size_t i = 0; i < 6; ++i)
    CHECK_THAT(mixed.cotangent.chosen[i], WithinAbs(first.cotangent.chosen[i] + 0.25 * second.cotangent.chosen[i], 1e-15));
}

TEST_CASE("a loss with SFT is the mixture of the two", "[losses]") {
  random_batch const batch(6, 5);
  auto const found = preference_loss(with_sft{cpo{}, 0.25}, batch);
  auto const expected = preference_loss(mixture{std::tuple{cpo{}, sft{}}, {1.0, 0.25}}, batch);
  CHECK(found.value == expected.value);
  CHECK(found.cotangent == expected.cotangent);
}

TEST_CASE("SFT is the cross-entropy averaged over the chosen tokens", "[losses]") {
  random_batch const batch(6, 5);
  double logp = 0, tokens = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    logp += batch.logp.chosen[i];
    tokens += batch.tokens_chosen[i];
  }
  CHECK_THAT(preference_loss(sft{}, batch).value, WithinAbs(-logp / tokens, 1e-14));
}

TEST_CASE("AOT compares quantiles, whatever the order of the pairs", "[losses]") {
  // Margins of the policy sorted: -1, 2, 5; of the reference: 0, 1, 4. Differences: -1, 1, 1.
  pair_log_probs const logp{{5, -1, 2}, {0, 0, 0}}, reference{{0, 4, 1}, {0, 0, 0}};
  auto const found = preference_loss(aot{.beta = 1}, {logp, reference});
  double const expected = (std::log1p(std::exp(1.0)) + 2 * std::log1p(std::exp(-1.0))) / 3;
  CHECK_THAT(found.value, WithinAbs(expected, 1e-15));
  double const steep = -1 / (1 + std::exp(-1.0)) / 3;
  CHECK_THAT(found.cotangent.chosen[1], WithinAbs(steep, 1e-15));  // the pair whose quantile lags behind
}

TEST_CASE("on a batch of one pair AOT is DPO", "[losses]") {
  random_batch const batch(1, 9);
  CHECK(preference_loss(aot{}, batch).value == preference_loss(dpo{}, batch).value);
}

TEST_CASE("alpha-DPO follows the batch's z-scored margins without a gradient through them", "[losses]") {
  random_batch batch(2, 4);
  batch.tokens_chosen = batch.tokens_rejected = {10, 10};
  batch.reference = {{-10, -10}, {-10, -10}};
  batch.logp = {{-9, -8}, {-10, -10}};  // margins 1 and 2: z-scores -1/sqrt 2 and 1/sqrt 2
  auto const found = preference_loss(alpha_dpo{.beta = 2, .gamma = 0.5, .alpha = 0.1}, batch);
  double const shift = 0.1 / std::sqrt(2.0), first = 0.2 - 0.5 + shift, second = 0.4 - 0.5 - shift;
  CHECK_THAT(found.value, WithinAbs((std::log1p(std::exp(-first)) + std::log1p(std::exp(-second))) / 2, 1e-15));
  CHECK_THAT(found.cotangent.chosen[0], WithinAbs(-0.1 / (1 + std::exp(first)), 1e-15));
}

TEST_CASE("HyPO is DPO where the reference prefers the chosen completion, and ignores it where it doesn't", "[losses]") {
  pair_terms const optimistic{-12, -15, -13, -14}, pessimistic{-12, -15, -14, -13};
  CHECK(hypo{}(optimistic).value == dpo{}(optimistic).value);
  CHECK(hypo{}(pessimistic).value == dpo{}({-12, -15, -13, -13}).value);
}

TEST_CASE("beta-DPO is DPO with the beta of the batch's mean margin, held constant in the gradient", "[losses]") {
  pair_log_probs const logp{{-9, -8}, {-10, -10}}, reference{{-10, -10}, {-10, -10}};  // margins 1 and 2
  auto const found = preference_loss(beta_dpo{.beta = 0.1, .alpha = 0.6, .threshold = 0.5}, {logp, reference});
  auto const expected = preference_loss(dpo{.beta = 0.1 * (1 + 0.6 * (1.5 - 0.5))}, {logp, reference});
  CHECK_THAT(found.value, WithinAbs(expected.value, 1e-16));
  CHECK_THAT(found.cotangent.chosen[0], WithinAbs(expected.cotangent.chosen[0], 1e-16));
  CHECK_THAT(found.cotangent.rejected[1], WithinAbs(expected.cotangent.rejected[1], 1e-16));
  CHECK(preference_loss(beta_dpo{.alpha = 0}, {logp, reference}).value == preference_loss(dpo{}, {logp, reference}).value);
  CHECK(beta_dpo{}.adapted_beta({reference, logp}) == 0.1 * (1 + 0.6 * (-1.5 - 0)));
  CHECK(beta_dpo{.threshold = 10}.adapted_beta({logp, reference}) == 1e-3);
  CHECK(beta_dpo{.beta = 1e-5, .threshold = 10}.adapted_beta({logp, reference}) == 1e-5);
}

TEST_CASE("KTO on pairs judges each half against the mean log-ratio of the other", "[losses]") {
  pair_log_probs const logp{{-9, -8}, {-10.5, -9.25}}, reference{{-10, -10}, {-10, -10}};
  auto const found = preference_loss(kto_pair{}, {logp, reference});
  auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  double const kl_of_b = 0.125, kl_of_a = 1.5;
  double const expected = (1 - sigma(0.1 * (1 - kl_of_b)) + 1 - sigma(0.1 * (2 - kl_of_b)) + 1 - sigma(0.1 * (kl_of_a + 0.5)) +
                           1 - sigma(0.1 * (kl_of_a - 0.75))) /
                          4;
  CHECK_THAT(found.value, WithinAbs(expected, 1e-15));
}

TEST_CASE("KTO's halves have the golden values of the note", "[losses]") {
  pair_terms const pair = golden_pairs.at("note");
  CHECK_THAT((kto{.kl = 0.05, .undesirable_weight = 0}(pair).value), WithinAbs(0.4887518980531451, 1e-15));
  CHECK_THAT((kto{.kl = 0.05, .desirable_weight = 0}(pair).value), WithinAbs(0.4800106598444182, 1e-15));
  CHECK(kto_kl(std::vector<double>{-1, -3}) == 0);
  CHECK(kto_kl(std::vector<double>{1, 2}) == 1.5);
}

TEST_CASE("f-divergence scores have the golden losses of the note", "[losses]") {
  pair_terms const pair = golden_pairs.at("note");
  CHECK_THAT((with_divergence{forward_kl{}, dpo{}}(pair).value), WithinAbs(0.6204729028234223, 1e-14));
  CHECK_THAT((with_divergence{jensen_shannon{}, dpo{}}(pair).value), WithinAbs(0.6605564988761363, 1e-14));
  CHECK_THAT((with_divergence{alpha_divergence{}, dpo{}}(pair).value), WithinAbs(0.6278125461881756, 1e-14));
  CHECK((with_divergence{alpha_divergence{.alpha = 1}, dpo{}}(pair).value == dpo{}(pair).value));
}

TEST_CASE("BCO's shift is the running mean of all implicit rewards", "[losses]") {
  pair_log_probs const logp{{-9, -8}, {-11, -13}}, reference{{-10, -10}, {-10, -10}};
  bco_shift shift;
  shift.update({logp, reference}, 0.5);
  CHECK_THAT(shift.mean, WithinAbs(0.5 * (1 - 1 + 2 - 3) / 4, 1e-16));
  CHECK(shift.count == 4);
}

TEST_CASE("weights of pairs scale value and slopes", "[losses]") {
  random_batch const batch(2, 4);
  std::vector<double> const weights{0.5, 2};
  pair_batch weighted = batch;
  weighted.weights = weights;
  auto const plain = preference_loss(dpo{}, batch), found = preference_loss(dpo{}, weighted);
  CHECK(found.cotangent.chosen[0] == 0.5 * plain.cotangent.chosen[0]);
  CHECK(found.cotangent.rejected[1] == 2 * plain.cotangent.rejected[1]);
  CHECK_THROWS_WITH(preference_loss(aot{}, weighted), contains("leave them out"));
}

TEST_CASE("WPO weighs a completion by how typical it is of the policy", "[losses]") {
  // A uniform policy over 4 tokens: log π = log ¼ and log Σ π² = log ¼.
  std::vector<double> const uniform(3, std::log(0.25));
  CHECK_THAT(wpo_weight(uniform, uniform), WithinAbs(1, 1e-15));
  CHECK_THAT(wpo_weight(std::vector<double>{-1, -3}, std::vector<double>{-1, -1}), WithinAbs(std::exp(-1.0), 1e-15));
  CHECK_THROWS_AS(wpo_weight({}, {}), std::invalid_argument);
}

TEST_CASE("LD-DPO keeps the shared length and scales the tail", "[losses]") {
  CHECK(length_desensitized_weight(4, 5, 0.3) == 1);
  CHECK(length_desensitized_weight(5, 5, 0.3) == 0.3);
  CHECK_THROWS_AS(length_desensitized_weight(5, 5, 1.5), std::invalid_argument);
}

TEST_CASE("INPO is IPO against the weighted mean of base and last policy", "[losses]") {
  auto const [base, last] = inpo_reference(0.006, 0.002);
  CHECK_THAT(base, WithinAbs(1.0 / 3, 1e-15));
  CHECK_THAT(base + last, WithinAbs(1, 1e-15));
  CHECK_THROWS_AS(inpo_reference(0.002, 0.006), std::invalid_argument);
}

TEST_CASE("settings that cannot work are refused with what was passed", "[losses]") {
  random_batch const batch(2, 4);
  double const nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(preference_loss(dpo{.beta = 0}, batch), "beta = 0; it must be positive");
  CHECK_THROWS_WITH(preference_loss(robust_dpo{.label_smoothing = -1}, batch),
                    "label_smoothing = -1; it must be at least 0 and below 0.5");
  CHECK_THROWS_WITH(preference_loss(with_divergence{alpha_divergence{.alpha = nan}, dpo{}}, batch),
                    "f_alpha_divergence_coef = nan; it must be finite");
  CHECK_THROWS_AS(preference_loss(dpo{.beta = nan}, batch), std::invalid_argument);
  CHECK_THROWS_AS(preference_loss(robust_dpo{.label_smoothing = 0.5}, batch), std::invalid_argument);
  CHECK_THROWS_AS(preference_loss(exo{.label_smoothing = 0}, batch), std::invalid_argument);
  CHECK_THROWS_AS(preference_loss(discopop{.tau = 0}, batch), std::invalid_argument);
  CHECK_THROWS_AS(preference_loss(mixture{std::tuple{dpo{.beta = -1}, sft{}}, {1.0, 1.0}}, batch), std::invalid_argument);
  CHECK_THROWS_AS(preference_loss(mixture{std::tuple{dpo{}, sft{}}, {1.0, nan}}, batch), std::invalid_argument);
}

TEST_CASE("batches that don't fit together are refused", "[losses]") {
  random_batch batch(3, 4);
  batch.logp.rejected.pop_back();
  CHECK_THROWS_WITH(preference_loss(dpo{}, batch), contains("3 chosen but 2 rejected"));
  random_batch const other(3, 4);
  pair_log_probs const none;
  CHECK_THROWS_WITH(preference_loss(dpo{}, {none, none}), contains("no pairs"));
  CHECK_THROWS_WITH(preference_loss(dpo{}, {other.logp, none}), contains("score the anchor"));
  CHECK_THROWS_WITH(preference_loss(rebel{}, {other.logp, other.reference}), contains("score_chosen"));
  CHECK_THROWS_WITH(preference_loss(ipo{}, {other.logp, other.reference}), contains("tokens_chosen"));
  CHECK_THROWS_WITH(preference_loss(mixture{std::tuple{dpo{}, sft{}}, {1.0, 1.0}}, {other.logp, other.reference}),
                    contains("tokens_chosen"));
}

TEST_CASE("a NaN among log-probabilities is a NaN loss, not an exception", "[losses]") {
  random_batch batch(3, 4);
  batch.logp.chosen[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(preference_loss(dpo{}, batch).value));
  CHECK(std::isnan(preference_loss(hinge{}, batch).value));
  CHECK(std::isnan(preference_loss(aot{}, batch).value));
}

TEST_CASE("a batch can be handed on: it views numbers that others own", "[losses]") {
  random_batch const owner(3, 4);
  auto const view = [](random_batch const& b) { return pair_batch{.logp = b.logp, .reference = b.reference}; };
  pair_batch const handed_on = view(owner);
  CHECK(preference_loss(dpo{}, handed_on).value == preference_loss(dpo{}, owner).value);
}

namespace {

// Every loss of the library, with everything that a program may set.
template <class F>
void for_each_loss(F const& f) {
  std::apply([&](auto const&... loss) { (f(loss), ...); }, std::tuple{dpo{},
                                                                      hypo{},
                                                                      cdpo{},
                                                                      robust_dpo{},
                                                                      hinge{},
                                                                      ipo{},
                                                                      ipo_sum{},
                                                                      exo{},
                                                                      nca{},
                                                                      bco{},
                                                                      sppo_hard{},
                                                                      sppo{},
                                                                      anchored_zero{},
                                                                      anchored_down{},
                                                                      discopop{},
                                                                      length_normalized_dpo{},
                                                                      length_regularized_dpo{},
                                                                      offset_dpo{},
                                                                      simpo{},
                                                                      alpha_po{},
                                                                      orpo{},
                                                                      cpo{},
                                                                      slic_hf{},
                                                                      kto{},
                                                                      inpo{},
                                                                      onpo{},
                                                                      online_ipo{},
                                                                      dno{},
                                                                      rebel{},
                                                                      distilled_dpo{},
                                                                      aot{},
                                                                      aot_unpaired{},
                                                                      alpha_dpo{},
                                                                      beta_dpo{},
                                                                      kto_pair{},
                                                                      with_sft{simpo{}},
                                                                      with_divergence{alpha_divergence{}, dpo{}}});
}

}  // namespace

TEST_CASE("every number of every loss stands in its list and its default in its range where NaN and what is beyond don't", "[losses]") {
  double const nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for_each_loss([&]<class Loss>(Loss loss) {
    random_batch const batch(4, 2);
    CHECK(std::isfinite(preference_loss(loss, batch).value));
    std::size_t numbers = 0;
    detail::for_each_parameter(loss, [&](auto const& p, double& value) {
      INFO(p.name);
      ++numbers;
      double const kept = value;
      for (double const wrong :
           {nan, infinity, -infinity, p.open_least ? p.least : p.least - 1, p.open_most ? p.most : infinity}) {
        if (wrong == p.least - 1 && p.least == -unbounded) continue;
        value = wrong;
        CHECK_THROWS_WITH(preference_loss(loss, batch), contains(std::string(p.name) + " = "));
      }
      value = kept;
    });
    if constexpr (std::is_trivially_copyable_v<Loss>) CHECK(numbers == sizeof(Loss) / sizeof(double));
  });
}

TEST_CASE("a loss reads token counts exactly where it says so", "[losses]") {
  for_each_loss([]<class Loss>(Loss const& loss) {
    random_batch batch(4, 2);
    double const before = preference_loss(loss, batch).value;
    for (double& n : batch.tokens_chosen) n += 1;
    bool const moves = preference_loss(loss, batch).value != before;
    CHECK(moves == reads_tokens<Loss>);
  });
}
