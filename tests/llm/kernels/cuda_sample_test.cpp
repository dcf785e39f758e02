// SPDX-License-Identifier: Apache-2.0

// Draws by the kernel of a GPU, whose body runs here, against draw_token.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../adapters/llm/src/kernels/cuda/host_block.hpp"
#include "../adapters/llm/src/kernels/cuda/table.hpp"
#include "../adapters/llm/src/model/logit_edits.hpp"
#include "../adapters/llm/src/model/sampler.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

constexpr float ruled_out = -std::numeric_limits<float>::infinity();

struct drawn_row {
  std::int32_t token;
  float logp;
};

// One row, with a gap behind it, by a table's kernel.
drawn_row draw_by(gpu_kernel_table const& kernels, std::vector<float> scores, sampling_settings const& s, decoding_place const& place, double u) {
  std::vector<score_edit> const edits = edits_by_token(s.rules, place, scores.size());
  std::int64_t const starts[] = {0, static_cast<std::int64_t>(edits.size())};
  std::vector<float> originals(edits.size());
  drawn_row drawn{};
  kernels.sample(nullptr, {.rows = 1,
                           .vocabulary = static_cast<std::int64_t>(scores.size()),
                           .stride = static_cast<std::int64_t>(scores.size()),
                           .scores = scores.data(),
                           .temperature = s.temperature,
                           .top_k = static_cast<std::int64_t>(s.top_k),
                           .top_p = s.top_p,
                           .min_p = s.min_p,
                           .edits = edits.data(),
                           .edit_starts = edits.empty() ? nullptr : starts,
                           .originals = originals.data(),
                           .uniform = &u,
                           .token = &drawn.token,
                           .logp = &drawn.logp});
  return drawn;
}

// Scores of n tokens as models have them: peaked, flat, with ties, with tokens ruled out, all equal.
std::vector<float> scores_of(std::mt19937& random, std::size_t n) {
  std::normal_distribution<float> normal;
  auto const kind = random() % 6;
  std::vector<float> x(n);
  for (float& v : x) {
    v = normal(random) * (kind == 0 ? 1.0F : 3.0F);
    if (kind == 2) v = std::round(v);
    if (kind == 3) v = random() % 3 == 0 ? ruled_out : v - 40;
    if (kind == 4) v = 2.5F;
    if (kind == 5) v = v < 0 ? 0.0F : std::round(v * 4) / 4;
  }
  return x;
}

std::string text_of(sampling_settings const& s) {
  return "temperature " + std::to_string(s.temperature) + ", top_k " + std::to_string(s.top_k) + ", top_p " + std::to_string(s.top_p) + ", min_p " + std::to_string(s.min_p);
}

// The same token by both, and its log-probability to rounding.
void check_same(std::vector<float> const& scores, sampling_settings const& s, decoding_place const& place, double u) {
  token_draw const expected = draw_token(std::span<float const>(scores), s, place, u);
  drawn_row const ours = draw_by(host_gpu_kernels(), scores, s, place, u);
  REQUIRE(ours.token == expected.token);
  if (std::isfinite(expected.logp))
    CHECK(std::abs(ours.logp - expected.logp) < 1e-6 * (2 + std::abs(expected.logp)));
  else
    CHECK_FALSE(std::isfinite(ours.logp));
}

std::vector<sampling_settings> all_settings() {
  std::vector<sampling_settings> all;
  for (double const temperature : {0.0, 1.0, 0.6, 1.7})
    for (std::size_t const top_k : {0, 1, 7, 50})
      for (double const top_p : {1.0, 0.9, 0.5, 0.0})
        for (double const min_p : {0.0, 0.1, 1.0}) all.push_back({.temperature = temperature, .top_p = top_p, .min_p = min_p, .top_k = top_k});
  return all;
}

}  // namespace

TEST_CASE("A GPU's kernel draws the token that the processor draws, for every truncation, ties included", "[generation][gpu]") {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform;
  for (sampling_settings const& s : all_settings())
    for (std::size_t const n : {1, 2, 53, 64, 257, 1500, 4096})
      for (int repeat = 0; repeat < 6; ++repeat) {
        INFO(text_of(s) << ", " << n << " tokens");
        check_same(scores_of(random, n), s, {}, uniform(random));
      }
}

TEST_CASE("A GPU's kernel keeps of equal scores the ones that the processor keeps", "[generation][gpu]") {
  for (double const top_p : {0.0, 0.25, 0.5, 0.74, 0.75})
    for (int i = 0; i < 40; ++i) {
      double const u = (i + 0.5) / 40;
      check_same({7, 7, 7, 7}, {.top_p = top_p}, {}, u);
      check_same({1, 7, ruled_out, 7, 7, 1, 1, -0.0F, 0.0F, 7}, {.top_p = top_p}, {}, u);
      check_same(std::vector<float>(300, -3.0F), {.top_p = top_p, .top_k = 7}, {}, u);
    }
  std::vector<float> const equal(2000, 1.0F);
  CHECK(draw_by(host_gpu_kernels(), equal, {.top_p = 0}, {}, 0.3).token == 1999);
  CHECK(draw_by(host_gpu_kernels(), equal, {.temperature = 0}, {}, 0.3).token == 0);
}

TEST_CASE("A GPU's kernel applies the rules that the processor applies, and tells the model's own log-probability", "[generation][gpu]") {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform;
  std::vector<std::int32_t> const prompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9}, written{3, 2, 3, 8, 4, 6, 2, 6, 4}, stop{0, 11};
  std::vector<logit_rules> rules(12);
  rules[0].repetition_penalty = 1.3;
  rules[1].encoder_repetition_penalty = 1.5;
  rules[2].no_repeat_ngram_size = 2;
  rules[3].encoder_no_repeat_ngram_size = 1;
  rules[4].bad_words = {{{6, 4, 10}, ruled_out}, {{12}, ruled_out}};
  rules[5].sequence_bias = {{{4, 10}, 5.0}, {{10}, -1.5}, {{14}, 2.0}};
  rules[6].min_new_tokens = 20;
  rules[7].forced_eos = {11, 13};
  rules[8].exponential_decay = {{4, 1.4}};
  rules[9].suppress = {7, 1, 70000, 0};
  rules[10] = rules[0];  // several of the same tokens, in their order
  rules[10].encoder_repetition_penalty = 0.8;
  rules[10].sequence_bias = {{{2}, 4.0}};
  rules[10].exponential_decay = {{2, 1.1}};
  rules[10].suppress = {5};
  rules[11] = rules[7];  // nothing is left
  rules[11].suppress = rules[7].forced_eos;
  for (logit_rules const& r : rules)
    for (std::size_t const n : {15, 600})
      for (std::size_t const left : {std::size_t{1}, std::size_t{30}})
        for (double const temperature : {0.0, 1.0, 0.7})
          for (double const top_p : {1.0, 0.8}) {
            INFO("rules " << &r - rules.data() << ", " << n << " tokens, temperature " << temperature << ", top_p " << top_p);
            sampling_settings s{.temperature = temperature, .top_p = top_p};
            s.rules = r;
            for (int repeat = 0; repeat < 4; ++repeat)
              check_same(scores_of(random, n), s, {prompt, written, written.size() + left, stop}, uniform(random));
          }
}

TEST_CASE("Where all tokens are ruled out, a GPU's kernel draws the first", "[generation][gpu]") {
  for (double const temperature : {0.0, 1.0, 0.5})
    CHECK(draw_by(host_gpu_kernels(), std::vector<float>(70, ruled_out), {.temperature = temperature, .top_p = 0.9, .top_k = 3}, {}, 0.99).token == 0);
}

TEST_CASE("However many threads a block has, they draw the same token", "[generation][gpu]") {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform;
  sampling_settings s{.temperature = 0.8, .top_p = 0.9, .min_p = 0.001, .top_k = 40};
  std::vector<std::int32_t> const prompt{3, 1, 4, 1, 5, 9};
  for (double const penalty : {1.0, 1.4})
    for (double const top_p : {1.0, 0.9})
      for (std::size_t const n : {5, 400, 3001}) {
        s.rules.repetition_penalty = penalty;
        s.top_p = top_p;
        std::vector<float> const x = scores_of(random, n);
        double const u = uniform(random);
        drawn_row const one = draw_by(host_gpu_kernels(), x, s, {prompt, {}, 9, {}}, u), five = draw_by(gpu::table_of<gpu::host_device<5>>, x, s, {prompt, {}, 9, {}}, u);
        CHECK(one.token == five.token);
        CHECK(one.logp == five.logp);
      }
}
