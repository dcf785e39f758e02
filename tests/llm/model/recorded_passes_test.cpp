// SPDX-License-Identifier: Apache-2.0
#include "llm/model/plain_model.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include <kedge/llm/data/fixed_size.hpp>

#include "../adapters/llm/src/model/varlen_attention.hpp"
#include "support/catch.hpp"
#include "support/largest_difference.hpp"

using namespace kedge::llm;

namespace {

double distance(pack const& x, pack const& y) {
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, (x[i] - y[i]).abs().max().item<double>() / y[i].abs().max().item<double>());
  return worst;
}

std::vector<double> numbers(std::size_t size, double phase) {
  std::vector<double> all;
  for (std::size_t i = 0; i < size; ++i) all.push_back(std::sin(phase + 1.7 * static_cast<double>(i)));
  return all;
}

ragged_batch batch_of(transformer_config const& config, std::size_t pairs, int seed, bool share_prefixes = true, read_at where = read_at::every_token) {
  auto all = plain::random_pairs(pairs, config.vocabulary, seed);
  for (auto& pair : all) pair.prompt.insert(pair.prompt.begin(), {1, 2, 3, 4, 5, 6, 7, 8, 9});
  std::vector<std::size_t> which(all.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  return pack_pairs(all, which, where, share_prefixes);
}

// A model that pads and records, the same without, and what they must agree in.
struct twins {
  causal_lm plain, recorded;
  pack theta;
  double allowed;

  twins(transformer_config const& config, compute_settings settings, double to)
      : plain(config, settings), recorded(config, with_graphs(settings)), theta(plain::random_parameters(config, settings.type, 7)), allowed(to) {}
  twins(transformer_config const& config, compute_settings settings, lora_settings const& lora, double to)
      : twins(config, settings, lora, plain::random_parameters(config, settings.type, 7), to) {}

  static compute_settings with_graphs(compute_settings settings) {
    settings.graphs = true;
    return settings;
  }

  void agree(ragged_batch const& batch, pack& of_plain, pack& of_recorded) const {
    auto [expected, back] = plain.forward_rows(theta, batch, {.entropy = true, .log_squares = true, .logits = true});
    auto [measured, recorded_back] = recorded.forward_rows(theta, batch, {.entropy = true, .log_squares = true, .logits = true});
    CHECK(largest_difference(measured.logp, expected.logp) < allowed);
    CHECK(largest_difference(measured.value, expected.value) < allowed);
    CHECK(largest_difference(measured.entropy, expected.entropy) < allowed);
    CHECK(largest_difference(measured.log_squares, expected.log_squares) < allowed);
    CHECK(largest_difference(measured.log_sum, expected.log_sum) < allowed);
    CHECK(largest_difference(measured.mean_logit, expected.mean_logit) < allowed);
    CHECK(largest_difference(measured.likeliest, expected.likeliest) < allowed);
    std::vector<double> const a = numbers(expected.logp.size(), 1), b = numbers(expected.value.size(), 2);
    back(a, b, of_plain);
    recorded_back(a, b, of_recorded);
    CHECK(distance(of_recorded, of_plain) < allowed);
  }

 private:
  twins(transformer_config const& config, compute_settings settings, lora_settings const& lora, pack const& base, double to)
      : plain(config, settings, lora, base), recorded(config, with_graphs(settings), lora, base), allowed(to) {
    at::manual_seed(8);
    for (parameter const& p : plain.parameters()) theta.push_back(at::randn(p.shape, at::TensorOptions().dtype(settings.type)).mul_(0.1));
  }
};

// Batches of several sizes, which come again; weights move in place between them, gradients add up.
void follow(twins const& both) {
  pack of_plain = plain::zeros_like(both.theta), of_recorded = plain::zeros_like(both.theta);
  for (int step = 0; step < 12; ++step) {
    ragged_batch const batch = batch_of(both.plain.config(), static_cast<std::size_t>(2 + step % 3), 20 + step % 6, both.plain.shares_prefixes());
    both.agree(batch, of_plain, of_recorded);
    for (at::Tensor const& t : both.theta) t.mul_(0.99);
  }
  CHECK(both.recorded.recorded_runs() >= 6);  // more where two batches have one size
  CHECK(both.plain.recorded_runs() == 0);
}

transformer_config with_values(bool tied) {
  transformer_config config = plain::tiny_config(tied);
  config.scalar_head = true;
  return config;
}

}  // namespace

TEST_CASE("a size holds a batch with less than 128 tokens or an eighth of them to spare, and less than an eighth as rows", "[recorded]") {
  transformer_config const config = plain::tiny_config(true);
  for (int pairs = 1; pairs < 8; ++pairs)
    for (bool const share : {false, true})
      for (auto const where : {read_at::every_token, read_at::end}) {
        ragged_batch const batch = batch_of(config, static_cast<std::size_t>(pairs), pairs, share, where);
        packed_size const own = size_of(batch), fixed = size_class(batch).value(), got = size_of(padded(batch, fixed));
        CHECK(own.tokens == static_cast<std::int64_t>(batch.size()));
        CHECK(own.rows == static_cast<std::int64_t>(batch.rows.size()));
        CHECK(own.runs == 2 * pairs);
        CHECK(got.tokens == fixed.tokens);
        CHECK(got.rows == fixed.rows);
        CHECK(got.runs == own.runs + spare_runs + 1);
        CHECK(got.runs <= fixed.runs);
        CHECK(got.keys <= fixed.keys);
        CHECK(got.longest <= fixed.longest);
        CHECK(fixed.tokens - own.tokens - spare_runs - 1 < std::max<std::int64_t>(128, own.tokens / 8));
        CHECK(8 * (fixed.rows - own.rows) < fixed.tokens);
      }
}

TEST_CASE("batches of many short sequences, of many that share one prompt, and of more tokens than a GPU needs have no size", "[recorded]") {
  std::vector<std::int32_t> const two{1, 2}, many(500, 3);
  ragged_batch shorts, shared, large;
  for (int i = 0; i < 40; ++i) append(shorts, two, std::vector<std::span<std::int32_t const>>{two});
  append(shared, many, std::vector<std::span<std::int32_t const>>(16, two));
  for (int i = 0; i < 40; ++i) append(large, many, std::vector<std::span<std::int32_t const>>{many});
  CHECK(!size_class(shorts));
  CHECK(!size_class(shared));
  CHECK(!size_class(large));
}

TEST_CASE("a padded batch has the log-probabilities and gradients of the batch", "[recorded]") {
  for (auto const type : {at::kDouble, at::kFloat})
    for (bool const share : {false, true}) {
      transformer_config const config = plain::tiny_config(share);
      causal_lm const model(config, {.type = type});
      pack const theta = plain::random_parameters(config, type, 3);
      ragged_batch const batch = batch_of(config, 3, 4, share), fixed = padded(batch, size_class(batch).value());
      REQUIRE(fixed.size() > batch.size());
      auto expected = model.forward(theta, batch), measured = model.forward(theta, fixed);
      std::vector<double> cotangent = numbers(batch.sequences, 3);
      pack g = plain::zeros_like(theta), h = plain::zeros_like(theta);
      expected.pullback(cotangent, g);
      cotangent.resize(fixed.sequences, 0);
      measured.pullback(cotangent, h);
      measured.logp.resize(batch.sequences);
      double const allowed = type == at::kDouble ? 1e-12 : 1e-5;
      CHECK(largest_difference(measured.logp, expected.logp) < allowed);
      CHECK(distance(h, g) < allowed);
    }
}

TEST_CASE("a GPU kernel is given sequences of a fixed size that end as those of the batch", "[recorded]") {
  ragged_batch const batch = batch_of(plain::tiny_config(true), 5, 6);
  packed_size const fixed = size_class(batch).value();
  ragged_batch const all = padded(batch, fixed);
  ops::varlen_sequences const own = ops::varlen_of(batch.prompts), given = ops::varlen_of(all.prompts, &fixed);
  CHECK(std::equal(own.keys.begin(), own.keys.end(), given.keys.begin()));
  CHECK(std::equal(own.query_ends.begin(), own.query_ends.end(), given.query_ends.begin()));
  CHECK(std::equal(own.key_ends.begin(), own.key_ends.end(), given.key_ends.begin()));
  CHECK(given.keys.size() == static_cast<std::size_t>(fixed.keys));
  CHECK(given.query_ends.size() == static_cast<std::size_t>(fixed.runs) + 1);
  CHECK(given.key_ends.size() == given.query_ends.size());
  CHECK(given.query_ends.back() == fixed.tokens);
  CHECK(given.key_ends.back() == fixed.keys);
  for (std::size_t s = 0; s + 1 < given.query_ends.size(); ++s) {
    std::int64_t const queries = given.query_ends[s + 1] - given.query_ends[s], keys = given.key_ends[s + 1] - given.key_ends[s];
    CHECK(queries <= keys);
    CHECK(queries <= given.most_queries);
    CHECK(keys <= given.most_keys);
    if (queries == 0) CHECK(keys == 0);
    for (std::int64_t i = 0; i < queries; ++i)  // the last keys are the queries themselves
      CHECK(given.keys[static_cast<std::size_t>(given.key_ends[s + 1] - queries + i)] == given.query_ends[s] + i);
  }
  std::int64_t const added = static_cast<std::int64_t>(batch.size());
  CHECK(std::all_of(given.keys.begin() + static_cast<std::ptrdiff_t>(own.keys.size()), given.keys.end(), [&](std::int64_t key) { return key >= added; }));
}

TEST_CASE("recorded passes over batches of several sizes are the passes themselves", "[recorded]") {
  follow({with_values(true), {.type = at::kDouble, .head_rows = 16}, 1e-11});
  follow({with_values(false), {.type = at::kFloat, .head_rows = 16, .kept_logits = 3000}, 1e-4});
}

TEST_CASE("recorded passes compute layers again where these aren't kept", "[recorded]") {
  follow({with_values(true), {.type = at::kDouble, .activation_bytes = 0}, 1e-11});
}

TEST_CASE("recorded passes train adapters", "[recorded]") {
  follow({with_values(false), {.type = at::kDouble}, {.rank = 3, .alpha = 6, .target_modules = {"all-linear"}}, 1e-11});
}

TEST_CASE("a pass is not recorded while another one waits for its way back", "[recorded]") {
  twins const both(with_values(true), {.type = at::kDouble}, 1e-11);
  ragged_batch const one = batch_of(both.plain.config(), 3, 1);
  pack of_plain = plain::zeros_like(both.theta), of_recorded = plain::zeros_like(both.theta);
  both.agree(one, of_plain, of_recorded);
  both.agree(one, of_plain, of_recorded);
  REQUIRE(both.recorded.recorded_runs() == 1);
  ragged_batch other = one;
  std::reverse(other.targets.begin(), other.targets.end());
  auto waiting = both.recorded.forward_rows(both.theta, other);
  both.agree(one, of_plain, of_recorded);
  REQUIRE(both.recorded.recorded_runs() == 2);
  std::vector<double> const a = numbers(one.rows.size(), 4);
  waiting.pullback(a, {}, of_recorded);
  both.plain.forward_rows(both.theta, other).pullback(a, {}, of_plain);
  CHECK(distance(of_recorded, of_plain) < 1e-11);
}

TEST_CASE("recorded passes follow weights and gradients to other memory", "[recorded]") {
  twins both(with_values(false), {.type = at::kDouble}, 1e-11);
  ragged_batch const batch = batch_of(both.plain.config(), 3, 1);
  for (int round = 0; round < 3; ++round) {
    pack of_plain = plain::zeros_like(both.theta), of_recorded = plain::zeros_like(both.theta);
    for (int step = 0; step < 3; ++step) both.agree(batch, of_plain, of_recorded);
  }
  CHECK(both.recorded.recorded_runs() == 8);
  for (at::Tensor& t : both.theta) t = t * 1.1;
  pack of_plain = plain::zeros_like(both.theta), of_recorded = plain::zeros_like(both.theta);
  both.agree(batch, of_plain, of_recorded);
  CHECK(both.recorded.recorded_runs() == 8);
  both.agree(batch, of_plain, of_recorded);
  CHECK(both.recorded.recorded_runs() == 9);
}

TEST_CASE("scoring gives the same bits as recorded passes", "[recorded]") {
  transformer_config const config = plain::tiny_config(false);
  causal_lm const model(config, {.type = at::kFloat, .graphs = true});
  pack const theta = plain::random_parameters(config, at::kFloat, 5);
  for (auto const where : {read_at::every_token, read_at::end}) {
    ragged_batch const batch = batch_of(config, 6, 6, true, where);
    std::vector<double> const scores = model.log_probs(theta, batch);
    CHECK(scores.size() == batch.sequences);
    for (int step = 0; step < 3; ++step) CHECK(model.forward(theta, batch).logp == scores);
  }
  CHECK(model.recorded_runs() == 4);
}

TEST_CASE("passes are not recorded where rotations depend on a batch's lengths", "[recorded]") {
  transformer_config config = plain::tiny_config(false);
  config.rope.type = rope_type::dynamic;
  config.rope.factor = 2;
  config.rope.original_length = 8;
  causal_lm const model(config, {.type = at::kDouble, .graphs = true});
  pack const theta = plain::random_parameters(config, at::kDouble, 5);
  ragged_batch const batch = batch_of(config, 2, 6, false);
  for (int step = 0; step < 3; ++step) CHECK(model.forward(theta, batch).logp == causal_lm(config, {.type = at::kDouble}).forward(theta, batch).logp);
  CHECK(model.recorded_runs() == 0);
}
