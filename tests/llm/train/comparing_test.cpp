// SPDX-License-Identifier: Apache-2.0

// Two models compared: what they answer is what `kedge generate` writes, the KL is transformers' exact one, and figures are counted by hand.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/comparing.hpp>

#include "llm/train/counting_judge.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using Catch::Matchers::WithinAbs;
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";
std::string const indifferent = R"(sed -u 's/.*/{"score": 0}/')";

compare_settings compare(char const* a, char const* b, std::string const& judge) {
  compare_settings s;
  s.generate.model = tiny / a;
  s.other = tiny / b;
  s.generate.prompts = tiny / "pairs.jsonl";
  s.generate.compute.dtype = compute_type::float32;
  s.generate.compute.threads = 1;
  s.generate.max_new_tokens = 6;
  s.rewards.judge = judge;
  return s;
}

// What kedge generate writes.
std::vector<json> generated(generate_settings settings, fs::path const& model) {
  settings.model = model;
  std::vector<json> all;
  (void)generate_completions(settings, [&](std::string_view line) { all.push_back(json::parse(line)); });
  return all;
}

// The counting judge's answer.
double letters(json const& prompt, std::string const& completion) {
  std::string const question = json{{"prompt", prompt}, {"completion", completion}}.dump();
  return static_cast<double>(std::count(question.begin(), question.end(), 'e'));
}

compared_prompt with(char const* prompt, answers a, answers b, double log_ratio = 0) {
  return {prompt, std::move(a), std::move(b), log_ratio};
}

}  // namespace

TEST_CASE("a model compared with itself wins half and is at no distance", "[compare]") {
  compare_settings s = compare("untied", "untied", judge_command);
  s.generate.num_samples = 2;
  s.generate.max_samples = 3;
  auto const compared = compare_models(s);
  REQUIRE(compared);
  CHECK(compared->no_kl.empty());
  for (compared_prompt const& p : compared->prompts) {
    CHECK(p.a.texts == p.b.texts);
    CHECK(p.log_ratio == 0);
  }
  comparison_figures const f = figures_of(*compared);
  CHECK(f.win_rate.value == 0.5);
  CHECK_THAT(f.controlled.rate.value, WithinAbs(0.5, 1e-12));
  CHECK(f.gain.value == 0);
  REQUIRE(f.kl);
  CHECK(f.kl->value == 0);
}

TEST_CASE("the KL by B's answers is the exact one", "[compare]") {
  json const golden = read_json(tiny / "compare.json");
  compare_settings s = compare("tied", "untied", indifferent);
  s.generate.max_new_tokens = golden.at("max_new_tokens").get<std::size_t>();
  s.generate.num_samples = 100;
  auto const compared = compare_models(s);
  REQUIRE(compared);
  comparison_figures const f = figures_of(*compared);
  double kl = 0, tokens = 0, squares = 0;
  auto const exact = golden.at("kl").get<std::vector<double>>(), lengths = golden.at("tokens").get<std::vector<double>>();
  REQUIRE(compared->prompts.size() == exact.size());
  auto const m = static_cast<double>(exact.size());
  for (std::size_t i = 0; i < exact.size(); ++i) {
    kl += exact[i] / m;
    tokens += lengths[i] / m;
    double const off = compared->prompts[i].log_ratio / 100 - exact[i];
    squares += off * off;
  }
  double const error = std::sqrt(squares) / m;  // of the mean, whose prompts are fixed
  REQUIRE(f.kl);
  CHECK(error < 0.1);
  CHECK_THAT(f.kl->value, WithinAbs(kl, 4 * error));
  CHECK_THAT(f.kl_token->value, WithinAbs(kl / tokens, 4 * error / tokens));
  CHECK_THAT(f.tokens.b.value, WithinAbs(tokens, 0.005));
}

TEST_CASE("answers are those of generate and rewards those of the judge", "[compare]") {
  compare_settings s = compare("tied", "untied", judge_command);
  s.generate.num_samples = 2;
  s.generate.max_samples = 4;
  auto const compared = compare_models(s);
  REQUIRE(compared);
  std::vector<json> const a = generated(s.generate, tiny / "tied"), b = generated(s.generate, tiny / "untied");
  REQUIRE(compared->prompts.size() == 4);
  double wins = 0, reward_b = 0, tokens_a = 0, finished_b = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    compared_prompt const& p = compared->prompts[i];
    for (std::size_t k = 0; k < 2; ++k) {
      CHECK(p.a.texts[k] == a[2 * i + k]["completion"].get<std::string>());
      CHECK(p.b.texts[k] == b[2 * i + k]["completion"].get<std::string>());
      CHECK(p.b.rewards[k] == letters(p.prompt, p.b.texts[k]));
      reward_b += p.b.rewards[k] / 8;
      tokens_a += a[2 * i + k]["tokens"].get<double>() / 8;
      finished_b += b[2 * i + k]["finished"].get<bool>() ? 0.125 : 0;
      for (std::size_t l = 0; l < 2; ++l) {
        double const x = letters(p.prompt, p.a.texts[l]), y = letters(p.prompt, p.b.texts[k]);
        wins += y > x ? 1 : y == x ? 0.5 : 0;
      }
    }
  }
  comparison_figures const f = figures_of(*compared);
  CHECK_THAT(f.win_rate.value, WithinAbs(wins / 16, 1e-12));
  CHECK_THAT(f.reward.b.value, WithinAbs(reward_b, 1e-12));
  CHECK_THAT(f.tokens.a.value, WithinAbs(tokens_a, 1e-12));
  CHECK_THAT(f.finished.b.value, WithinAbs(finished_b, 1e-12));
}

TEST_CASE("there is no KL by answers that are not drawn from the model itself", "[compare]") {
  compare_settings s = compare("tied", "untied", indifferent);
  s.generate.temperature = 0.5;
  s.generate.max_samples = 2;
  auto const compared = compare_models(s);
  REQUIRE(compared);
  CHECK_THAT(compared->no_kl, contains("--temperature 1"));
  json const report = as_json(*compared, s);
  CHECK(report.at("kl").is_null());
  CHECK(report.at("kl_per_token").is_null());
  CHECK_THAT(as_table(*compared, s), contains("none: " + compared->no_kl));
}

TEST_CASE("a comparison needs one who rewards", "[compare]") {
  compare_settings s = compare("tied", "untied", "");
  CHECK_THROWS_WITH(compare_models(s), contains("who rewards?"));
}

TEST_CASE("a report shows the prompts that differ most and counts characters", "[compare]") {
  comparison compared;
  compared.prompts.push_back(with("one", {{"\xc3\xa4\xe2\x82\xac"}, {1}, 3, 1}, {{"abcd"}, {1.5}, 4, 0}, 2));
  compared.prompts.push_back(with("two", {{"x", "far"}, {0, 10}, 2, 2}, {{"yy", "zz"}, {1, 2}, 6, 1}, -1));
  compare_settings s;
  s.generate.model = "/models/a";
  s.other = "/models/b";
  s.examples = 1;
  json const report = as_json(compared, s);
  CHECK(report.at("a") == "/models/a");
  // One: 1 of 1. Two: 1 > 0, 2 > 0, 1 < 10, 2 < 10.
  CHECK(report.at("win_rate").at("value") == 0.75);
  CHECK(report.at("reward").at("a").at("value") == 3);
  CHECK(report.at("reward").at("difference").at("value") == (0.5 - 3.5) / 2);
  CHECK(report.at("length").at("a").at("value") == 2);
  CHECK(report.at("length").at("b").at("value") == 3);
  CHECK(report.at("finished").at("b").at("value") == 0.25);
  CHECK(report.at("kl_per_token").at("value") == 0.1);
  CHECK(report.at("kl").at("value") == (2 - 0.5) / 2);
  REQUIRE(report.at("examples").size() == 1);
  CHECK(report.at("examples")[0] == json{{"prompt", "two"}, {"reward_a", 5.0}, {"reward_b", 1.5}, {"a", "x"}, {"b", "yy"}});
  CHECK_THAT(as_table(compared, s), contains("A        5  x"));
}
