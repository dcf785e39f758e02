// SPDX-License-Identifier: Apache-2.0

// The example judges, and the tiny language with its exact reward.

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/judge.hpp>
#include <kedge/llm/train/sft.hpp>

#include "../examples/on_policy/planes.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;
using json = nlohmann::ordered_json;

namespace {

std::string python_judge(std::string const& name) { return "python3 '" + std::string(KEDGE_PROJECT_DIR) + "/examples/judges/" + name; }

std::vector<json> lines_of(std::string const& command) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  std::array<char, 4096> buffer{};
  while (std::size_t const n = std::fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  REQUIRE(pclose(pipe) == 0);
  std::vector<json> all;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) all.push_back(json::parse(text.substr(at, end - at)));
  return all;
}

std::string const grammar = "'" + std::string(KEDGE_GRAMMAR) + "' ";

}  // namespace

TEST_CASE("the judge by length rewards the wanted number of words", "[examples]") {
  judge by_length({.command = python_judge("length.py' 4")});
  CHECK(by_length.score(std::vector<judged>{{"p", "one two three four"}, {"p", "one"}, {"p", ""}, {"p", "1 2 3 4 5"}, {"p", "1 2 3 4 5 6 7 8 9"}}) ==
        std::vector<double>{1, 0.25, 0, 0.75, 0});
  judge wrong({.command = python_judge("length.py' many 2> /dev/null")});
  CHECK_THROWS_WITH(wrong.score(std::vector<judged>{{"p", "one"}}), contains("exited with status 1"));
}

TEST_CASE("the judge by pattern rewards where it is found", "[examples]") {
  judge by_pattern({.command = python_judge("pattern.py' '[.!?]$'")});
  CHECK(by_pattern.score(std::vector<judged>{{"p", "So."}, {"p", "So. And"}, {"p", "caf\u00e9!"}}) == std::vector<double>{1, 0, 1});
}

TEST_CASE("the judge by sentiment gives the scores of the example data", "[examples][model]") {
  judge vader({.command = python_judge("vader.py'")});
  auto const pairs = lines_of("head -n 20 '" + std::string(KEDGE_PROJECT_DIR) + "/examples/data/sentiment-test.jsonl'");
  std::vector<judged> asked;
  std::vector<double> scores;
  for (json const& pair : pairs)
    for (std::string const side : {"chosen", "rejected"}) {
      asked.push_back({pair.at("prompt"), pair.at(side).at(0).at("content").get<std::string>()});
      scores.push_back(pair.at("score_" + side).get<double>());
    }
  REQUIRE(scores.size() == 40);
  CHECK(vader.score(asked) == scores);
}

TEST_CASE("the tiny language's reward is what its definition says", "[examples]") {
  judge exact({.command = grammar + "judge"});
  std::string const boat = "tell me of the boat :", boats = "tell me of the boats :";
  struct known {
    std::string prompt, completion;
    double reward;
  };
  std::vector<known> const table{
      {boat, " it is warm .", 1},
      {boats, " they are very warm .", 1.5},
      {boats, " they are rather cold .", -0.5},
      {boat, " it is not grim .", 1},
      {boat, " it is old .", 0},
      {boat, " it is very warm and it is very warm .", 1.25},             // said twice, paid once, and priced as two clauses
      {boat, "it is very warm but it is very kind.", 2.75},               // spaces are of no account
      {boat, " it is very warm and it is very kind and it is very calm .", 3.5},
      {boat, " it is very warm and it is very kind and it is very calm and it is very bright .", 3.75},
      {boat, " it is very warm and it is very kind and it is very calm and it is very bright and it is very lovely .", 3.5},
      {boats, " it is warm .", -3},
      {boat, " they are warm .", -3},
      {boat, " it is warm", -3},
      {boat, " it is warm . it is kind .", -3},
      {boat, " it is very .", -3},
      {boat, " it is very not warm .", -3},
      {boat, " it is warm and .", -3},
      {boat, "", -3},
      {boat, " gibberish", -3},
  };
  for (known const& k : table) {
    INFO(k.prompt << k.completion);
    CHECK(exact.score(std::vector<judged>{{k.prompt, k.completion}}) == std::vector<double>{k.reward});
  }
  judge stranger({.command = grammar + "judge 2> /dev/null"});
  CHECK_THROWS_WITH(stranger.score(std::vector<judged>{{"Hello!", "Hello."}}), contains("exited with status 1"));
}

TEST_CASE("the tiny language's data, rewards and exact optimum agree", "[examples]") {
  auto const sentences = lines_of(grammar + "sentences --count 4000 --seed 5");
  REQUIRE(sentences.size() == 4000);
  CHECK(sentences == lines_of(grammar + "sentences --count 4000 --seed 5"));
  CHECK(sentences != lines_of(grammar + "sentences --count 4000 --seed 6"));
  std::vector<judged> asked;
  double sum = 0, squares = 0, tilted = 0, tilted_sum = 0;
  for (json const& line : sentences) {
    asked.push_back({line.at("prompt"), line.at("completion").get<std::string>()});
    auto const score = line.at("score").get<double>();
    sum += score;
    squares += score * score;
    tilted += std::exp(score / 4);
    tilted_sum += std::exp(score / 4) * score;
  }
  judge exact({.command = grammar + "judge"});
  std::vector<double> const scores = exact.score(asked);
  for (std::size_t i = 0; i < scores.size(); ++i) CHECK(scores[i] == sentences[i].at("score").get<double>());
  auto const frontier = lines_of(grammar + "frontier --beta 1e9 4 0.01");
  double const mean = sum / 4000, error = std::sqrt((squares / 4000 - mean * mean) / 4000);
  CHECK(std::abs(frontier[0].at("reward").get<double>() - mean) < 4 * error);
  CHECK(std::abs(frontier[0].at("kl").get<double>()) < 1e-9);
  CHECK(std::abs(frontier[1].at("reward").get<double>() - tilted_sum / tilted) < 4 * error);
  CHECK(std::abs(frontier[1].at("kl").get<double>() - (tilted_sum / tilted / 4 - std::log(tilted / 4000))) < error);
  CHECK(std::abs(frontier[2].at("reward").get<double>() - 3.75) < 1e-3);
  for (json const& pair : lines_of(grammar + "pairs --count 500 --seed 5"))
    CHECK(pair.at("score_chosen").get<double>() > pair.at("score_rejected").get<double>());
  CHECK(lines_of(grammar + "prompts").size() == 96);
}

TEST_CASE("averages of one, two and three models are compared by seed", "[examples]") {
  using namespace kedge_on_policy;
  // Corners 0, 1 and 2 above a seed's level; averages of two 2, 3 and 4 above; of three, `center` above; one soup between that counts nowhere.
  auto const seed = [](double level, double center) {
    json points = json::array();
    auto const add = [&](std::vector<double> const& weights, double reward) {
      points.push_back({{"weights", weights}, {"reward", level + reward}, {"reward_stderr", 0.5}});
    };
    add({1, 0, 0}, 0), add({0.5, 0.5, 0}, 2), add({0, 1, 0}, 1), add({0, 0, 1}, 2), add({0.5, 0, 0.5}, 3), add({0, 0.5, 0.5}, 4);
    add({1. / 3, 1. / 3, 1. / 3}, center), add({2. / 3, 1. / 6, 1. / 6}, 100);
    return points;
  };
  planes const both = planes_of({seed(10, 4), seed(20, 6)}), one = planes_of({seed(10, 4)});
  estimate const pairs = difference_of_averages(both, 2, 1), all = difference_of_averages(both, 3, 1);
  CHECK(pairs.mean == 2);
  CHECK(pairs.half_width == 0);
  CHECK(all.mean == 4);
  CHECK(std::abs(all.half_width - 12.7062) < 1e-4);  // Student's t with one degree of freedom; the standard error is 1
  CHECK(difference_of_averages(both, 3, 2).mean == 2);
  CHECK(std::isnan(difference_of_averages(one, 3, 2).half_width));
  CHECK(mean_plane(both)[6].evaluation.reward == 20);
  CHECK(std::abs(mean_plane(both)[6].evaluation.reward_stderr - 6) < 1e-12);
  CHECK(mean_plane(one)[6].evaluation.reward_stderr == 0.5);
  auto const line = line_plot(both);
  REQUIRE(line.curves.size() == 3);
  CHECK(line.curves[0].x == std::vector<double>{0, 0.5, 1});
  CHECK(line.curves[0].y == std::vector<double>{15, 17, 16});
}

TEST_CASE("a small model learns the tiny language from random numbers", "[examples]") {
  scratch_folder const folder;
  lines_of(grammar + "model --output_dir '" + (folder / "tiny").string() + "' --hidden_size 64 --layers 2");
  lines_of(grammar + "sentences --count 6400 --seed 1 > '" + (folder / "train.jsonl").string() + "'");
  lines_of(grammar + "sentences --count 300 --seed 2 > '" + (folder / "test.jsonl").string() + "'");
  sft_settings s;
  s.config_name = folder / "tiny";
  s.dataset = folder / "train.jsonl";
  s.eval_dataset = folder / "test.jsonl";
  s.output_dir = folder / "sft";
  s.compute.dtype = compute_type::float32;
  s.compute.threads = 1;
  s.compute.micro_batch_tokens = 2048;
  s.per_device_train_batch_size = 64;
  s.learning_rate = 5e-3;
  s.num_train_epochs = 1;
  s.save_steps = 0;
  s.quiet = true;
  one_round_result const result = train_sft(s);
  // A sentence has 10.18 nats and 10.2 tokens on average: nobody can do better than 0.998 a token, but for the luck of 300 sentences.
  double const loss = result.evaluations.at(1).at("eval_loss").get<double>();
  CHECK(loss < 1.1);
  CHECK(loss > 0.95);
}
