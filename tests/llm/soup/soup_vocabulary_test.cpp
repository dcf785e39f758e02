// SPDX-License-Identifier: Apache-2.0

// Models of several vocabularies, adapters in recipes, and what of two models' settings may differ.

#include <cstdio>
#include <cstring>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
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

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden/soup";

class working_folder {
 public:
  explicit working_folder(fs::path const& path) : before_(fs::current_path()) { fs::current_path(path); }
  ~working_folder() { fs::current_path(before_); }

 private:
  fs::path before_;
};

soup_settings to(fs::path const& folder) {
  soup_settings out;
  out.output_dir = folder;
  out.quiet = true;
  return out;
}

/// Token to id, added tokens included.
json ids_of(json const& tokenizer) {
  json out = tokenizer.at("model").at("vocab");
  for (auto const& token : tokenizer.at("added_tokens")) out[token.at("content").get<std::string>()] = token.at("id");
  return out;
}

std::vector<float> numbers(fs::path const& folder, std::string const& name) {
  auto const model = checkpoint::open(folder);
  std::vector<float> out(model.entry(name).elements());
  model.read(name, dtype::f32, std::as_writable_bytes(std::span{out}));
  return out;
}

}  // namespace

TEST_CASE("a soup of several vocabularies has the tokens and ids that mergekit gives it", "[soup]") {
  scratch_folder const folder;
  working_folder const there(golden);
  json const expected = read_json_file("vocabularies.json");
  REQUIRE(expected.size() == 6);
  for (auto const& [name, wanted] : expected.items()) {
    INFO(name);
    make_soup(read_recipe(name + ".yml"), to(folder / name));
    auto const made = checkpoint::open(folder / name);
    json tokens = wanted;
    CHECK(made.config.at("vocab_size") == wanted.at("vocab_size"));
    CHECK(made.entry("model.embed_tokens.weight").shape.front() == wanted.at("vocab_size"));
    tokens.erase("vocab_size");
    json const got = ids_of(made.tokenizer);
    CHECK(got.size() == tokens.size());
    for (auto const& [token, id] : tokens.items()) {
      INFO(token);
      CHECK(got.value(token, json()) == id);
    }
  }
}

TEST_CASE("added tokens keep their settings in a union and a third model may give the vocabulary", "[soup]") {
  scratch_folder const folder;
  working_folder const there(golden);
  auto recipe = make_recipe(soup_method::linear, {"words", "more"}, "", "", {}, false);
  CHECK_THROWS_WITH(make_soup(recipe, to(folder / "out")), contains("tokenizer_source"));
  recipe.vocabulary.source = vocabulary_source::every_model;
  make_soup(recipe, to(folder / "out"));
  auto const out = checkpoint::open(folder / "out");
  json found;
  for (auto const& token : out.tokenizer.at("added_tokens"))
    if (token.at("content") == "<|c|>") found = token;
  CHECK((found.at("lstrip") == true && found.at("special") == false && found.at("normalized") == false));
  recipe.vocabulary = {vocabulary_source::models, model_reference("more"), {}, 0};
  make_soup(recipe, to(folder / "third"));
  CHECK(read_file(folder / "third/tokenizer.json") == read_file("more/tokenizer.json"));
  recipe.vocabulary.tokens = {{"nobody's", {}}};
  CHECK_THROWS_WITH(make_soup(recipe, to(folder / "no")), contains("token 'nobody\\'s' needs a source") || contains("needs a source"));
}

TEST_CASE("an adapter is merged into its base as it is read, by any of its names", "[soup]") {
  scratch_folder const folder;
  working_folder const there(golden);
  auto const merged = [&](char const* name, std::string const& model) {
    make_soup(make_recipe(soup_method::linear, {model}, "", "float32", {}, false), to(folder / name));
    return numbers(folder / name, "model.layers.1.mlp.down_proj.weight");
  };
  auto const both = merged("both", "base+lora"), alone = merged("alone", "lora"), weighted = merged("weighted", "lora:1");
  CHECK(both == alone);
  CHECK(both == weighted);
  // W + (alpha / r) B A by hand.
  safetensors_file const file("lora/adapter_model.safetensors");
  auto const factor = [&](std::string const& end) {
    for (auto const& tensor : file.tensors())
      if (tensor.name.ends_with("layers.1.mlp.down_proj." + end)) {
        std::vector<float> out(tensor.bytes.size() / sizeof(float));
        std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
        return std::pair{out, tensor.shape};
      }
    FAIL("no factor " << end);
    return std::pair<std::vector<float>, std::vector<std::int64_t>>{};
  };
  auto const [a, a_shape] = factor("lora_A.weight");
  auto const [b, b_shape] = factor("lora_B.weight");
  auto const base = numbers("base", "model.layers.1.mlp.down_proj.weight");
  auto const rank = static_cast<std::size_t>(a_shape[0]), in = static_cast<std::size_t>(a_shape[1]);
  for (std::size_t i = 0; i < base.size(); ++i) {
    double sum = base[i];
    for (std::size_t k = 0; k < rank; ++k) sum += 2.0 * b[i / in * rank + k] * a[k * in + i % in];
    CHECK_THAT(both[i], WithinAbs(sum, 1e-6));
  }
}

TEST_CASE("an adapter's tokens and template are told where they are others than its base's", "[soup]") {
  scratch_folder const folder;
  fs::copy(golden / "lora", folder / "lora");
  write_file(folder / "lora/chat_template.jinja", "{{ messages[0].content }}");
  auto const recipe = make_recipe(soup_method::linear, {(golden / "base").string() + "+" + (folder / "lora").string()}, "", "", {}, false);
  auto settings = to(folder / "out");
  settings.quiet = false;
  std::FILE* const file = std::fopen((folder / "told").c_str(), "w");
  settings.tells = screen(file);
  plan_soup(recipe, settings);
  std::fclose(file);
  CHECK_THAT(read_file(folder / "told"), contains("lora/chat_template.jinja' is not used; an adapter's tokens and template are taken to be those of"));
}

TEST_CASE("an adapter that is more than plain LoRA, or another model's, is refused by what it is", "[soup]") {
  scratch_folder const folder;
  auto const changed = [&](char const* name, std::string const& key, json const& value) {
    fs::copy(golden / "lora", folder / name);
    json config = read_json_file(golden / "lora/adapter_config.json");
    config[key] = value;
    write_file(folder / name / "adapter_config.json", config.dump());
    return (folder / name).string();
  };
  auto const refuse = [&](std::string const& base, std::string const& adapter, std::string const& what) {
    INFO(adapter);
    CHECK_THROWS_WITH(make_soup(make_recipe(soup_method::linear, {base + "+" + adapter}, "", "", {}, false), to(folder / "out")), contains(what));
  };
  std::string const base = (golden / "base").string();
  fs::path const lora = golden.parent_path() / "lora" / "kinds", llama2 = golden.parent_path() / "families" / "llama2";
  for (char const* const kind : {"dora", "all_biases", "saved_norms", "saved_embedding_and_head", "tokens", "embedding", "resized", "bias_of_b"})
    refuse((llama2.parent_path() / (std::string(kind).find("bias") == std::string::npos ? "llama2" : "llama_bias")).string(), (lora / kind).string(),
           "is no factor of a linear map");
  refuse(base, changed("no-magnitude", "use_dora", true), "use_dora is true");
  refuse(base, changed("pissa", "init_lora_weights", "pissa"), "init_lora_weights");
  refuse((golden / "words").string(), (golden / "lora").string(), "belongs to another model");
  auto const lost = changed("lost", "base_model_name_or_path", "somewhere/else");
  CHECK_THROWS_WITH(make_recipe(soup_method::linear, {lost}, "", "", {}, false), contains("its base 'somewhere/else' is not there"));
}
