// SPDX-License-Identifier: Apache-2.0

// What soups are refused for, what a recipe may say, and what stands beside the weights.

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny/tied";

soup_settings to(fs::path const& folder) {
  soup_settings out;
  out.output_dir = folder;
  out.quiet = true;
  return out;
}

soup_recipe linear(std::vector<std::string> const& models, bool allow_unnormalized = false) {
  return make_recipe(soup_method::linear, models, {}, "", {}, allow_unnormalized);
}

/// A copy of the tiny model, its files changed by `change(name, content)`.
template <class F>
fs::path copy_of_tiny(fs::path const& folder, F const& change) {
  fs::create_directories(folder);
  for (char const* const name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}) {
    std::string content = read_file(tiny / name);
    change(std::string{name}, content);
    write_file(folder / name, content);
  }
  return folder;
}

fs::path with_config(fs::path const& folder, std::string const& key, json const& value) {
  return copy_of_tiny(folder, [&](std::string const& name, std::string& content) {
    if (name != "config.json") return;
    json config = json::parse(content);
    config[key] = value;
    content = config.dump();
  });
}

/// A model of bytes laid down as they are.
fs::path write_raw(fs::path const& folder, std::vector<tensor_to_write> const& tensors, json const& config = {{"model_type", "llama"}}) {
  fs::create_directories(folder);
  write_file(folder / "config.json", config.dump());
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  return folder;
}

std::span<std::byte const> bytes_of(std::vector<float> const& values) { return std::as_bytes(std::span{values}); }

std::string message_of(soup_recipe const& recipe, fs::path const& output) {
  try {
    make_soup(recipe, to(output));
  } catch (error const& why) {
    return why.what();
  }
  return "";
}

}  // namespace

TEST_CASE("models that disagree are refused with both names and both values", "[soup]") {
  scratch_folder const folder;
  auto const refused = [&](fs::path const& other, std::string const& what) {
    std::string const message = message_of(linear({tiny, other}), folder / "out");
    INFO(message);
    CHECK_THAT(message, contains(what));
    CHECK_THAT(message, contains("tied'"));
    CHECK_THAT(message, contains(other.filename().string()));
    CHECK(message.find('\n') == std::string::npos);
    CHECK_FALSE(fs::exists(folder / "out"));
  };
  refused(with_config(folder / "family", "model_type", "qwen2"), "model_type is \"llama\"");
  refused(fs::path(KEDGE_TESTS_DIR) / "golden/soup/a", "tensor 'model.embed_tokens.weight' is [320, ");
  CHECK_THROWS_WITH(make_soup(linear({tiny, folder / "none"}), to(folder / "out")), contains("no model at"));
}

TEST_CASE("settings that shapes don't tell may differ, and are told in a line a model", "[soup]") {
  scratch_folder const folder;
  auto const told = [&](fs::path const& other, bool crimes = false) {
    auto settings = to(folder / "never");
    settings.quiet = false;
    settings.allow_crimes = crimes;
    std::FILE* const file = std::fopen((folder / "told").c_str(), "w");
    settings.tells = screen(file);
    plan_soup(linear({tiny, other}), settings);
    std::fclose(file);
    return read_file(folder / "told");
  };
  CHECK_THAT(told(with_config(folder / "rope", "rope_parameters", {{"rope_theta", 5.0}, {"rope_type", "default"}})), contains("differ in rope_theta (10000.0 and 5.0); the result has the first's\n"));
  CHECK_THAT(told(with_config(folder / "scaled", "rope_parameters", {{"rope_theta", 10000.0}, {"rope_type", "linear"}, {"factor", 2.0}})), contains("the rope type (\"default\" and \"linear\")"));
  CHECK_THAT(told(with_config(folder / "heads", "num_attention_heads", 1)), contains("num_attention_heads"));
  CHECK_THAT(told(with_config(folder / "family", "model_type", "qwen2"), true), contains("merged all the same: model_type is"));
  CHECK(told(copy_of_tiny(folder / "twin", [](std::string const&, std::string&) {})).empty());
}

TEST_CASE("tensors that are missing or of other shapes are named with both models", "[soup]") {
  scratch_folder const folder;
  std::vector<float> const four(4, 1.0F);
  auto const a = write_raw(folder / "a", {{"model.layers.0.w", dtype::f32, {2, 2}, bytes_of(four)}, {"x", dtype::f32, {4}, bytes_of(four)}});
  auto const b = write_raw(folder / "b", {{"model.layers.0.w", dtype::f32, {4, 1}, bytes_of(four)}, {"x", dtype::f32, {4}, bytes_of(four)}});
  auto const c = write_raw(folder / "c", {{"model.layers.0.w", dtype::f32, {2, 2}, bytes_of(four)}});
  auto const d = write_raw(folder / "d", {{"model.layers.0.w", dtype::f32, {2, 2}, bytes_of(four)}, {"model.layers.0.v", dtype::f32, {4}, bytes_of(four)}, {"x", dtype::f32, {4}, bytes_of(four)}});
  auto const e = write_raw(folder / "e", {{"model.layers.1.w", dtype::f32, {2, 2}, bytes_of(four)}, {"x", dtype::f32, {4}, bytes_of(four)}});
  CHECK_THAT(message_of(linear({a, b}), folder / "out"), contains("is [2, 2] in '") && contains("but [4, 1] in"));
  CHECK_THAT(message_of(linear({a, c}), folder / "out"), contains("tensor 'x' is in") && contains("but not in"));
  CHECK_THAT(message_of(linear({c, a}), folder / "out"), contains("tensor 'x' is in"));
  CHECK_THAT(message_of(linear({a, d}), folder / "out"), contains("tensor 'model.layers.0.v' is in"));
  CHECK_THAT(message_of(linear({d, a}), folder / "out"), contains("tensor 'model.layers.0.v' is in"));
  CHECK_THAT(message_of(linear({a, e}), folder / "out"), contains("has 1 layers and") && contains("has 2; only models of one depth"));
  CHECK(names_in(folder.path()) == "a b c d e");
}

TEST_CASE("integers are copied where models agree on them", "[soup]") {
  scratch_folder const folder;
  std::vector<float> const values{1, 2};
  std::vector<std::int64_t> const steps{7}, others{8};
  auto const model = [&](char const* name, std::vector<std::int64_t> const& buffer) {
    return write_raw(folder / name, {{"w", dtype::f32, {2}, bytes_of(values)}, {"steps", dtype::i64, {1}, std::as_bytes(std::span{buffer})}});
  };
  auto const a = model("a", steps), b = model("b", steps), c = model("c", others);
  make_soup(linear({a, b}), to(folder / "out"));
  CHECK(checkpoint::open(folder / "out").entry("steps").stored_type == "I64");
  CHECK_THAT(message_of(linear({a, c}), folder / "refused"), contains("'steps' holds int64 that differ between"));
}

TEST_CASE("a tied head joins one of its own and the soup keeps its own", "[soup]") {
  scratch_folder const folder;
  std::vector<float> const embedding{1, 2}, head{3, 6};
  auto const tied = write_raw(folder / "tied", {{"model.embed_tokens.weight", dtype::f32, {2}, bytes_of(embedding)}}, {{"tie_word_embeddings", true}});
  auto const own = write_raw(folder / "own", {{"model.embed_tokens.weight", dtype::f32, {2}, bytes_of(embedding)}, {"lm_head.weight", dtype::f32, {2}, bytes_of(head)}}, {{"tie_word_embeddings", false}});
  make_soup(linear({tied, own}), to(folder / "out"));
  auto const out = checkpoint::open(folder / "out");
  std::vector<float> got(2);
  out.read("lm_head.weight", dtype::f32, std::as_writable_bytes(std::span{got}));
  CHECK(got == std::vector<float>{2, 4});
  CHECK(out.config.at("tie_word_embeddings") == false);
}

TEST_CASE("tokenizers have to agree unless a flag says otherwise", "[soup]") {
  scratch_folder const folder;
  auto const other = copy_of_tiny(folder / "other", [](std::string const& name, std::string& content) {
    if (name != "tokenizer.json") return;
    json tokenizer = json::parse(content);
    auto& vocabulary = tokenizer["model"]["vocab"];
    auto const first = vocabulary.begin().key();
    vocabulary.erase(first);
    vocabulary["unheard"] = 0;
    content = tokenizer.dump();
  });
  CHECK_THAT(message_of(linear({tiny, other}), folder / "out"), contains("the tokenizers disagree: token '") && contains("--allow_tokenizer_mismatch"));
  auto settings = to(folder / "out");
  settings.allow_tokenizer_mismatch = true;
  make_soup(linear({tiny, other}), settings);
  CHECK(read_file(folder / "out/tokenizer.json") == read_file(tiny / "tokenizer.json"));
}

TEST_CASE("added tokens that differ are told, and the weights merged as they are", "[soup]") {
  scratch_folder const folder;
  auto const other = copy_of_tiny(folder / "other", [](std::string const& name, std::string& content) {
    if (name != "tokenizer.json") return;
    json tokenizer = json::parse(content);
    REQUIRE(!tokenizer["added_tokens"].empty());
    tokenizer["added_tokens"][0]["content"] = "<|renamed|>";
    content = tokenizer.dump();
  });
  auto settings = to(folder / "out");
  settings.quiet = false;
  std::FILE* const file = std::fopen((folder / "told").c_str(), "w");
  settings.tells = screen(file);
  make_soup(linear({tiny, other}), settings);
  std::fclose(file);
  CHECK_THAT(read_file(folder / "told"), contains("note: the tokenizers disagree: token '") && contains("rows of one id are merged"));
  CHECK(read_file(folder / "out/tokenizer.json") == read_file(tiny / "tokenizer.json"));
}

TEST_CASE("the folder of a soup has the first model's companions and tells where it comes from without paths", "[soup]") {
  scratch_folder const folder;
  auto const twin = copy_of_tiny(folder / "twin", [](std::string const&, std::string&) {});
  auto const size = make_soup(make_recipe(soup_method::linear, {tiny.string() + ":0.25", twin.string() + ":0.75"}, {}, "bfloat16", {}, false), to(folder / "out"));
  CHECK(names_in(folder / "out") == "chat_template.jinja config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json");
  for (char const* const name : {"chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
    CHECK(read_file(folder / "out" / name) == read_file(tiny / name));
  json config = json::parse(read_file(folder / "out/config.json")), before = json::parse(read_file(tiny / "config.json"));
  CHECK(config["dtype"] == "bfloat16");
  config.erase("dtype");
  before.erase("dtype");
  CHECK(config == before);
  safetensors_file const file(folder / "out/model.safetensors");
  CHECK(file.metadata().at("format") == "pt");
  json const made = json::parse(file.metadata().at("kedge_soup"));
  CHECK(made["method"] == "linear");
  CHECK(made["slices"][0]["sources"][1] == json{{"model", "twin"}, {"parameters", {{"weight", 0.75}}}});
  CHECK(made.dump().find('/') == std::string::npos);
  CHECK(size.tensors == checkpoint::open(tiny).tensors().size());
  CHECK(size.bytes_in == 4 * size.bytes_out);  // two models in float32, one in bfloat16
  auto const planned = plan_soup(linear({tiny, twin}), to(folder / "never"));
  CHECK(planned.bytes_out == 2 * size.bytes_out);
  CHECK_FALSE(fs::exists(folder / "never"));
}

TEST_CASE("stacked slices move their layers and set the depth", "[soup]") {
  scratch_folder const folder;
  write_file(folder / "stack.yml", "merge_method: passthrough\nslices:\n- sources: [{model: " + tiny.string() + ", layer_range: [1, 2]}]\n- sources: [{model: " +
                                       tiny.string() + ", layer_range: [0, 2]}]\n");
  make_soup(read_recipe(folder / "stack.yml"), to(folder / "out"));
  auto const out = checkpoint::open(folder / "out"), in = checkpoint::open(tiny);
  CHECK(out.config.at("num_hidden_layers") == 3);
  auto const same = [&](std::string const& name, std::string const& source) {
    auto const a = out.view(name, dtype::f32).value(), b = in.view(source, dtype::f32).value();
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  CHECK(same("model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"));
  CHECK(same("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"));
  CHECK(same("model.layers.2.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"));
  CHECK(same("model.norm.weight", "model.norm.weight"));
}

TEST_CASE("a stop leaves nothing behind", "[soup]") {
  scratch_folder const folder;
  auto settings = to(folder / "deep/out");
  int asked = 0;
  settings.threads = 1;
  settings.stop = [&] { return ++asked > 5; };
  CHECK_THROWS_AS(make_soup(linear({tiny, tiny}), settings), soup_interrupted);
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a taken output folder is refused before any work and replaced when asked to", "[soup]") {
  scratch_folder const folder;
  fs::create_directory(folder / "out");
  write_file(folder / "out/precious", "x");
  CHECK_THAT(message_of(linear({tiny, tiny}), folder / "out"), contains("already exists"));
  CHECK(read_file(folder / "out/precious") == "x");
  auto settings = to(folder / "out");
  settings.overwrite_output_dir = true;
  make_soup(linear({tiny, tiny}), settings);
  CHECK_FALSE(fs::exists(folder / "out/precious"));
}

TEST_CASE("weights have to sum to one unless they are taken as they are", "[soup]") {
  scratch_folder const folder;
  std::vector<float> const ones{1, 1};
  auto const m = write_raw(folder / "m", {{"w", dtype::f32, {2}, bytes_of(ones)}}).string();
  CHECK_THROWS_WITH(linear({m + ":0.5", m + ":0.6"}), contains("sum to 1.1"));
  CHECK_THROWS_WITH(linear({m + ":0.5", m}), contains("give one to each"));
  CHECK_THROWS_WITH(make_recipe(soup_method::karcher, {m + ":1"}, {}, "", {}, false), contains("takes no weights"));
  CHECK_THROWS_WITH(make_recipe(soup_method::linear, {m}, {}, "", {{"density", "0.5"}}, false), contains("no effect on linear"));
  CHECK_THROWS_WITH(make_recipe(soup_method::linear, {m}, {}, "int8", {}, false), contains("--dtype int8"));
  make_soup(linear({m + ":0.5", m + ":1.5"}, true), to(folder / "double"));
  std::vector<float> got(2);
  checkpoint::open(folder / "double").read("w", dtype::f32, std::as_writable_bytes(std::span{got}));
  CHECK(got == std::vector<float>{2, 2});
  CHECK_THROWS_WITH(make_soup(make_recipe(soup_method::slerp, {m, m, m}, {}, "", {{"t", "0.5"}}, false), to(folder / "x")), contains("slerp takes a base"));
  CHECK_THROWS_WITH(make_soup(make_recipe(soup_method::ties, {m}, {}, "", {}, false), to(folder / "x")), contains("ties takes a base (base_model)"));
  CHECK_THROWS_WITH(make_soup(make_recipe(soup_method::model_stock, {m}, m, "", {}, false), to(folder / "x")), contains("at least two other models"));
}

TEST_CASE("only a number after the last colon is a weight", "[soup]") {
  using expected = std::pair<fs::path, std::optional<double>>;
  CHECK(parse_weighted_model("a") == expected{"a", std::nullopt});
  CHECK(parse_weighted_model("a:0.3") == expected{"a", 0.3});
  CHECK(parse_weighted_model("a:-1e-2") == expected{"a", -0.01});
  CHECK(parse_weighted_model("c:/a:b") == expected{"c:/a:b", std::nullopt});
  CHECK(parse_weighted_model("a:0.3:1") == expected{"a:0.3", 1});
  CHECK(parse_weighted_model("a:") == expected{"a:", std::nullopt});
  CHECK(parse_weighted_model("a:0.3x") == expected{"a:0.3x", std::nullopt});
  CHECK(parse_size("5GB") == 5'000'000'000);
  CHECK(parse_size("1.5KiB") == 1536);
  CHECK(parse_size("77") == 77);
  for (char const* const bad : {"", "GB", "5 apples", "-1GB", "0", "nan"}) CHECK_THROWS_WITH(parse_size(bad), contains("is not understood"));
}

TEST_CASE("parameters are looked up by filter and spread over depth", "[soup]") {
  soup_parameters const table{{"weight", {{"mlp", {0, 1}}, {"*", {4}}}}, {"normalize", {{"", {0, 1}}}}, {"t", {{"mlp", {1}}}}};
  CHECK(evaluate(table, "weight", "model.layers.1.mlp.up", 0.25) == 0.25);
  CHECK(evaluate(table, "weight", "model.norm", 0.25) == 4);
  CHECK(evaluate(table, "normalize", "w", 0.99) == 0);  // not between false and true
  CHECK(evaluate(table, "normalize", "w", 1) == 1);
  CHECK_FALSE(evaluate(table, "t", "model.norm", 0).has_value());
  CHECK_FALSE(evaluate(table, "lambda", "model.norm", 0).has_value());
}

TEST_CASE("a recipe that doesn't fit its models is refused", "[soup]") {
  scratch_folder const folder;
  std::string const model = "models: [{model: " + tiny.string() + "}]\n";
  write_file(folder / "r.yml", "merge_method: passthrough\nslices: [{sources: [{model: " + tiny.string() + ", layer_range: [0, 9]}]}]\n");
  CHECK_THROWS_WITH(make_soup(read_recipe(folder / "r.yml"), to(folder / "out")), contains("the model has only 2 layers"));
  write_file(folder / "r.yml", "merge_method: linear\n" + model);
  CHECK_THROWS_WITH(make_soup(read_recipe(folder / "r.yml"), to(folder / "out")), contains("needs the parameter 'weight'"));
}

TEST_CASE("a greedy soup keeps the models that do not lower the score", "[soup]") {
  scratch_folder const folder;
  auto const model = [&](char const* name, float value) {
    std::vector<float> const values(2, value);
    return write_raw(folder / name, {{"w", dtype::f32, {2}, bytes_of(values)}}).string();
  };
  // The evaluation takes the distance of the first number of w to 2 and, to be sure of its argument, looks for config.json.
  write_file(folder / "judge", "#!/bin/sh\ntest -f \"$1/config.json\" || exit 3\ntail -c 8 \"$1/model.safetensors\" | od -An -tf4 -N4 | awk '{d = $1 - 2; print -(d < 0 ? -d : d)}'\n");
  auto const recipe = make_recipe(soup_method::greedy, {model("far", 9), model("low", 1), model("high", 2.5F)}, {}, "", {}, false);
  auto const [size, steps] = make_greedy_soup(recipe, "sh '" + (folder / "judge").string() + "'", to(folder / "out"));
  REQUIRE(steps.size() == 3);
  CHECK((steps[0].model.model.filename() == "high" && steps[0].kept && steps[0].score == -0.5));
  CHECK((steps[1].model.model.filename() == "low" && steps[1].kept && steps[1].score == -0.25));
  CHECK((steps[2].model.model.filename() == "far" && !steps[2].kept));
  std::vector<float> got(2);
  checkpoint::open(folder / "out").read("w", dtype::f32, std::as_writable_bytes(std::span{got}));
  CHECK(got == std::vector<float>{1.75F, 1.75F});
  CHECK(size.tensors == 1);
  CHECK_THROWS_WITH(make_greedy_soup(recipe, "false", to(folder / "x")), contains("ended with exit code 1"));
  CHECK_THROWS_WITH(make_greedy_soup(recipe, "echo very good; true", to(folder / "x")), contains("printed 'very good"));
  CHECK(names_in(folder.path()) == "far high judge low out");
}

TEST_CASE("a soup takes a GGUF file as it takes its folder", "[soup][model]") {
  scratch_folder const folder;
  char const* const file = std::getenv("KEDGE_TEST_MODEL");
  REQUIRE(file != nullptr);
  make_soup(make_recipe(soup_method::linear, {file, file}, {}, "bfloat16", {}, false), to(folder / "out"));
  auto const in = checkpoint::open(file), out = checkpoint::open(folder / "out");
  CHECK(out.tensors().size() == in.tensors().size());
  for (char const* const name : {"model.layers.3.self_attn.q_proj.weight", "model.embed_tokens.weight", "model.norm.weight"}) {
    std::vector<std::uint16_t> a(in.entry(name).elements()), b(a.size());
    in.read(name, dtype::bf16, std::as_writable_bytes(std::span{a}));
    out.read(name, dtype::bf16, std::as_writable_bytes(std::span{b}));
    CHECK(a == b);
  }
  CHECK(out.tokenizer == in.tokenizer);
  CHECK(out.chat_templates == in.chat_templates);
}
