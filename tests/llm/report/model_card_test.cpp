// SPDX-License-Identifier: Apache-2.0

// Model cards: the hub's YAML (read by yaml-cpp here, by huggingface_hub in tests/peers/report.sh), the base's licence, and files that are the user's own.

#include <filesystem>
#include <string>

#include <kedge/llm/report/model_card.hpp>

#include "../adapters/llm/src/base/yaml_value.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_file;
using kedge::testing::scratch_folder;
using kedge::testing::write_file;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

run_folder run_of(std::string const& method, bool adapter, std::string const& name = "aligned") {
  run_folder run;
  run.name = name;
  run.facts = {{"kedge", "1"},
               {"about", {{"method", method}, {"examples_are", "pairs"}, {"model", {{"name", "SmolLM2"}, {"adapter", adapter}}}}},
               {"settings", {{"dataset", {"/home/ann/.cache/huggingface/hub/datasets--trl-lib--ultrafeedback_binarized/snapshots/1/train.jsonl"}}, {"eval_dataset", "/home/ann/held-out.jsonl"}, {"learning_rate", 2e-5}}},
               {"defaults", {{"learning_rate", 1e-6}, {"dataset", json::array()}}}};
  run.figures = {{"eval_loss", {0, 4}, {0.6931, 0.6}}, {"eval_rewards/accuracies", {0, 4}, {0, 0.75}}};
  return run;
}

yaml_value yaml_of(std::string const& card) {
  auto const end = card.find("\n---\n", 3);
  REQUIRE(card.starts_with("---\n"));
  REQUIRE(end != std::string::npos);
  return parse_yaml(card.substr(4, end - 3), "card").root;
}

std::vector<std::string> texts(yaml_value const& list) {
  std::vector<std::string> all;
  for (yaml_value const& one : list.items) all.push_back(one.text);
  return all;
}

}  // namespace

TEST_CASE("a card says in the hubs words what a model is", "[report]") {
  std::string const card = model_card(run_of("apo", false), {.id = "HuggingFaceTB/SmolLM2-135M-Instruct", .license = "apache-2.0", .license_name = {}, .license_link = {}});
  yaml_value const yaml = yaml_of(card);
  CHECK(yaml["base_model"].text == "HuggingFaceTB/SmolLM2-135M-Instruct");
  CHECK(yaml["base_model_relation"].text == "finetune");
  CHECK(yaml["library_name"].text == "transformers");
  CHECK(yaml["license"].text == "apache-2.0");
  CHECK(yaml["pipeline_tag"].text == "text-generation");
  CHECK(texts(yaml["datasets"]) == std::vector<std::string>{"trl-lib/ultrafeedback_binarized"});
  CHECK(texts(yaml["tags"]) == std::vector<std::string>{"generated_from_trainer", "kedge", "dpo", "accelerated-preference-optimization"});
  yaml_value const& result = yaml["model-index"].items.at(0)["results"].items.at(0);
  CHECK(result["dataset"]["name"].text == "held-out.jsonl");
  CHECK(result["metrics"].items.at(1)["type"].text == "accuracy");
  CHECK(result["metrics"].items.at(1)["value"].number == 0.75);
  CHECK(card.find("/home/ann") == std::string::npos);  // a card is published
  CHECK(card.find("| `learning_rate` | 2e-5 |") != std::string::npos);
  CHECK(card.find("| Held-out accuracy | 0 | 0.75 |") != std::string::npos);
}

TEST_CASE("a card of an adapter, and of a reward model, says so", "[report]") {
  yaml_value const adapter = yaml_of(model_card(run_of("dpo", true), {.id = "a/b", .license = {}, .license_name = {}, .license_link = {}}));
  CHECK(adapter["library_name"].text == "peft");
  CHECK(adapter["base_model_relation"].text == "adapter");
  CHECK(texts(adapter["tags"]) == std::vector<std::string>{"generated_from_trainer", "kedge", "dpo", "lora"});
  std::string const card = model_card(run_of("reward", false), {});
  CHECK(yaml_of(card)["pipeline_tag"].text == "text-classification");
  CHECK(yaml_of(card)["base_model"].is_null());
  CHECK(card.find("licence of the base model is not known") != std::string::npos);
}

TEST_CASE("names that YAML or Markdown would read as something else stay texts", "[report]") {
  for (std::string const name : {"true", "1.5", "a: b", "- x", "null", "\"quoted\" & <b>", "x\n---\nlicense: mit", "[link](y)", "日本"}) {
    INFO(name);
    std::string const card = model_card(run_of("sft", false, name), {});
    yaml_value const yaml = yaml_of(card);
    CHECK(yaml["model_name"].text == name);
    CHECK(yaml["model_name"].kind == yaml_kind::text);
    CHECK(yaml["license"].is_null());
  }
}

TEST_CASE("a base is known by its card, its config, its place in the cache, or its adapters base", "[report]") {
  scratch_folder const folder;
  CHECK(read_base_card(folder.path()).license.empty());
  write_file(folder / "README.md", "---\nlicense: other\nlicense_name: 'llama3'\nlicense_link: LICENSE\ntags:\n- x\n---\n# Llama\nlicense: mit\n");
  write_file(folder / "config.json", R"({"_name_or_path": "meta-llama/Llama-3"})");
  base_card const base = read_base_card(folder.path());
  CHECK(base.id == "meta-llama/Llama-3");
  CHECK(base.license == "other");
  CHECK(base.license_name == "llama3");
  CHECK(base.license_link == "LICENSE");
  write_file(folder / "adapter_config.json", R"({"base_model_name_or_path": "org/base"})");
  CHECK(read_base_card(folder.path()).id == "org/base");
  write_file(folder / "README.md", "# no YAML\nlicense: mit\n");
  CHECK(read_base_card(folder.path()).license.empty());
  write_file(folder / "README.md", "---\nlicense: [unclosed\n---\n");
  CHECK(read_base_card(folder.path()).license.empty());
  for (char const* const name : {"/models/x", "../x", "a/b/c", "plain", "a b/c", "./a"}) {
    write_file(folder / "adapter_config.json", json{{"base_model_name_or_path", name}}.dump());
    write_file(folder / "config.json", "{}");
    CHECK(read_base_card(folder.path()).id.empty());
  }
  fs::path const snapshot = folder / "models--org--name" / "snapshots" / "abc";
  fs::create_directories(snapshot);
  CHECK(read_base_card(snapshot).id == "org/name");
}

TEST_CASE("a README of the users own is never overwritten", "[report]") {
  scratch_folder const folder;
  CHECK(write_model_card(folder.path(), "one\n").filename() == "README.md");
  CHECK(write_model_card(folder.path(), "two\n").filename() == "README.md");  // its own it renews
  std::string const card = read_file(folder / "README.md");
  CHECK(card.starts_with("two\n"));
  write_file(folder / "README.md", "My words. " + card);
  CHECK(write_model_card(folder.path(), "three\n").filename() == "README.kedge.md");
  CHECK(read_file(folder / "README.md") == "My words. " + card);
  write_file(folder / "README.md", card + "My words.\n");
  CHECK(write_model_card(folder.path(), "four\n").filename() == "README.kedge.md");
  CHECK(read_file(folder / "README.kedge.md").starts_with("four\n"));
  write_file(folder / "README.md", "My words.\n");
  CHECK(write_model_card(folder.path(), "five\n").filename() == "README.kedge.md");
  CHECK(read_file(folder / "README.md") == "My words.\n");
}
