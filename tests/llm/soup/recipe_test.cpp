// SPDX-License-Identifier: Apache-2.0

// What a recipe may say, what is told, and what is refused with its line.

#include <algorithm>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/soup/recipe.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;

namespace {

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden";
std::string const tiny = (golden / "tiny/tied").string();
std::string const model = "models: [{model: " + tiny + "}]\n";

soup_recipe recipe_of(scratch_folder const& folder, std::string const& text) {
  write_file(folder / "r.yml", text);
  return read_recipe(folder / "r.yml");
}

}  // namespace

TEST_CASE("what a recipe cannot say is named with its line", "[soup]") {
  scratch_folder const folder;
  auto const refuse = [&](std::string const& text, std::string const& what) {
    INFO(text);
    CHECK_THROWS_WITH(recipe_of(folder, text), contains(what) && contains("r.yml'"));
  };
  refuse("[", "not valid YAML");
  refuse("just text", "a recipe is a mapping");
  refuse(model, "merge_method is missing");
  refuse("merge_method: stew\n" + model, "line 1: there is no merge method 'stew'");
  refuse("merge_method: greedy\n" + model, "--evaluate");
  refuse("merge_method: linear\n", "either models or slices");
  refuse("merge_method: linear\nmodules: {text: {}, vision: {}}\n", "line 2: modules of several parts");
  refuse("merge_method: linear\n" + model + "modules: {default: {}}\n", "models, slices or modules, one of them");
  refuse("merge_method: linear\n" + model + "parameters: {weight: heavy}\n", "weight should be a finite number");
  refuse("merge_method: linear\n" + model + "parameters: {weight: .nan}\n", "weight should be a finite number");
  refuse("merge_method: linear\n" + model + "parameters: {normalize: 2}\n", "normalize should be true or false");
  refuse("merge_method: karcher\n" + model + "parameters: {max_iter: 1.5}\n", "whole number");
  refuse("merge_method: linear\n" + model + "parameters: {weight: [{filter: mlp, value: 1}, 2]}\n", "mixes numbers and filters");
  refuse("merge_method: linear\n" + model + "parameters: {weight: [{filter: mlp}]}\n", "a filter without value");
  refuse("merge_method: linear\n" + model + "dtype: int8\n", "'int8' is not supported");
  refuse("merge_method: linear\n" + model + "tokenizer_source: base\ntokenizer: {source: union}\n", "either tokenizer or tokenizer_source");
  refuse("merge_method: linear\n" + model + "tokenizer: {tokens: {x: {source: {kind: one}}}}\n", "no source of kind 'one'");
  refuse("merge_method: linear\n" + model + "tokenizer: {tokens: {x: {source: {kind: model_token, model: " + tiny + "}}}}\n", "either token or token_id");
  refuse("merge_method: linear\n" + model + "tokenizer_source: nowhere\n", "line 3: no model at 'nowhere'");
  refuse("merge_method: linear\n" + model + "chat_template: grunt\n", "neither a template nor a name");
  refuse("merge_method: linear\nmodels: [{model: nowhere/at-all}]\n", "no model at 'nowhere/at-all'");
  refuse("merge_method: linear\nmodels: [{model: nowhere+lora}]\n", "no model at 'nowhere'");
  refuse("merge_method: linear\nmodels: [{model: {model: {path: " + tiny + "}, lora: y}}]\n", "no model at 'y'");
  refuse("merge_method: linear\nmodels: [{model: " + tiny + "+" + tiny + "}]\n", "holds no adapter_config.json");
  refuse("merge_method: linear\nmodels:\n- {model: " + tiny + "}\n- {model: " + tiny + "}\n", "line 4: the model");
  refuse("merge_method: slerp\nslices:\n- sources:\n  - {model: " + tiny + ", layer_range: [0, 2]}\n  - {model: " + tiny + "/., layer_range: [0, 1]}\n", "equally many layers");
  refuse("merge_method: slerp\nslices: [{sources: [{model: " + tiny + ", layer_range: [2, 1]}]}]\n", "is empty");
  refuse("merge_method: slerp\nslices: [{sources: [{model: " + tiny + "}]}]\n", "layer_range should be");
}

TEST_CASE("keys of a recipe that mean nothing are told with their line and passed over", "[soup]") {
  scratch_folder const folder;
  auto const notes = [&](std::string const& text) {
    std::string all;
    for (auto const& note : recipe_of(folder, text).notes) all += note + "\n";
    INFO(text << all);
    return all;
  };
  std::string const start = "merge_method: linear\n" + model;
  CHECK_THAT(notes("name: mine\n" + start), contains("line 1: 'name' is no key of a recipe and is passed over\n"));
  CHECK_THAT(notes(start + "normalize: true\n"), contains("line 3: 'normalize' is no key of a recipe and is passed over; it is a parameter, and belongs under parameters"));
  CHECK_THAT(notes(start + "dtyp: float16\n"), contains("the nearest is 'dtype'"));
  CHECK_THAT(notes(start + "parameters: {waight: 1}\n"), contains("line 3: 'waight' has no effect on linear; the nearest parameter is 'weight'"));
  CHECK_THAT(notes(start + "parameters: {t: 1}\n"), contains("'t' has no effect on linear"));
  CHECK_THAT(notes(start + "dtype: float32\ndtype: float16\n"), contains("line 4: 'dtype' appears twice"));
  CHECK_THAT(notes("merge_method: linear\nmodels:\n- model: " + tiny + "\n  layer_range: [0, 1]\n"), contains("line 4: 'layer_range' has no effect in an entry of models"));
  CHECK_THAT(notes("merge_method: linear\nmodels: [{model: {model: {path: " + tiny + ", revision: main}}}]\n"), contains("'revision' has no effect in a model"));
  CHECK_THAT(notes("merge_method: linear\nmodels: [{model: " + tiny + "@main}]\n"), contains("line 2: '@main' has no effect on a folder"));
  CHECK_THAT(notes(start + "parameters: {weight: [{filter: mlp, value: 1, note: x}]}\n"), contains("'note' is no key of a filter"));
  CHECK(notes(start + "dtype: null\ntokenizer:\nslices:\nparameters:\nbase_model: ~\nmodules: {}\n").empty());
}

TEST_CASE("a recipe holds what PyYAML reads in it", "[soup]") {
  scratch_folder const folder;
  auto const weight = [&](std::string const& text) {
    auto const recipe = recipe_of(folder, "merge_method: linear\n" + model + "parameters: {weight: " + text + "}\n");
    return recipe.parameters.at("weight").front().values.front();
  };
  CHECK(weight("0x1") == 1);
  CHECK(weight("1_0") == 10);
  CHECK(weight("010") == 8);
  CHECK(weight("1:30") == 90);
  CHECK(weight("+.5") == 0.5);
  CHECK(weight("1e-1") == 0.1);
  CHECK(weight("'0.1'") == 0.1);
  CHECK(weight("yes") == 1);
  auto const truth = [&](std::string const& text) {
    return recipe_of(folder, "merge_method: linear\n" + model + "parameters: {normalize: " + text + "}\n").parameters.at("normalize").front().values.front();
  };
  for (char const* const yes : {"true", "on", "1", "1.0", "'yes'", "'T'"}) CHECK(truth(yes) == 1);
  for (char const* const no : {"no", "Off", "0", "'n'"}) CHECK(truth(no) == 0);
  auto const anchored = recipe_of(folder, "merge_method: linear\nshared: &p {weight: 0.25}\nmodels:\n- {model: " + tiny + ", parameters: *p}\n");
  CHECK(anchored.slices[0].sources[0].parameters.at("weight")[0].values[0] == 0.25);
  auto const module = recipe_of(folder, "merge_method: linear\nparameters: {weight: 1}\nmodules:\n  default: {parameters: {weight: [{filter: mlp, value: 2}]}, models: [{model: " + tiny + "}]}\n");
  CHECK(evaluate(module.parameters, "weight", "a.mlp.b", 0) == 2);
  CHECK(evaluate(module.parameters, "weight", "a.norm", 0) == 1);
  CHECK(recipe_of(folder, "merge_method: linear\n" + model + "dtype: torch.float64\n").input_dtype == dtype::f64);
  CHECK(recipe_of(folder, "merge_method: linear\n" + model + "tokenizer_source: model:" + tiny + "\n").vocabulary.model == model_reference(tiny));
}

TEST_CASE("named chat templates render every conversation as mergekit's do", "[soup]") {
  auto const all = read_json_file(golden / "soup/templates.json");
  for (char const* const name : {"alpaca", "chatml", "exaone", "llama3", "mistral"}) {
    chat_template const own(named_chat_template(name).value());
    for (std::size_t i = 0; i < all["cases"].size(); ++i) {
      auto const& one = all["cases"][i];
      INFO(name << one.dump());
      auto const render = [&] { return own.render(one[0], one[1].get<bool>(), {{"bos_token", "<|begin|>"}, {"eos_token", "<|end|>"}}); };
      if (all[name][i].is_null())
        CHECK_THROWS_AS(render(), error);
      else
        CHECK(render() == all[name][i].get<std::string>());
    }
  }
  CHECK_FALSE(named_chat_template("auto").has_value());
}
