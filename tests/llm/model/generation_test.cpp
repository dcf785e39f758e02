// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../adapters/llm/src/base/thread_pool.hpp"
#include "../adapters/llm/src/model/decoder.hpp"
#include "../adapters/llm/src/model/page_table.hpp"
#include "../adapters/llm/src/model/sampler.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_json;
using kedge::testing::WithinAbs;
using nlohmann::json;
using token_ids = std::vector<std::int32_t>;

namespace {

std::filesystem::path const golden = std::filesystem::path(KEDGE_TESTS_DIR) / "golden";

// Shapes that fill no panel of 32 outputs, three query heads to a key-value head; head_dim as the processor's kernels want it.
transformer_config odd_config() {
  transformer_config c = plain::tiny_config(true);
  c.hidden = 40;
  c.intermediate = 56;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.max_positions = 256;
  return c;
}

std::vector<token_ids> random_prompts(std::size_t n, std::int64_t vocabulary, std::size_t longest, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::vector<token_ids> prompts(n);
  for (auto& prompt : prompts) {
    prompt.resize(1 + random() % longest);
    for (auto& id : prompt) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
  }
  return prompts;
}

struct setup {
  transformer_config config;
  causal_lm model;
  pack weights;

  setup(transformer_config c, at::ScalarType type, int seed = 5)
      : config(c), model(c, {.type = type}), weights(model.weights_for(plain::random_parameters(c, at::kDouble, seed))) {}

  [[nodiscard]] std::vector<sampled_completion> sample(std::vector<token_ids> const& prompts, std::size_t samples,
                                                       sampling_settings const& s) const {
    mixture_term const policy[] = {{1, &weights}};
    return generate(model, policy, prompts, samples, s);
  }
};

double scored(setup const& with, token_ids const& prompt, token_ids const& completion) {
  ragged_batch batch;
  std::span<std::int32_t const> const completions[] = {completion};
  append(batch, prompt, completions);
  return with.model.log_probs(with.weights, batch).at(0);
}

double largest_score_error(setup const& with, std::vector<token_ids> const& prompts,
                           std::vector<sampled_completion> const& samples) {
  double worst = 0;
  for (auto const& one : samples)
    worst = std::max(worst, std::abs(std::accumulate(one.logp.begin(), one.logp.end(), 0.0) -
                                     scored(with, prompts[one.prompt], one.tokens)));
  return worst;
}

sampling_settings settings_from(json const& given) {
  sampling_settings s;
  for (auto const& [key, value] : given.items()) {
    if (key == "temperature")
      s.temperature = value;
    else if (key == "top_k")
      s.top_k = value;
    else if (key == "top_p")
      s.top_p = value;
    else if (key == "min_p")
      s.min_p = value;
    else
      FAIL("no counterpart of " << key);
  }
  return s;
}

// Probability of the first completion token, by scoring each.
std::vector<double> next_token_probabilities(setup const& with, token_ids const& prompt) {
  std::vector<double> p;
  for (std::int64_t v = 0; v < with.config.vocabulary; ++v)
    p.push_back(std::exp(scored(with, prompt, {static_cast<std::int32_t>(v)})));
  return p;
}

// What is left of probabilities by the definitions: temperature, then the k likeliest, the fewest that hold p, a share of the likeliest.
std::vector<double> truncated(std::vector<double> p, sampling_settings const& s) {
  for (double& x : p) x = std::pow(x, 1 / s.temperature);
  auto const normalise = [&] {
    double const sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  };
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  if (s.top_k > 0)
    for (std::size_t i = s.top_k; i < order.size(); ++i) p[order[i]] = 0;
  normalise();
  double before = 0;
  for (std::size_t const i : order) {
    double const mine = p[i];
    if (before >= s.top_p) p[i] = 0;
    before += mine;
  }
  normalise();
  double const least = s.min_p * p[order.front()];
  for (double& x : p)
    if (x < least) x = 0;
  normalise();
  return p;
}

void check_same(std::vector<sampled_completion> const& a, std::vector<sampled_completion> const& b, double tolerance) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].tokens == b[i].tokens);
    CHECK(a[i].finished == b[i].finished);
    for (std::size_t t = 0; t < std::min(a[i].logp.size(), b[i].logp.size()); ++t)
      CHECK_THAT(a[i].logp[t], WithinAbs(b[i].logp[t], tolerance));
  }
}

}  // namespace

TEST_CASE("the random stream of a sample is Philox with its published numbers", "[generation]") {
  std::uint64_t const words = 0x6627e8d5e169c58d;
  CHECK(uniform_draw(0, 0, 0, 0) == static_cast<double>(words >> 11) * 0x1p-53);
  CHECK(uniform_draw(1, 0, 0, 0) != uniform_draw(0, 0, 0, 0));
  CHECK(uniform_draw(0, 1, 0, 0) != uniform_draw(0, 0, 1, 0));
  CHECK(uniform_draw(0, 0, 1, 0) != uniform_draw(0, 0, 0, 1));
}

TEST_CASE("truncations leave the probabilities that those of transformers leave", "[generation][golden]") {
  json const expected = read_json(golden / "generation" / "truncation.json");
  auto const logits = expected.at("logits").get<std::vector<double>>();
  std::vector<float> const narrow(logits.begin(), logits.end());
  for (json const& one : expected.at("cases")) {
    INFO(one.at("settings").dump());
    sampling_settings const settings = settings_from(one.at("settings"));
    auto const theirs = one.at("probabilities").get<std::vector<double>>();
    constexpr int draws = 20000;  // evenly spread: frequencies are probabilities to within one draw
    for (bool const wide : {false, true}) {
      std::vector<double> ours(theirs.size());
      for (int i = 0; i < draws; ++i) {
        double const u = (i + 0.5) / draws;
        token_draw const drawn = wide ? draw_token(std::span(logits), settings, u) : draw_token(std::span(narrow), settings, u);
        ours.at(static_cast<std::size_t>(drawn.token)) += 1.0 / draws;
      }
      for (std::size_t v = 0; v < theirs.size(); ++v) CHECK_THAT(ours[v], WithinAbs(theirs[v], 1.5 / draws));
    }
  }
}

TEST_CASE("log-probabilities of samples are those that scoring gives", "[generation]") {
  for (auto const type : {at::kFloat, at::kDouble})
    for (auto const& config : {plain::tiny_config(false), odd_config()}) {
      setup const with(config, type);
      auto const prompts = random_prompts(9, config.vocabulary, 30, 1);
      auto const samples =
          with.sample(prompts, 3, {.max_new_tokens = 25, .temperature = 1.4, .top_p = 0.95, .top_k = 30, .batch_size = 7});
      REQUIRE(samples.size() == 27);
      CHECK(largest_score_error(with, prompts, samples) < (type == at::kDouble ? 1e-9 : 1e-4));
      for (std::size_t i = 0; i < samples.size(); ++i) {
        CHECK(samples[i].prompt == i / 3);
        CHECK(samples[i].sample == i % 3);
        CHECK(samples[i].tokens.size() == 25);
        CHECK(samples[i].logp.size() == 25);
      }
    }
}

TEST_CASE("the decoder for the processor gives the logits of plain tensor operations", "[generation]") {
  for (auto const type : {at::kFloat, at::kBFloat16}) {
    setup const with(odd_config(), type);
    thread_pool threads(2);
    auto const fast = make_cpu_decoder(with.model, with.weights, threads);
    if (!fast) return;  // a processor without kernels of its own: there is nothing to compare
    auto const plain_one = make_tensor_decoder(with.model, with.weights);
    auto const ids = random_prompts(1, with.config.vocabulary, 1, 2).front();
    std::vector<std::int32_t> const first{3, 0, 5}, second{1};
    for (auto* const d : {fast.get(), plain_one.get()}) d->reserve(6);
    // 37 and 5 tokens of two sequences, then one more of each: pages begin and end within a step.
    step_batch prompt, next;
    prompt.tables = {first, second};
    for (std::int32_t p = 0; p < 37; ++p) {
      prompt.tokens.push_back((p * 7 + ids[0]) % 53);
      prompt.positions.push_back(p);
      prompt.sequence.push_back(0);
    }
    for (std::int32_t p = 0; p < 5; ++p) {
      prompt.tokens.push_back(p * 3 + 1);
      prompt.positions.push_back(p);
      prompt.sequence.push_back(1);
    }
    prompt.rows = {0, 17, 36, 41};
    next.tables = prompt.tables;
    next.tokens = {4, 9};
    next.positions = {37, 5};
    next.sequence = {0, 1};
    next.rows = {0, 1};
    for (auto const* const batch : {&prompt, &next}) {
      at::Tensor const ours = fast->logits(*batch), theirs = plain_one->logits(*batch);
      REQUIRE(ours.sizes() == theirs.sizes());
      double const scale = theirs.abs().max().item<double>();
      CHECK((ours - theirs).abs().max().item<double>() < scale * (type == at::kFloat ? 1e-5 : 0.04));
    }
    fast->copy_page(1, 2);
    plain_one->copy_page(1, 2);
    std::vector<std::int32_t> const copied{2};
    next = {.tokens = {9}, .positions = {5}, .sequence = {0}, .tables = {copied}, .rows = {0}};
    at::Tensor const copy = fast->logits(next).clone();
    next.tables = {second};
    CHECK(at::equal(copy, fast->logits(next)));
  }
}

TEST_CASE("samples come as often as their probabilities say", "[generation]") {
  sampling_settings const kinds[] = {
      {},           {.temperature = 0.7}, {.top_p = 0.8},
      {.top_k = 6}, {.min_p = 0.15},      {.temperature = 1.5, .top_p = 0.9, .min_p = 0.05, .top_k = 20}};
  for (auto const& config : {plain::tiny_config(true), odd_config()}) {
    setup const with(config, at::kFloat, 8);
    std::vector<token_ids> const prompts{{7, 1, 30}};
    auto const exact = next_token_probabilities(with, prompts[0]);
    for (sampling_settings settings : kinds) {
      INFO("temperature " << settings.temperature << ", top_p " << settings.top_p << ", top_k " << settings.top_k << ", min_p "
                          << settings.min_p);
      settings.max_new_tokens = 1;
      constexpr std::size_t draws = 20000;
      std::vector<double> counts(exact.size());
      for (auto const& one : with.sample(prompts, draws, settings)) counts.at(static_cast<std::size_t>(one.tokens.at(0))) += 1;
      auto const expected = truncated(exact, settings);
      double statistic = 0, cells = 0, rare_expected = 0, rare_count = 0;
      for (std::size_t v = 0; v < counts.size(); ++v) {
        if (expected[v] == 0) CHECK(counts[v] == 0);
        if (expected[v] * draws < 5) {  // too rare for a cell of their own
          rare_expected += expected[v] * draws;
          rare_count += counts[v];
          continue;
        }
        statistic += std::pow(counts[v] - expected[v] * draws, 2) / (expected[v] * draws);
        ++cells;
      }
      if (rare_expected >= 5) {
        statistic += std::pow(rare_count - rare_expected, 2) / rare_expected;
        ++cells;
      }
      CHECK(statistic < cells - 1 + 4 * std::sqrt(2 * cells));
    }
  }
}

TEST_CASE("neither batch size nor shared prompts change a sample", "[generation]") {
  for (auto const type : {at::kDouble, at::kFloat}) {
    setup const with(odd_config(), type);
    auto prompts = random_prompts(11, with.config.vocabulary, 20, 3);
    for (auto& prompt : prompts)
      prompt.insert(prompt.begin(), {4, 8, 15, 16, 23, 42, 4, 8, 15, 16, 23, 42, 4, 8, 15, 16, 23, 42});
    sampling_settings settings{.max_new_tokens = 20, .stop_tokens = {3, 17}};
    // In fp32 the processor's decoder computes every row on its own; elsewhere a product may depend on its neighbours.
    thread_pool threads(1);
    if (type == at::kFloat && !make_cpu_decoder(with.model, with.weights, threads)) continue;
    double const tolerance = type == at::kDouble ? 1e-10 : 0;
    auto const together = with.sample(prompts, 4, settings);
    settings.batch_size = 1;
    check_same(with.sample(prompts, 4, settings), together, tolerance);
    settings.batch_size = 5;
    check_same(with.sample(prompts, 4, settings), together, tolerance);
    settings.batch_size = 48;
    auto const alone = with.sample({prompts[0]}, 1, settings);
    check_same(alone, {together[0]}, tolerance);
  }
}

TEST_CASE("a prompt longer than a step is computed in parts without changing the samples", "[generation]") {
  transformer_config config = odd_config();
  config.max_positions = 2048;
  setup const with(config, at::kDouble);
  std::vector<token_ids> prompts = random_prompts(2, config.vocabulary, 5, 6);
  prompts[0].resize(1200, 11);
  auto const samples = with.sample(prompts, 2, {.max_new_tokens = 5});
  CHECK(largest_score_error(with, prompts, samples) < 1e-9);
}

TEST_CASE("a mixture of equal models is the model and a mixture of two is normalised", "[generation]") {
  setup const with(odd_config(), at::kDouble);
  pack const other = with.model.weights_for(plain::random_parameters(with.config, at::kDouble, 77));
  auto const prompts = random_prompts(4, with.config.vocabulary, 9, 4);
  sampling_settings const settings{.max_new_tokens = 12};
  auto const plain_samples = with.sample(prompts, 2, settings);
  mixture_term const equal[] = {{1.3, &with.weights}, {-0.3, &with.weights}};
  check_same(generate(with.model, equal, prompts, 2, settings), plain_samples, 1e-9);
  mixture_term const none_of_other[] = {{1, &with.weights}, {0, &other}};
  check_same(generate(with.model, none_of_other, prompts, 2, settings), plain_samples, 0);

  mixture_term const both[] = {{1.3, &with.weights}, {-0.3, &other}};
  auto const mixed = generate(with.model, both, prompts, 1, {.max_new_tokens = 1});
  std::vector<double> logits;
  for (std::int64_t v = 0; v < with.config.vocabulary; ++v) {
    token_ids const token{static_cast<std::int32_t>(v)};
    ragged_batch batch;
    std::span<std::int32_t const> const completions[] = {token};
    append(batch, prompts[0], completions);
    logits.push_back(1.3 * with.model.log_probs(with.weights, batch)[0] - 0.3 * with.model.log_probs(other, batch)[0]);
  }
  double sum = 0;
  for (double const x : logits) sum += std::exp(x);
  CHECK_THAT(mixed[0].logp[0], WithinAbs(logits[static_cast<std::size_t>(mixed[0].tokens[0])] - std::log(sum), 1e-9));
}

TEST_CASE("a completion ends with a stop token or with the last position", "[generation]") {
  setup const with(plain::tiny_config(true), at::kFloat);
  auto const prompts = random_prompts(6, with.config.vocabulary, 9, 5);
  sampling_settings settings{.max_new_tokens = 1000};
  for (auto const& one : with.sample(prompts, 2, settings)) {
    CHECK_FALSE(one.finished);
    CHECK(one.tokens.size() + prompts[one.prompt].size() == static_cast<std::size_t>(with.config.max_positions));
  }
  settings.stop_tokens = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  auto const stopped = with.sample(prompts, 8, settings);
  CHECK(std::any_of(stopped.begin(), stopped.end(), [](auto const& one) { return one.tokens.size() > 1; }));
  for (auto const& one : stopped) {
    CHECK(one.finished);
    for (std::size_t t = 0; t < one.tokens.size(); ++t) {
      bool const stop = one.tokens[t] >= 5 && one.tokens[t] <= 16;
      CHECK(stop == (t + 1 == one.tokens.size()));
    }
  }
}

TEST_CASE("completions are handed over in order and sampling stops when asked", "[generation]") {
  setup const with(plain::tiny_config(true), at::kFloat);
  auto const prompts = random_prompts(20, with.config.vocabulary, 9, 7);
  mixture_term const policy[] = {{1, &with.weights}};
  prepared_policy prepared(with.model, policy);
  std::vector<std::size_t> order;
  std::size_t done = 0;
  generate_each(
      prepared, prompts, 3, {.max_new_tokens = 30, .stop_tokens = {5, 6, 7}, .batch_size = 8},
      [&](sampled_completion&& one) {
        order.push_back(one.prompt * 3 + one.sample);
        return order.size() < 25;
      },
      [&](std::size_t now, std::size_t all) {
        CHECK(now >= done);
        CHECK(all == 60);
        done = now;
        return true;
      });
  REQUIRE(order.size() == 25);
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == i);
  auto const some = generate(with.model, policy, prompts, 3, {.max_new_tokens = 30, .batch_size = 8},
                             [](std::size_t now, std::size_t) { return now == 0; });
  CHECK(some.size() < 60);
}

TEST_CASE("settings and prompts that make no sense are refused in one line", "[generation]") {
  setup const with(plain::tiny_config(true), at::kFloat);
  std::vector<token_ids> const good{{1, 2}};
  CHECK_THROWS_WITH(with.sample({{1}, {}}, 1, {}), contains("prompt 2"));
  CHECK_THROWS_WITH(with.sample({{1, 53}}, 1, {}), contains("token 53"));
  CHECK_THROWS_WITH(with.sample({token_ids(64, 1)}, 1, {}), contains("leaves no room"));
  CHECK_THROWS_WITH(with.sample(good, 0, {}), contains("samples"));
  CHECK_THROWS_WITH(with.sample(good, 1, {.temperature = -1}), contains("temperature"));
  CHECK_THROWS_WITH(with.sample(good, 1, {.top_p = -0.1}), contains("top_p"));
  CHECK_THROWS_WITH(with.sample(good, 1, {.min_p = 1.5}), contains("min_p"));
  CHECK_THROWS_WITH(with.sample(good, 1, {.batch_size = 0}), contains("batch size"));
  CHECK_THROWS_WITH(with.sample(good, 1, {.max_new_tokens = 0}), contains("new tokens"));
  mixture_term const policy[] = {{0.7, &with.weights}, {0.2, &with.weights}};
  CHECK_THROWS_WITH(generate(with.model, policy, good, 1, {}), contains("sum to one"));
}

TEST_CASE("pages are shared and copied and used again", "[generation]") {
  page_pool pool;
  page_table prompt(pool);
  for (int i = 0; i < 40; ++i) prompt.append();
  CHECK(pool.size() == 3);
  std::vector<int> copied;
  for (int round = 0; round < 5; ++round) {
    page_table fork = prompt.fork([&](int from, int) { copied.push_back(from); });
    CHECK(fork.length() == 40);
    CHECK(fork.pages()[0] == prompt.pages()[0]);
    CHECK(fork.pages()[1] == prompt.pages()[1]);
    CHECK(fork.pages()[2] != prompt.pages()[2]);
    for (int i = 0; i < 9; ++i) fork.append();
  }
  CHECK(copied == std::vector<int>(5, prompt.pages()[2]));
  CHECK(pool.size() == 5);  // three of the prompt, and a fork's copy and next one, used again by the others
}

#if !defined(__SANITIZE_ADDRESS__)  // which keeps what is freed for a while
namespace {

std::size_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::size_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("memory is flat over steps", "[generation]") {
  for (auto const type : {at::kFloat, at::kDouble}) {
    setup const with(odd_config(), type);
    auto const prompts = random_prompts(400, with.config.vocabulary, 40, 9);
    std::size_t early = 0, late = 0;
    mixture_term const policy[] = {{1, &with.weights}};
    prepared_policy prepared(with.model, policy);
    generate_each(
        prepared, prompts, 2, {.max_new_tokens = 40, .batch_size = 16}, [](sampled_completion&&) { return true; },
        [&](std::size_t done, std::size_t all) {
          if (early == 0 && done > all / 8) early = resident_bytes();
          late = resident_bytes();
          return true;
        });
    REQUIRE(early > 0);
    CHECK(late < early + (std::size_t{8} << 20));  // pages of all sequences would be 100 MB
  }
}
#endif

TEST_CASE("tiny checkpoints continue greedily as with transformers", "[generation][golden]") {
  for (char const* name : {"tied", "untied", "linear"}) {
    INFO(name);
    checkpoint const source = checkpoint::open(golden / "tiny" / name);
    transformer_config const config = read_config(source.config, name);
    causal_lm const model(config, {});
    pack const weights = model.weights_for(load_parameters(source, config));
    json const expected = read_json(golden / "tiny" / name / "golden.json");
    mixture_term const policy[] = {{1, &weights}};
    std::vector<token_ids> const prompts{expected.at("ids").get<token_ids>()};
    auto const theirs = expected.at("greedy").get<token_ids>();
    auto const ours =
        generate(model, policy, prompts, 1, {.max_new_tokens = theirs.size(), .temperature = 0, .stop_tokens = {2}});
    CHECK(ours.at(0).tokens == theirs);
  }
}

TEST_CASE("the real model continues greedily as with transformers and samples have its scores", "[generation][golden][model]") {
  checkpoint const source = checkpoint::open(std::getenv("KEDGE_TEST_MODEL"));
  transformer_config const config = read_config(source.config, "model");
  causal_lm const model(config, {});
  pack const weights = model.weights_for(load_parameters(source, config));
  mixture_term const policy[] = {{1, &weights}};
  json const expected = read_json(golden / "generation" / "greedy.json");
  std::vector<token_ids> prompts, theirs;
  for (json const& row : expected.at("rows")) {
    prompts.push_back(row.at("prompt").get<token_ids>());
    theirs.push_back(row.at("completion").get<token_ids>());
  }
  auto const greedy = generate(model, policy, prompts, 1,
                               {.max_new_tokens = expected.at("max_new_tokens"), .temperature = 0, .stop_tokens = {2}});
  REQUIRE(greedy.size() == theirs.size());
  for (std::size_t i = 0; i < greedy.size(); ++i) CHECK(greedy[i].tokens == theirs[i]);

  auto const samples = generate(model, policy, prompts, 2, {.max_new_tokens = 24, .stop_tokens = {2}, .batch_size = 5});
  for (auto const& one : samples) {
    ragged_batch batch;
    std::span<std::int32_t const> const completions[] = {one.tokens};
    append(batch, prompts[one.prompt], completions);
    // Two orders of summation: a logit of twenty has its last place at 2e-6, and there are 24 of them.
    CHECK_THAT(std::accumulate(one.logp.begin(), one.logp.end(), 0.0), WithinAbs(model.log_probs(weights, batch).at(0), 2e-4));
  }
}
