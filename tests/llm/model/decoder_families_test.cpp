// SPDX-License-Identifier: Apache-2.0

// Steps of generation by the processor's kernels, of layers of every kind, against plain tensor operations.

#include <algorithm>
#include <string>

#include <kedge/llm/model/generation.hpp>

#include "../adapters/llm/src/base/thread_pool.hpp"
#include "../adapters/llm/src/model/decoder.hpp"
#include "../adapters/llm/src/model/expert_rows.hpp"
#include "llm/model/golden_families.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::golden_families;
using kedge::testing::named_model;

namespace {

// The golden families, and Llamas whose heads fill their pages with what those don't have together.
std::vector<named_model> models() {
  std::vector<named_model> all = golden_families();
  REQUIRE(all.size() >= 39);
  transformer_config c = plain::tiny_config(true);
  c.hidden = 40;
  c.intermediate = 57;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 32;
  c.attention.assign(static_cast<std::size_t>(c.layers), {.window = 19});
  c.attention.back() = {};
  c.attention_soft_cap = 3;
  c.logit_soft_cap = 2;
  c.logit_scale = 0.5;
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
  c.rope.share = 0.5;
  c.act = activation::gelu;
  all.push_back({"windows, caps and biases", c, plain::random_parameters(c, at::kFloat, 4)});
  c.mlp_bias = false;
  c.gated = false;
  c.act = activation::relu2;
  c.residual_scale = 0.3;
  c.rope.interleaved = true;
  all.push_back({"no gate, scaled", c, plain::random_parameters(c, at::kFloat, 5)});
  return all;
}

// Attention sinks, and norms with biases, go by the tensor operations alone.
bool has_own_steps(transformer_config const& c) { return !c.sinks && !c.norm_bias; }

// Three sequences of so many tokens each, in pages of their own, all logits wanted.
struct batch_of_sequences {
  batch_of_sequences(std::vector<std::int32_t> const& lengths, std::int64_t vocabulary, std::vector<std::size_t> const& which) {
    std::int32_t next_page = 0;
    for (std::int32_t const length : lengths) {
      tables.emplace_back();
      for (std::int32_t p = 0; p < length; p += static_cast<std::int32_t>(page_tokens)) tables.back().push_back(next_page++);
    }
    pages = next_page;
    for (std::size_t const s : which) {
      for (std::int32_t p = 0; p < lengths[s]; ++p) {
        batch.rows.push_back(static_cast<std::int32_t>(batch.size()));
        batch.tokens.push_back(static_cast<std::int32_t>((7 * p + 3 * static_cast<std::int32_t>(s) + p * p) % vocabulary));
        batch.positions.push_back(p);
        batch.sequence.push_back(static_cast<std::int32_t>(batch.tables.size()));
      }
      batch.tables.emplace_back(tables[s]);
    }
  }
  std::vector<std::vector<std::int32_t>> tables;
  std::int32_t pages = 0;
  step_batch batch;
};

std::vector<std::int32_t> lengths_for(transformer_config const& c) {
  auto const longest = static_cast<std::int32_t>(std::min<std::int64_t>(c.generation_positions(), 45));
  return {longest, 1, std::min(17, longest)};
}

}  // namespace

TEST_CASE("the processor's decoder gives in every family the logits of plain tensor operations", "[generation]") {
  for (named_model const& of : models())
    for (auto const type : {at::kFloat, at::kBFloat16}) {
      // Where rounding may send a token to another expert, the two may differ by any amount.
      if (type == at::kBFloat16 && of.config.experts.count > 0) continue;
      INFO(of.name << " in " << at::toString(type));
      causal_lm const model(of.config, {.type = type});
      pack const weights = model.weights_for(of.theta);
      thread_pool threads(2);
      auto const fast = make_cpu_decoder(model, weights, threads), plain_one = make_tensor_decoder(model, weights);
      REQUIRE((fast != nullptr) == has_own_steps(of.config));
      if (!fast) continue;
      batch_of_sequences const all(lengths_for(of.config), of.config.vocabulary, {0, 1, 2});
      for (auto* const d : {fast.get(), plain_one.get()}) d->reserve(all.pages);
      at::Tensor const ours = fast->logits(all.batch).clone(), theirs = plain_one->logits(all.batch);
      REQUIRE(ours.sizes() == theirs.sizes());
      double const spread = (theirs - theirs.mean(-1, true)).abs().max().item<double>();
      CHECK((ours - theirs).abs().max().item<double>() < spread * (type == at::kFloat ? 2e-5 : 0.1));
    }
}

TEST_CASE("the logits of a sequence are the same bits whatever is computed with it and by however many threads",
          "[generation]") {
  for (named_model const& of : models())
    for (auto const type : {at::kFloat, at::kBFloat16}) {
      if (!has_own_steps(of.config)) continue;
      INFO(of.name << " in " << at::toString(type));
      causal_lm const model(of.config, {.type = type});
      pack const weights = model.weights_for(of.theta);
      thread_pool one(1), three(3);
      auto const alone = make_cpu_decoder(model, weights, one), together = make_cpu_decoder(model, weights, three);
      std::vector<std::int32_t> const lengths = lengths_for(of.config);
      batch_of_sequences const all(lengths, of.config.vocabulary, {0, 1, 2});
      for (auto* const d : {alone.get(), together.get()}) d->reserve(all.pages);
      at::Tensor const rows = together->logits(all.batch).clone();
      std::int64_t begin = 0;
      for (std::size_t s = 0; s < lengths.size(); ++s) {
        batch_of_sequences const single(lengths, of.config.vocabulary, {s});
        CHECK(at::equal(alone->logits(single.batch), rows.narrow(0, begin, lengths[s])));
        begin += lengths[s];
      }
    }
}

TEST_CASE("tokens go to their likeliest experts, the first of equal ones, and every expert gets its rows in a row",
          "[generation]") {
  expert_settings const settings{.count = 4, .chosen = 2, .normalised = true};
  expert_rows rows(settings);
  rows.resize(3);
  float logits[3][4] = {{0, 2, 1, 2}, {1, 1, 1, 1}, {5, 0, 0, 4}};
  for (std::size_t t = 0; t < 3; ++t) rows.choose(t, logits[t]);
  rows.sort();
  CHECK(rows.count() == 6);
  std::vector<std::size_t> tokens, begins;
  for (std::size_t i = 0; i < 6; ++i) tokens.push_back(rows.token(i));
  for (std::size_t e = 0; e <= 4; ++e) begins.push_back(rows.begin(e));
  CHECK(begins == std::vector<std::size_t>{0, 2, 4, 4, 6});
  CHECK(tokens == std::vector<std::size_t>{1, 2, 0, 1, 0, 2});
  CHECK(rows.part_of(0, 0).row == 2);
  CHECK(rows.part_of(0, 1).row == 4);
  CHECK(rows.part_of(0, 0).weight == 0.5F);
  CHECK(std::abs(rows.part_of(2, 0).weight - 0.7310586F) < 1e-6F);
  CHECK(std::abs(rows.part_of(2, 1).weight - 0.2689414F) < 1e-6F);
}
