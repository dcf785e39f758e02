// SPDX-License-Identifier: Apache-2.0

// Generation by a GPU's kernels, whose bodies run here, against plain tensor operations and against the processor's decoder.

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include <kedge/llm/model/generation.hpp>

#include "../adapters/llm/src/base/thread_pool.hpp"
#include "../adapters/llm/src/model/decoder.hpp"
#include "../adapters/llm/src/model/gpu_way.hpp"
#include "../adapters/llm/src/model/token_draws.hpp"
#include "llm/model/golden_families.hpp"
#include "llm/model/launch_counter.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::golden_family;
using kedge::testing::named_model;
using by = gpu_way_on_host::by;
using token_ids = std::vector<std::int32_t>;

namespace {

// Grouped heads; heads that share all, windows and caps; and families of their own kinds: soft caps, sinks, norms of heads.
std::vector<named_model> setups() {
  std::vector<named_model> all;
  transformer_config c = plain::tiny_config(true);
  c.hidden = 48;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.max_positions = 2048;
  all.push_back({"grouped heads", c, plain::random_parameters(c, at::kFloat, 5)});
  c.kv_heads = 1;
  c.head_dim = 24;
  c.attention.assign(static_cast<std::size_t>(c.layers), {.window = 11});
  c.attention.back() = {};
  c.attention_soft_cap = 3;
  c.logit_soft_cap = 9;
  all.push_back({"windows and caps", c, plain::random_parameters(c, at::kFloat, 6)});
  for (auto const* const family : {"gemma2", "gpt_oss", "qwen3", "olmo2"}) all.push_back(golden_family(family));
  return all;
}

std::vector<token_ids> prompts_for(transformer_config const& c) {
  auto const longest = static_cast<std::size_t>(std::min<std::int64_t>(c.generation_positions() / 2, 40));
  std::vector<token_ids> prompts;
  for (std::size_t i = 0; i < 5; ++i) {
    token_ids prompt{1, 2, 3};
    for (std::size_t t = 0; t < i * i * longest / 16; ++t) prompt.push_back(static_cast<std::int32_t>((7 * t * t + 3 * i + t) % static_cast<std::size_t>(c.vocabulary)));
    prompt.resize(std::min(prompt.size(), longest));
    prompts.push_back(prompt);
  }
  return prompts;
}

std::vector<sampling_settings> settings_for(transformer_config const& c) {
  auto const length = static_cast<std::size_t>(std::min<std::int64_t>(c.generation_positions() / 2, 24));
  std::vector<sampling_settings> all{{.max_new_tokens = length, .stop_tokens = {3, 17}, .batch_size = 6},
                                     {.max_new_tokens = length, .temperature = 0},
                                     {.max_new_tokens = length, .temperature = 0.8, .top_p = 0.9, .min_p = 0.01, .top_k = 20}};
  all.push_back(all[2]);
  all.back().rules.repetition_penalty = 1.4;
  all.back().rules.no_repeat_ngram_size = 3;
  all.back().rules.suppress = {2};
  all.push_back(all[0]);
  all.back().typical_p = 0.9;  // drawn by the processor
  return all;
}

std::vector<sampled_completion> sample(named_model const& of, at::ScalarType type, sampling_settings const& s) {
  causal_lm const model(of.config, {.type = type});
  pack const weights = model.weights_for(of.theta);
  mixture_term const policy[] = {{1, &weights}};
  return generate(model, policy, prompts_for(of.config), 3, s);
}

double score(causal_lm const& model, pack const& weights, token_ids const& prompt, token_ids const& completion) {
  ragged_batch batch;
  std::span<std::int32_t const> const completions[] = {completion};
  append(batch, prompt, completions);
  return model.log_probs(weights, batch).at(0);
}

void check_same(std::vector<sampled_completion> const& a, std::vector<sampled_completion> const& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].tokens == b[i].tokens);
    CHECK(a[i].finished == b[i].finished);
    for (std::size_t t = 0; t < a[i].logp.size(); ++t) CHECK(std::abs(a[i].logp[t] - b[i].logp[t]) < 2e-4);
  }
}

// Sequences of so many tokens that a step adds one to, or computes whole.
struct step {
  std::vector<std::vector<std::int32_t>> tables;
  step_batch batch;
  std::int32_t pages = 0;

  step(std::vector<std::int32_t> const& lengths, bool whole, std::int64_t vocabulary) {
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      tables.emplace_back();
      for (std::int32_t p = 0; p < lengths[s]; p += static_cast<std::int32_t>(page_tokens)) tables.back().push_back(pages++);
      for (std::int32_t p = whole ? 0 : lengths[s] - 1; p < lengths[s]; ++p) {
        batch.tokens.push_back(static_cast<std::int32_t>((7 * p + 3 * static_cast<std::int32_t>(s) + p * p) % vocabulary));
        batch.positions.push_back(p);
        batch.sequence.push_back(static_cast<std::int32_t>(s));
      }
      batch.rows.push_back(static_cast<std::int32_t>(batch.size()) - 1);
    }
    for (auto const& table : tables) batch.tables.emplace_back(table);
  }
};

}  // namespace

TEST_CASE("A GPU's way writes in float32 the texts that plain tensor operations and the processor's decoder write", "[generation][gpu]") {
  for (named_model const& of : setups())
    for (sampling_settings const& s : settings_for(of.config)) {
      INFO(of.name << ", temperature " << s.temperature << ", top_k " << s.top_k << ", rules " << !s.rules.empty() << ", typical_p " << s.typical_p);
      std::vector<sampled_completion> ours, by_operations;
      {
        gpu_way_on_host const way;
        ours = sample(of, at::kFloat, s);
      }
      {
        gpu_way_on_host const way(by::plain_operations);
        by_operations = sample(of, at::kFloat, s);
      }
      check_same(ours, by_operations);
      check_same(ours, sample(of, at::kFloat, s));
    }
}

TEST_CASE("A GPU's way tells in bfloat16 the log-probabilities that scoring in float32 gives, to rounding", "[generation][gpu]") {
  for (named_model const& of : setups()) {
    INFO(of.name);
    if (of.config.experts.count > 0) continue;  // rounding may send a token to another expert
    sampling_settings const s = settings_for(of.config)[2];
    gpu_way_on_host const way;
    std::vector<sampled_completion> const ours = sample(of, at::kBFloat16, s);
    causal_lm const narrow(of.config, {.type = at::kBFloat16}), wide(of.config, {.type = at::kFloat});
    pack const narrow_weights = narrow.weights_for(of.theta), wide_weights = wide.weights_for(of.theta);
    auto const prompts = prompts_for(of.config);
    double by_scoring = 0, by_generation = 0;
    for (sampled_completion const& one : ours) {
      double const told = std::accumulate(one.logp.begin(), one.logp.end(), 0.0), exact = score(wide, wide_weights, prompts[one.prompt], one.tokens);
      by_generation = std::max(by_generation, std::abs(told - exact));
      by_scoring = std::max(by_scoring, std::abs(score(narrow, narrow_weights, prompts[one.prompt], one.tokens) - exact));
    }
    INFO("generation is " << by_generation << " off, scoring " << by_scoring);
    CHECK(by_generation < 2 * by_scoring + 0.05);
  }
}

TEST_CASE("A GPU's way goes on from pages that a sequence shares or has copied", "[generation][gpu]") {
  gpu_way_on_host const way;
  named_model const of = setups().front();
  causal_lm const model(of.config, {.type = at::kFloat});
  pack const weights = model.weights_for(of.theta);
  auto const decoder = make_tensor_decoder(model, weights);
  step const prompt({37, 5}, true, of.config.vocabulary);
  decoder->reserve(prompt.pages + 1);
  at::Tensor const whole = decoder->logits(prompt.batch).clone();
  // The last token again, on the pages of the prompt but for the last one.
  step again({37}, false, of.config.vocabulary);
  token_ids const table{0, 1, prompt.pages};
  again.batch.tables = {table};
  auto const off = [&] { return (decoder->logits(again.batch)[0] - whole[0]).abs().max().item<double>(); };
  CHECK(off() > 1e-2);
  decoder->copy_page(2, prompt.pages);
  CHECK(off() < 1e-4);  // a product's sums may depend on how many rows it has
}

TEST_CASE("A step of generation launches three kernels for a layer's attention, four in a long context, and one for sampling", "[generation][gpu]") {
  transformer_config config = plain::tiny_config(true);
  config.hidden = 256;
  config.intermediate = 512;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.layers = 4;
  config.vocabulary = 1000;
  config.max_positions = 2048;
  causal_lm const model(config, {.type = at::kBFloat16});
  pack const weights = model.weights_for(plain::random_parameters(config, at::kFloat, 1));
  thread_pool threads(1);
  sampling_settings const s{.temperature = 0.7, .top_p = 0.9};
  // Of one step over eight sequences of so many tokens, and of the draws after it.
  auto const counted = [&](by what, std::int32_t length) {
    gpu_way_on_host const way(what);
    auto const decoder = make_tensor_decoder(model, weights);
    step const next(std::vector<std::int32_t>(8, length), false, config.vocabulary);
    decoder->reserve(next.pages);
    std::vector<wanted_token> wanted;
    for (std::size_t i = 0; i < 8; ++i) wanted.push_back({i, {}, 0.1 * static_cast<double>(i)});
    launches::counter const counter;
    CHECK(draw_tokens(decoder->logits(next.batch), wanted, s, threads).size() == 8);
    return counter.by_section();
  };
  auto const print = [&](char const* what, std::map<std::string, launches::figures> const& sections) {
    if (!std::getenv("KEDGE_PRINT_FIGURES")) return;
    std::cout << what << ":\n";
    for (auto const& [section, figures] : sections) std::cout << "  " << section << ": " << figures.launches << " launches, " << figures.bytes << " bytes\n";
  };
  for (std::int32_t const length : {200, 1000}) {
    auto const ours = counted(by::kernels, length), plain_ones = counted(by::plain_operations, length);
    print("kernels", ours);
    print("plain operations", plain_ones);
    CHECK(ours.at("attention").launches == config.layers * (length > attention_part_keys ? 4 : 3));
    CHECK(ours.at("sampling").launches == 1);
    CHECK(plain_ones.at("attention").launches > 4 * ours.at("attention").launches);
    CHECK(plain_ones.at("attention").bytes > 4 * ours.at("attention").bytes);
  }
}
