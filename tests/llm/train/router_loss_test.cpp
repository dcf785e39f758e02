// SPDX-License-Identifier: Apache-2.0

// The auxiliary loss of mixtures of experts: against TRL step by step (tests/golden/make_experts.py), and against itself.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/sft.hpp>

#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"
#include "support/tiny_runs.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::lines;
using kedge::testing::read_json;
using kedge::testing::four_steps;
using kedge::testing::scratch_folder;
using kedge::testing::WithinAbs;

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

template <class Settings>
Settings settings_for(fs::path const& output, char const* model = "experts") {
  return four_steps<Settings>(output, model);
}

std::vector<json> train(training_settings const& s) {
  static_cast<void>(train_preferences(s, {}));
  return lines(s.output_dir / "metrics.jsonl");
}

std::vector<json> train(sft_settings const& s) {
  static_cast<void>(train_sft(s));
  return lines(s.output_dir / "metrics.jsonl");
}

training_settings preferences(fs::path const& output, char const* model = "experts") {
  auto s = settings_for<training_settings>(output, model);
  s.dataset = {tiny / "pairs.jsonl"};
  return s;
}

sft_settings demonstrations(fs::path const& folder) {
  auto s = settings_for<sft_settings>(folder / "sft");
  s.dataset = folder / "demonstrations.jsonl";
  std::ofstream out(s.dataset);
  for (json const& pair : lines(tiny / "pairs.jsonl")) out << json{{"prompt", pair.at("prompt")}, {"completion", pair.at("chosen")}}.dump() << '\n';
  return s;
}

void check_steps(std::vector<json> const& got, json const& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("step " << i + 1 << ": " << got[i].dump() << " against " << expected[i].dump());
    CHECK_THAT(got[i].at("loss").get<double>(), WithinAbs(expected[i].at("loss").get<double>(), 2e-5));
    double const norm = expected[i].at("grad_norm").get<double>();
    CHECK_THAT(got[i].at("grad_norm").get<double>(), WithinAbs(norm, 2e-4 * norm));
    REQUIRE(got[i].contains("aux_loss") == expected[i].contains("aux_loss"));
    if (expected[i].contains("aux_loss")) CHECK_THAT(got[i].at("aux_loss").get<double>(), WithinAbs(expected[i].at("aux_loss").get<double>(), 1e-4));
  }
}

}  // namespace

TEST_CASE("the router's auxiliary loss is added and reported as TRL does in sft and dpo", "[golden]") {
  json const golden = read_json(tiny / "trl_experts.json");
  for (char const* method : {"sft", "dpo"})
    for (auto const& [name, run] : golden.at(method).items()) {
      INFO(method << ": " << name);
      scratch_folder const folder;
      json const given = run.at("settings").value("router_aux_loss_coef", json());
      auto const coefficient = given.is_null() ? std::optional<double>() : given.get<double>();
      if (std::string(method) == "sft") {
        sft_settings s = demonstrations(folder.path());
        s.router_aux_loss_coef = coefficient;
        check_steps(train(s), run.at("steps"));
      } else {
        training_settings s = preferences(folder / "dpo");
        s.router_aux_loss_coef = coefficient;
        check_steps(train(s), run.at("steps"));
      }
    }
}

TEST_CASE("the router's auxiliary loss is that of the whole step however it is cut", "[lm]") {
  scratch_folder const folder;
  training_settings whole = preferences(folder / "whole"), cut = preferences(folder / "cut");
  whole.router_aux_loss_coef = cut.router_aux_loss_coef = 0.5;
  cut.compute.micro_batch_tokens = 1;
  std::vector<json> const one = train(whole), four = train(cut);
  REQUIRE(one.size() == four.size());
  for (std::size_t i = 0; i < one.size(); ++i)
    for (char const* name : {"loss", "aux_loss", "grad_norm"})
      CHECK_THAT(four[i].at(name).get<double>(), WithinAbs(one[i].at(name).get<double>(), 1e-5 * std::abs(one[i].at(name).get<double>())));
}

TEST_CASE("a weight of the router's loss is refused for a model without experts", "[config]") {
  scratch_folder const folder;
  training_settings s = preferences(folder / "dense", "tied");
  s.router_aux_loss_coef = 0.1;
  CHECK_THROWS_WITH(train(s), contains("--router_aux_loss_coef: no layer of the model has experts"));
}
