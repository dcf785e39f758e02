// SPDX-License-Identifier: Apache-2.0

// Sequences that several processes compute together: the numbers of one, whatever their number and the family.

#include "../adapters/llm/src/model/context_parallel.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "../adapters/llm/src/scale/context_groups.hpp"
#include "llm/model/golden_families.hpp"
#include "llm/model/plain_model.hpp"
#include "llm/scale/groups.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

struct outcome {
  std::vector<double> logp, entropy;
  pack gradient;
};

std::vector<double> slopes_of(std::size_t sequences) {
  std::vector<double> slopes(sequences);
  for (std::size_t i = 0; i < sequences; ++i)
    slopes[i] = 0.3 + 0.2 * static_cast<double>(i % 3) - 0.5 * static_cast<double>(i % 2);
  return slopes;
}

outcome of_one(causal_lm const& model, pack const& theta, ragged_batch const& batch) {
  at::NoGradGuard const no_grad;
  outcome result{{}, {}, plain::zeros_like(theta)};
  causal_lm::row_result rows = model.forward_rows(theta, batch, {.entropy = true});
  result.logp = rows.out.logp;
  result.entropy = rows.out.entropy;
  rows.pullback(slopes_of(batch.sequences), result.gradient);
  return result;
}

// Of as many processes, which must agree on outputs; their gradients are summed.
outcome of_several(int size, transformer_config const& config, compute_settings const& settings, pack const& theta,
                   ragged_batch const& batch) {
  std::vector<outcome> all(static_cast<std::size_t>(size));
  in_a_group(size, [&](process_group const& group) {
    causal_lm model(config, settings);
    model.share_sequences(divide_by_context(group, size).ring);
    all[static_cast<std::size_t>(group.rank())] = of_one(model, theta, batch);
  });
  for (outcome const& other : std::span(all).subspan(1)) {
    CHECK(other.logp == all.front().logp);
    CHECK(other.entropy == all.front().entropy);
    for (std::size_t i = 0; i < theta.size(); ++i) all.front().gradient[i].add_(other.gradient[i]);
  }
  return all.front();
}

void check_near(outcome const& seen, outcome const& expected, double bound) {
  REQUIRE(seen.logp.size() == expected.logp.size());
  for (std::size_t r = 0; r < seen.logp.size(); ++r) {
    CHECK_THAT(seen.logp[r], WithinAbs(expected.logp[r], bound));
    CHECK_THAT(seen.entropy[r], WithinAbs(expected.entropy[r], bound));
  }
  for (std::size_t i = 0; i < expected.gradient.size(); ++i) {
    double const scale = 1 + expected.gradient[i].abs().max().item<double>();
    CHECK((seen.gradient[i] - expected.gradient[i]).abs().max().item<double>() < bound * scale);
  }
}

// Prompts that begin alike, one that doesn't, completions of one token and of some.
ragged_batch of_pairs(std::int64_t vocabulary, bool shares_prefixes, std::size_t longest = 40) {
  std::vector<preference_pair> pairs = plain::random_pairs(4, std::min<std::int64_t>(vocabulary, 40), 7, longest, longest / 2);
  std::vector<std::int32_t> const common{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  for (std::size_t i = 0; i + 1 < pairs.size(); ++i)
    pairs[i].prompt.insert(pairs[i].prompt.begin(), common.begin(), common.end());
  pairs.front().rejected.resize(1);
  std::vector<std::size_t> which(pairs.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  return pack_pairs(pairs, which, read_at::every_token, shares_prefixes);
}

}  // namespace

TEST_CASE("every family's sequences are computed by two and by four processes as by one", "[context]") {
  std::size_t families = 0;
  for (named_model& family : golden_families()) {
    INFO(family.name);
    if (family.config.experts.count > 0) continue;
    for (at::Tensor& t : family.theta) t = t.to(at::kDouble);
    compute_settings settings{.type = at::kDouble, .head_rows = 7};
    causal_lm const alone(family.config, settings);
    if (!alone.shares_prefixes()) continue;
    ++families;
    ragged_batch const batch = of_pairs(family.config.vocabulary, true);
    REQUIRE(std::any_of(batch.prompts.begin(), batch.prompts.end(), [](shared_prompt const& p) { return p.prefix.size > 0; }));
    outcome const expected = of_one(alone, family.theta, batch);
    for (int const size : {2, 4}) {
      if (size == 4) settings.activation_bytes = 0;  // layers are computed again
      check_near(of_several(size, family.config, settings, family.theta, batch), expected, 1e-10);
    }
  }
  CHECK(families >= 30);
}

TEST_CASE("sequences of many tiles are computed together with windows and caps and in fp32", "[context]") {
  transformer_config config = plain::tiny_config(true);
  config.attention_soft_cap = 3;
  config.attention = {{.window = 0}, {.window = 150}, {.window = 700}};
  pack const theta = plain::random_parameters(config, at::kDouble, 3);
  std::vector<preference_pair> pairs = plain::random_pairs(1, config.vocabulary, 5, 1, 1);
  for (std::int32_t i = 0; i < 1400; ++i) pairs[0].prompt.push_back(i * i % 53);
  for (std::int32_t i = 0; i < 333; ++i) pairs[0].chosen.push_back(i * 7 % 51);
  std::vector<std::size_t> const which{0};
  ragged_batch const batch = pack_pairs(pairs, which);
  outcome const expected = of_one(causal_lm(config, {.type = at::kDouble}), theta, batch);
  check_near(of_several(2, config, {.type = at::kDouble}, theta, batch), expected, 1e-10);
  pack narrow;
  for (at::Tensor const& t : theta) narrow.push_back(t.to(at::kFloat));
  check_near(of_several(3, config, {.type = at::kFloat}, narrow, batch), expected, 2e-3);
}

TEST_CASE("processes that have no row of a batch take part in it and one without a token is refused", "[context]") {
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kDouble, 4);
  std::vector<preference_pair> pairs(1);
  pairs[0].prompt = {1, 2, 3};
  pairs[0].chosen = {4};
  pairs[0].rejected = {5};
  std::vector<std::size_t> const which{0};
  ragged_batch const batch = pack_pairs(pairs, which);
  outcome const expected = of_one(causal_lm(config, {.type = at::kDouble}), theta, batch);
  for (int const size : {2, 4, 5})
    check_near(of_several(size, config, {.type = at::kDouble}, theta, batch), expected, 1e-10);
  CHECK_THROWS_WITH(of_several(6, config, {.type = at::kDouble}, theta, batch),
                    contains("a batch of 5 tokens is too short for 6 processes"));
}

TEST_CASE("a ring's processes have as many tokens and as many pairs of a query and a key", "[context]") {
  std::vector<preference_pair> pairs = plain::random_pairs(3, 50, 9, 4000, 700);
  std::vector<std::size_t> const which{0, 1, 2};
  ragged_batch const batch = pack_pairs(pairs, which);
  for (int const size : {2, 4, 8}) {
    std::vector<double> seen(static_cast<std::size_t>(size));
    std::set<std::int64_t> owned;
    context_division const division(batch, 0, size);
    std::vector<std::int64_t> lengths;  // of prompts and completions, in their order
    for (shared_prompt const& p : batch.prompts) {
      lengths.push_back(p.prompt);
      lengths.insert(lengths.end(), p.completions.begin(), p.completions.end());
    }
    for (std::size_t r = 0; r < seen.size(); ++r) {
      context_part const part(batch, context_division(batch, static_cast<int>(r), size));
      owned.insert(part.tokens.begin(), part.tokens.end());
      CHECK(static_cast<std::int64_t>(part.tokens.size()) == division.tokens[r]);
      for (std::int64_t const position : part.batch.positions) seen[r] += static_cast<double>(position + 1);
    }
    CHECK(owned.size() == batch.size());
    auto const [fewest, most] = std::minmax_element(division.tokens.begin(), division.tokens.end());
    CHECK(*most - *fewest <= static_cast<std::int64_t>(lengths.size()));
    auto const [least, largest] = std::minmax_element(seen.begin(), seen.end());
    CHECK(*largest < 1.01 * *least);
  }
}
