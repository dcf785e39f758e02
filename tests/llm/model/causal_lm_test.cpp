// SPDX-License-Identifier: Apache-2.0
#include "llm/model/plain_model.hpp"

#include <limits>
#include <numeric>
#include <string>
#include <utility>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <kedge/llm/model/memory_plan.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>
#include <kedge/losses.hpp>

#include "../adapters/llm/src/model/varlen_attention.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::WithinAbs;

namespace {

std::vector<std::size_t> all_of(std::vector<preference_pair> const& pairs) {
  std::vector<std::size_t> which(pairs.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  return which;
}

double largest_difference(pack const& x, pack const& y) {
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, (x[i] - y[i]).abs().max().item<double>());
  return worst;
}

struct loss_and_gradient {
  double loss = 0;
  pack gradient;
};

kedge::pair_log_probs split(std::vector<double> const& logp) {
  kedge::pair_log_probs pairs;
  for (std::size_t i = 0; i < logp.size(); i += 2) {
    pairs.chosen.push_back(logp[i]);
    pairs.rejected.push_back(logp[i + 1]);
  }
  return pairs;
}

// DPO against a reference of zeros, over micro-batches of at most `max_tokens`.
loss_and_gradient packed(causal_lm const& model, pack const& theta, std::vector<preference_pair> const& pairs,
                         std::vector<std::size_t> const& order, std::size_t max_tokens) {
  loss_and_gradient result{0, plain::zeros_like(theta, theta.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat)};
  for (auto const micro : cut_micro_batches(pairs, order, max_tokens)) {
    auto [logp, pullback] = model.forward(theta, pack_pairs(pairs, micro));
    kedge::pair_log_probs const values = split(logp);
    kedge::pair_log_probs const zero{std::vector<double>(values.size()), std::vector<double>(values.size())};
    auto const part = kedge::preference_loss(kedge::dpo{.beta = 0.3}, {.logp = values, .reference = zero}, order.size());
    result.loss += part.value;
    std::vector<double> cotangent;
    for (std::size_t i = 0; i < values.size(); ++i) {
      cotangent.push_back(part.cotangent.chosen[i]);
      cotangent.push_back(part.cotangent.rejected[i]);
    }
    pullback(cotangent, result.gradient);
  }
  return result;
}

loss_and_gradient one_sequence_at_a_time(transformer_config const& config, pack const& theta,
                                         std::vector<preference_pair> const& pairs) {
  pack leaves;
  for (auto const& t : theta) leaves.push_back(t.clone().requires_grad_());
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (auto const& pair : pairs) {
    at::Tensor const margin = plain::log_prob(config, leaves, pair.prompt, pair.chosen) -
                              plain::log_prob(config, leaves, pair.prompt, pair.rejected);
    loss = loss - at::log_sigmoid(0.3 * margin) / static_cast<double>(pairs.size());
  }
  return {loss.item<double>(), torch::autograd::grad({loss}, leaves)};
}

}  // namespace

TEST_CASE("a packed batch with shared prompts has the loss and every gradient of one sequence at a time", "[lm]") {
  for (bool const tied : {true, false}) {
    transformer_config const config = plain::tiny_config(tied);
    pack const theta = plain::random_parameters(config, at::kDouble, 1);
    auto const pairs = plain::random_pairs(7, config.vocabulary, 2);
    causal_lm const model(config, {.type = at::kDouble});
    auto const expected = one_sequence_at_a_time(config, theta, pairs);
    auto const measured = packed(model, theta, pairs, all_of(pairs), 10000);
    CHECK(std::abs(measured.loss - expected.loss) < 1e-10);
    CHECK(largest_difference(measured.gradient, expected.gradient) < 1e-10);
  }
}

TEST_CASE("a backward pass tells when the gradients of a layer and of what stands after it are complete", "[lm]") {
  for (std::int64_t const kept : {std::int64_t{0}, std::numeric_limits<std::int64_t>::max()}) {
    transformer_config const config = plain::tiny_config(false);
    pack const theta = plain::random_parameters(config, at::kDouble, 1);
    auto const pairs = plain::random_pairs(3, config.vocabulary, 2);
    causal_lm const model(config, {.type = at::kDouble, .activation_bytes = kept});
    auto const all = all_of(pairs);
    auto [logp, pullback] = model.forward(theta, pack_pairs(pairs, all));
    pack gradient = plain::zeros_like(theta, at::kDouble);
    std::vector<std::pair<std::int64_t, pack>> told;
    pullback(std::vector<double>(logp.size(), 0.5), gradient, [&](std::int64_t layer) { told.emplace_back(layer, kedge::deep_copy(gradient)); });
    auto const names = model.parameters();
    REQUIRE(told.size() == static_cast<std::size_t>(config.layers) + 1);
    for (std::size_t k = 0; k < told.size(); ++k) {
      CHECK(told[k].first == config.layers - static_cast<std::int64_t>(k));
      for (std::size_t i = 0; i < names.size(); ++i) {
        bool complete = names[i].name == "model.norm.weight" || names[i].name == "lm_head.weight";
        for (std::int64_t layer = told[k].first; layer < config.layers; ++layer)
          complete = complete || names[i].name.rfind("model.layers." + std::to_string(layer) + ".", 0) == 0;
        INFO(names[i].name << " when told of " << told[k].first);
        CHECK(at::equal(told[k].second[i], gradient[i]) == complete);
      }
    }
  }
}

TEST_CASE("order and micro-batches and recomputation change no loss and no gradient", "[lm]") {
  transformer_config const config = plain::tiny_config(true);
  pack const theta = plain::random_parameters(config, at::kDouble, 3);
  auto const pairs = plain::random_pairs(8, config.vocabulary, 4);
  causal_lm const model(config, {.type = at::kDouble});
  causal_lm const frugal(config, {.type = at::kDouble, .head_rows = 3, .kept_logits = 3000});
  auto order = all_of(pairs);
  auto const whole = packed(model, theta, pairs, order, 10000);
  auto const singly = packed(model, theta, pairs, order, 1);
  auto const recomputed = packed(frugal, theta, pairs, order, 40);
  std::reverse(order.begin(), order.end());
  auto const backwards = packed(model, theta, pairs, order, 50);
  for (auto const* other : {&singly, &recomputed, &backwards}) {
    CHECK(std::abs(whole.loss - other->loss) < 1e-12);
    CHECK(largest_difference(whole.gradient, other->gradient) < 1e-11);
  }
}

TEST_CASE("gradient checkpointing gives the same bits", "[lm]") {
  transformer_config const config = plain::tiny_config(false);
  auto const pairs = plain::random_pairs(6, config.vocabulary, 6);
  for (auto const type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    pack const theta = plain::random_parameters(config, type == at::kDouble ? at::kDouble : at::kFloat, 5);
    causal_lm const keeping(config, {.type = type}), recomputing(config, {.type = type, .activation_bytes = 0});
    pack const weights = keeping.weights_for(theta);
    auto const kept = packed(keeping, weights, pairs, all_of(pairs), 40), recomputed = packed(recomputing, weights, pairs, all_of(pairs), 40);
    CHECK(kept.loss == recomputed.loss);
    for (std::size_t i = 0; i < kept.gradient.size(); ++i) CHECK(at::equal(kept.gradient[i], recomputed.gradient[i]));
  }
}

TEST_CASE("what prompts begin with alike is computed once and changes neither log-probabilities nor gradients", "[lm]") {
  transformer_config const config = plain::tiny_config(true);
  auto pairs = plain::random_pairs(5, config.vocabulary, 21);
  std::vector<std::int32_t> const common{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  for (auto& pair : pairs) pair.prompt.insert(pair.prompt.begin(), common.begin(), common.end());
  pairs[2].prompt = pairs[0].prompt;                            // nothing of its own
  pairs[3].prompt.assign(common.begin(), common.begin() + 9);   // shorter than what the others share
  pairs[4].prompt.assign({7, 7, 7});                            // nothing alike
  ragged_batch const apart = pack_pairs(pairs, all_of(pairs)), together = pack_pairs(pairs, all_of(pairs), read_at::every_token, true);
  CHECK(together.size() == apart.size() - common.size() - pairs[0].prompt.size() - 9);
  for (auto const type : {at::kDouble, at::kFloat}) {
    double const tolerance = type == at::kDouble ? 1e-12 : 1e-4;
    pack const theta = plain::random_parameters(config, type, 22);
    causal_lm const model(config, {.type = type});
    REQUIRE(model.shares_prefixes());
    auto expected = model.forward(theta, apart), measured = model.forward(theta, together);
    std::vector<double> cotangent;
    for (std::size_t i = 0; i < expected.logp.size(); ++i) {
      CHECK_THAT(measured.logp[i], WithinAbs(expected.logp[i], tolerance));
      cotangent.push_back(std::sin(1.0 + static_cast<double>(i)));
    }
    pack g = plain::zeros_like(theta, type), h = plain::zeros_like(theta, type);
    expected.pullback(cotangent, g);
    measured.pullback(cotangent, h);
    CHECK(largest_difference(g, h) < tolerance);
  }
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
namespace {

// Bytes that a forward pass over so many tokens of prompt keeps until its backward pass.
double kept_bytes(causal_lm const& model, pack const& weights, std::size_t prompt) {
  std::vector<preference_pair> pairs = plain::random_pairs(1, model.config().vocabulary, 9);
  pairs[0].prompt.assign(prompt, 5);
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  auto const in_use = [] {
    auto const info = mallinfo2();
    return static_cast<double>(info.uordblks + info.hblkhd);
  };
  double const before = in_use();
  auto const kept = model.forward(weights, batch);
  return in_use() - before;
}

}  // namespace

TEST_CASE("layers keep as many bytes a token as the plan says", "[lm]") {
  transformer_config config = plain::tiny_config(true);
  config.hidden = 256;
  config.intermediate = 704;
  config.heads = 8;
  config.head_dim = 32;
  config.layers = 4;
  config.max_positions = 4096;
  for (auto const type : {at::kFloat, at::kBFloat16}) {
    auto const word = static_cast<std::int64_t>(at::elementSize(type));
    pack const theta = plain::random_parameters(config, at::kFloat, 5);
    causal_lm const keeping(config, {.type = type}), recomputing(config, {.type = type, .activation_bytes = 0});
    pack const weights = keeping.weights_for(theta);
    for (auto const* model : {&keeping, &recomputing}) {
      kept_bytes(*model, weights, 700);  // once before: what is made on first use is not counted
      double const a_token = (kept_bytes(*model, weights, 2700) - kept_bytes(*model, weights, 700)) / 2000;
      auto const planned = static_cast<double>(model == &keeping ? activation_bytes_per_token(config, word) : config.layers * 4 * config.hidden);
      CHECK_THAT(a_token / planned, WithinAbs(1, 0.1));
    }
  }
}
#endif

TEST_CASE("gradient checkpointing begins where a batch would keep more than there is room for", "[lm]") {
  transformer_config const config = plain::tiny_config(true);
  std::int64_t const n = parameter_count(config), available = 100 * n;
  CHECK(activation_budget(config, {.word = 4}, available) == 80 * n - 16 * n);
  CHECK(activation_budget(config, {.word = 4}, 20 * n) == 0);
  CHECK(activation_budget(config, {.word = 8}, available) == 80 * n - 32 * n);
  CHECK(activation_budget(config, {.word = 2}, available) == 80 * n - 18 * n);
  CHECK(activation_budget(config, {.word = 2, .reads_masters = true}, available) == 80 * n - 16 * n);
  CHECK(activation_budget(config, {.optimizer = optimizer_choice("adamw_bf16").bytes(), .word = 4}, available) == 80 * n - 12 * n);
  CHECK(activation_budget(config, {.word = 4, .processes = 8}, available) == 80 * n - 9 * n);
  CHECK(activation_budget(config, {.word = 4, .points = 2}, available) == 80 * n - 24 * n);
  CHECK(activation_budget(config, {.word = 4, .models = 2}, available) == (80 * n - 32 * n) / 2);
}

TEST_CASE("attention of the sequences that a GPU kernel is given is attention over shared prompts", "[lm]") {
  auto pairs = plain::random_pairs(4, 50, 3);
  for (std::size_t const i : {0U, 2U, 3U}) pairs[i].prompt.insert(pairs[i].prompt.begin(), {1, 2, 3, 4, 5, 6, 7, 8, 9});
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs), read_at::every_token, /*share_prefixes=*/true);
  REQUIRE(batch.prompts.back().prefix.size >= 9);
  ops::varlen_sequences const all = ops::varlen_of(batch.prompts);
  auto const T = static_cast<std::int64_t>(batch.size());
  at::manual_seed(4);
  at::Tensor const q = at::randn({T, 4, 8}, at::kDouble), k = at::randn({T, 2, 8}, at::kDouble), v = at::randn({T, 2, 8}, at::kDouble);
  at::Tensor const keys = at::tensor(all.keys, at::kLong);
  at::Tensor output = at::empty_like(q);
  REQUIRE(all.query_ends.back() == T);
  REQUIRE(all.key_ends.back() == keys.numel());
  for (std::size_t s = 0; s + 1 < all.query_ends.size(); ++s) {
    std::int64_t const queries = all.query_ends[s + 1] - all.query_ends[s], seen = all.key_ends[s + 1] - all.key_ends[s];
    CHECK(queries <= all.most_queries);
    CHECK(seen <= all.most_keys);
    at::Tensor const which = keys.narrow(0, all.key_ends[s], seen), hidden = at::ones({queries, seen}, at::kBool).triu(seen - queries + 1);
    auto const heads = [&](at::Tensor const& x) { return x.index_select(0, which).transpose(0, 1).repeat_interleave(2, 0); };
    at::Tensor const scores = q.narrow(0, all.query_ends[s], queries).transpose(0, 1).matmul(heads(k).transpose(-1, -2)).mul(0.3);
    output.narrow(0, all.query_ends[s], queries).copy_(scores.masked_fill(hidden, -INFINITY).softmax(-1).matmul(heads(v)).transpose(0, 1));
  }
  ops::attention_segments const segments{batch.prompts};
  ops::shared_prompt_attention attention(segments, {.scale = 0.3});
  CHECK((attention.forward(q, k, v) - output).abs().max().item<double>() < 1e-12);
  CHECK_FALSE(ops::takes_varlen(at::kCPU, at::kBFloat16, 64, 0));
}

TEST_CASE("scoring gives the same bits as the forward pass of training", "[lm]") {
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kFloat, 5);
  auto const pairs = plain::random_pairs(6, config.vocabulary, 6);
  causal_lm const model(config, {});
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  CHECK(model.log_probs(theta, batch) == model.forward(theta, batch).logp);
}

TEST_CASE("bf16 computes the fp32 result to bf16 precision", "[lm]") {
  transformer_config const config = plain::tiny_config(true);
  pack const theta = plain::random_parameters(config, at::kFloat, 7);
  auto const pairs = plain::random_pairs(6, config.vocabulary, 8);
  causal_lm const exact(config, {}), rounded(config, {.type = at::kBFloat16});
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  pack const weights = rounded.weights_for(theta);
  auto expected = exact.forward(theta, batch);
  auto measured = rounded.forward(weights, batch);
  for (std::size_t i = 0; i < expected.logp.size(); ++i)
    CHECK(std::abs(measured.logp[i] - expected.logp[i]) < 0.02 * (1 + std::abs(expected.logp[i])));
  pack g = plain::zeros_like(theta, at::kFloat), h = plain::zeros_like(theta, at::kFloat);
  std::vector<double> cotangent(expected.logp.size(), 0.5);
  expected.pullback(cotangent, g);
  measured.pullback(cotangent, h);
  for (std::size_t i = 0; i < g.size(); ++i)
    CHECK((g[i] - h[i]).norm().item<double>() < 0.1 * g[i].norm().item<double>());
}

TEST_CASE("in bf16 with fp32 weights log-probabilities are those of fp32 and what is kept is half", "[lm]") {
  if (!fast_fp32_products()) return;
  transformer_config const config = plain::tiny_config(true);
  pack const theta = plain::random_parameters(config, at::kFloat, 7);
  auto const pairs = plain::random_pairs(6, config.vocabulary, 8);
  causal_lm const exact(config, {}), mixed(config, {.type = at::kBFloat16, .fp32_weights = true});
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  pack const weights = mixed.weights_for(theta);
  CHECK(weights.front().is_same(theta.front()));
  auto expected = exact.forward(theta, batch);
  auto measured = mixed.forward(weights, batch);
  CHECK(measured.logp == expected.logp);
  pack g = plain::zeros_like(theta, at::kFloat), h = plain::zeros_like(theta, at::kFloat);
  std::vector<double> cotangent(expected.logp.size(), 0.5);
  expected.pullback(cotangent, g);
  measured.pullback(cotangent, h);
  for (std::size_t i = 0; i < g.size(); ++i) CHECK((g[i] - h[i]).norm().item<double>() < 0.02 * g[i].norm().item<double>());
}

namespace {

// Σ_r a_r logp_r + b_r value_r, of which the pullback gives the gradient.
double weighted(row_outputs const& out, std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t r = 0; r < a.size(); ++r) sum += a[r] * out.logp[r] + b[r] * out.value[r];
  return sum;
}

}  // namespace

TEST_CASE("log-probabilities and values of rows have the gradient that finite differences have", "[lm]") {
  transformer_config config = plain::tiny_config(true);
  config.scalar_head = true;
  pack theta = plain::random_parameters(config, at::kDouble, 9);
  auto const pairs = plain::random_pairs(2, config.vocabulary, 10);
  causal_lm const model(config, {.type = at::kDouble, .temperature = 0.7});
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  std::vector<double> a, b;
  for (std::size_t r = 0; r < batch.rows.size(); ++r) {
    a.push_back(std::sin(1.0 + static_cast<double>(r)));
    b.push_back(std::cos(2.0 * static_cast<double>(r)));
  }
  auto [out, pullback] = model.forward_rows(theta, batch);
  pack gradient = plain::zeros_like(theta, at::kDouble);
  pullback(a, b, gradient);
  for (std::size_t i = 0; i < theta.size(); ++i) {
    std::int64_t const at_element = theta[i].numel() / 2;
    double* const x = theta[i].data_ptr<double>() + at_element;
    double const before = *x, h = 1e-6;
    *x = before + h;
    double const above = weighted(model.rows(theta, batch), a, b);
    *x = before - h;
    double const below = weighted(model.rows(theta, batch), a, b);
    *x = before;
    CHECK(std::abs((above - below) / (2 * h) - gradient[i].flatten()[at_element].item<double>()) < 1e-6);
  }
}

TEST_CASE("rows add up to sequences and temperature and entropy are those of the softmax", "[lm]") {
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kDouble, 11);
  auto const pairs = plain::random_pairs(3, config.vocabulary, 12);
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  causal_lm const model(config, {.type = at::kDouble});
  auto const rows = model.forward_rows(theta, batch, {.entropy = true}).out;
  std::vector<double> sums(batch.sequences);
  for (std::size_t r = 0; r < rows.logp.size(); ++r) sums[static_cast<std::size_t>(batch.sequence[r])] += rows.logp[r];
  CHECK(sums == model.log_probs(theta, batch));
  // All targets of one row make the whole distribution.
  ragged_batch every;
  std::vector<std::int32_t> const prompt{3, 1, 4};
  for (std::int32_t token = 0; token < config.vocabulary; ++token) {
    std::vector<std::int32_t> const completion{token};
    std::array<std::span<std::int32_t const>, 1> const one{completion};
    append(every, prompt, one);
  }
  auto const exact = model.forward_rows(theta, every, {.entropy = true, .logits = true}).out;
  causal_lm const warm(config, {.type = at::kDouble, .temperature = 2});
  auto const warmer = warm.rows(theta, every).logp;
  double mass = 0, entropy = 0, scale = 0;
  for (double const logp : exact.logp) {
    mass += std::exp(logp);
    entropy -= std::exp(logp) * logp;
    scale += std::exp(logp / 2);
  }
  CHECK(std::abs(mass - 1) < 1e-12);
  CHECK(std::abs(entropy - exact.entropy[5]) < 1e-12);
  double mean = 0, likeliest = 0;
  for (std::size_t token = 0; token < exact.logp.size(); ++token) {
    mean += (exact.logp[token] + exact.log_sum[token]) / static_cast<double>(exact.logp.size());
    likeliest += exact.likeliest[token];
    if (exact.likeliest[token] == 1) CHECK(exact.logp[token] == *std::max_element(exact.logp.begin(), exact.logp.end()));
  }
  CHECK(std::abs(mean - exact.mean_logit[5]) < 1e-12);
  CHECK(likeliest == 1);
  CHECK(model.rows(theta, every, {.entropy = true}).logp == exact.logp);
  CHECK(model.rows(theta, every).logp == exact.logp);
  CHECK(std::abs(exact.logp[7] / 2 - std::log(scale) - warmer[7]) < 1e-12);
}

TEST_CASE("the end of a sequence is read at its last token whatever shares its prompt", "[lm]") {
  transformer_config config = plain::tiny_config(false);
  config.lm_head = false;
  config.scalar_head = true;
  pack const theta = plain::random_parameters(config, at::kDouble, 13);
  auto const pairs = plain::random_pairs(3, config.vocabulary, 14);
  causal_lm const model(config, {.type = at::kDouble});
  std::vector<double> const together = model.rows(theta, pack_pairs(pairs, all_of(pairs), read_at::end)).value;
  REQUIRE(together.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) {
    auto const& completion = i % 2 == 0 ? pairs[i / 2].chosen : pairs[i / 2].rejected;
    std::vector<std::int32_t> whole = pairs[i / 2].prompt;
    whole.insert(whole.end(), completion.begin(), completion.end());
    std::array<std::span<std::int32_t const>, 1> const one{whole};
    ragged_batch alone;
    append(alone, {}, one, read_at::end);
    CHECK(std::abs(model.rows(theta, alone).value[0] - together[i]) < 1e-12);
  }
}
