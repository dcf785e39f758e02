// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

#include "../adapters/llm/src/model/sampler.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

using ids = std::vector<std::int32_t>;

/// The settings of a case, as generate() uses them.
sampling_settings settings_of(json const& given) {
  generation_defaults const said = read_generation_config(given, "model");
  sampling_settings s = said.further;
  s.temperature = said.do_sample == true ? said.temperature.value_or(1) : 0;
  s.top_k = said.top_k.value_or(0);
  s.top_p = said.top_p.value_or(1);
  s.min_p = said.min_p.value_or(0);
  return s;
}

}  // namespace

TEST_CASE("Scores after the rules of generation_config are those of transformers, and so is what can be drawn", "[generation]") {
  json const all = read_json_file(KEDGE_TESTS_DIR "/golden/generation/logit_rules.json");
  for (json const& c : all) {
    INFO(c.dump());
    sampling_settings const s = settings_of(c.at("settings"));
    auto const prompt = c.at("prompt").get<ids>(), written = c.at("written").get<ids>(), eos = c.at("eos").get<ids>();
    decoding_place const place{prompt, written, c.at("most").get<std::size_t>(), eos};
    auto const scores = c.at("scores").get<std::vector<double>>();
    if (c.contains("ruled")) {
      std::vector<double> ruled = scores;
      apply(s.rules, place, std::span<double>(ruled));
      for (std::size_t i = 0; i < ruled.size(); ++i) {
        json const& expected = c.at("ruled")[i];
        if (expected.is_null())
          CHECK(ruled[i] == -std::numeric_limits<double>::infinity());
        else
          CHECK(std::abs(ruled[i] - expected.get<double>()) < 1e-5);
      }
      continue;
    }
    constexpr int draws = 2000;  // of an even grid: each token gets its share within a step
    std::vector<double> share(scores.size());
    for (int k = 0; k < draws; ++k) {
      auto const drawn = draw_token(std::span<double const>(scores), s, place, (k + 0.5) / draws);
      share[static_cast<std::size_t>(drawn.token)] += 1.0 / draws;
    }
    for (std::size_t i = 0; i < share.size(); ++i) {
      double const expected = c.at("probabilities")[i].get<double>();
      CHECK(std::abs(share[i] - expected) < 2.0 / draws);
    }
  }
}

TEST_CASE("A drawn token's log-probability is that of the model, whatever the rules", "[generation]") {
  std::vector<float> const logits{3, 2, 1};
  sampling_settings s;
  s.temperature = 0;
  s.rules.suppress = {0};
  auto const drawn = draw_token(std::span<float const>(logits), s, decoding_place{}, 0);
  CHECK(drawn.token == 1);
  CHECK(std::abs(drawn.logp - (2 - std::log(std::exp(3) + std::exp(2) + std::exp(1)))) < 1e-6);
  s.rules.suppress = {0, 1, 2};
  CHECK(draw_token(std::span<float const>(logits), s, decoding_place{}, 0).token == 0);
}

TEST_CASE("A null setting of generation_config is an absent one, an odd one is refused by name, and what is not applied is told", "[generation]") {
  json every = json::object();
  for (char const* const key : {"temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "do_sample", "repetition_penalty", "bad_words_ids", "suppress_tokens",
                                "forced_eos_token_id", "num_beams", "max_length", "sequence_bias", "exponential_decay_length_penalty"})
    every[key] = nullptr;
  generation_defaults const none = read_generation_config(every, "m");
  CHECK(none.further.rules.empty());
  CHECK(none.notes.empty());
  CHECK_FALSE(none.temperature.has_value());
  for (json const& bad : {json{{"top_p", 1.5}}, json{{"min_p", 1.5}}, json{{"temperature", -1}}, json{{"temperature", "hot"}}, json{{"top_k", 2.5}}, json{{"top_k", -2}},
                          json{{"repetition_penalty", 0}}, json{{"suppress_tokens", json::array({-1})}}, json{{"bad_words_ids", json::array({json::array()})}},
                          json{{"do_sample", 1}}, json{{"sequence_bias", json::object()}}, json{{"min_new_tokens", true}}, json{{"exponential_decay_length_penalty", 5}}}) {
    INFO(bad.dump());
    CHECK_THROWS_WITH(read_generation_config(bad, "m"), contains("m: " + bad.begin().key() + " of generation_config.json has to"));
  }
  CHECK(read_generation_config({{"top_k", -1}}, "m").top_k == std::size_t{0});
  CHECK(read_generation_config({{"top_k", 50.0}}, "m").top_k == std::size_t{50});
  CHECK_FALSE(read_generation_config({{"do_sample", false}, {"temperature", 0}, {"top_k", -5}}, "m").temperature.has_value());
  auto const told = read_generation_config({{"num_beams", 4}, {"stop_strings", "x"}, {"guidance_scale", 1}, {"penalty_alpha", 0.6}}, "m").notes;
  CHECK(told == std::vector<std::string>{"m: num_beams of generation_config.json is not applied: 4", "m: penalty_alpha of generation_config.json is not applied: 0.6",
                                         "m: stop_strings of generation_config.json is not applied: \"x\""});
}

TEST_CASE("A completion ends where generation_config says, and where there is no such file, where config says", "[generation]") {
  json const config{{"eos_token_id", 2}};
  CHECK(stop_tokens_of(config, nullptr, "m") == ids{2});
  CHECK(stop_tokens_of(config, json::object(), "m").empty());
  CHECK(stop_tokens_of(config, {{"eos_token_id", nullptr}}, "m").empty());
  CHECK(stop_tokens_of(config, {{"eos_token_id", json::array({2, 5})}}, "m") == ids{2, 5});
  CHECK_THROWS_WITH(stop_tokens_of(config, {{"eos_token_id", "x"}}, "m"), contains("eos_token_id is neither an integer nor a list"));
}
