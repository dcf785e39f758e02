// SPDX-License-Identifier: Apache-2.0
// Adapters of every kind, trained and written, against what PEFT and autograd make of them (golden files that tests/golden/make_lora.py wrote).
#include "llm/model/plain_model.hpp"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>

#include "llm/model/one_sequence.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::one_sequence;
using kedge::testing::read_json;
using kedge::testing::scratch_folder;
using kedge::testing::WithinAbs;

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

fs::path const kinds = fs::path(KEDGE_TESTS_DIR) / "golden" / "lora" / "kinds", families = fs::path(KEDGE_TESTS_DIR) / "golden" / "families";

// Those with golden gradients.
std::vector<fs::path> trained_kinds() {
  std::vector<fs::path> folders;
  for (auto const& entry : fs::directory_iterator(kinds))
    if (read_json(entry.path() / "golden.json").contains("gradients")) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  return folders;
}

// An adapter as training goes on with it.
struct opened {
  explicit opened(fs::path const& folder)
      : files(folder), source(open_base(files)), model(read_config(source), {}, settings_of(files), load_base(source, read_config(source))), theta(read_adapter(files, model)) {}

  peft_adapter files;
  checkpoint source;
  causal_lm model;
  pack theta;
};

pack mean_loss_gradient(causal_lm const& model, pack const& theta, ragged_batch const& batch) {
  pack gradient = plain::zeros_like(theta);
  model.forward(theta, batch).pullback(std::vector<double>{-1.0 / static_cast<double>(batch.targets.size())}, gradient);
  return gradient;
}

void check_rows(std::vector<double> const& logp, json const& expected, double tolerance) {
  REQUIRE(logp.size() == expected.size());
  for (std::size_t i = 0; i < logp.size(); ++i) CHECK_THAT(logp[i], WithinAbs(expected.at(i).get<double>(), tolerance));
}

void check_gradients(std::vector<parameter> const& names, pack const& gradient, json const& expected) {
  REQUIRE(names.size() == expected.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i].name);
    REQUIRE(expected.contains(names[i].name));
    json const& theirs = expected.at(names[i].name);
    at::Tensor const flat = gradient[i].to(at::kDouble).flatten(), index = at::arange(1, flat.numel() + 1, at::kDouble);
    double const norm = theirs.at("norm"), tolerance = 1e-5 * norm + 1e-8;
    CHECK_THAT(flat.norm().item<double>(), WithinAbs(norm, tolerance));
    CHECK_THAT(flat.dot(index.sin()).item<double>(), WithinAbs(theirs.at("sin").get<double>(), 3 * tolerance));
    CHECK_THAT(flat.dot(index.cos()).item<double>(), WithinAbs(theirs.at("cos").get<double>(), 3 * tolerance));
  }
}

// torch.optim.AdamW without decay.
void step_by_adam(pack& theta, pack const& gradient, pack& first, pack& second, int step, double rate) {
  for (std::size_t i = 0; i < theta.size(); ++i) {
    first[i].mul_(0.9).add_(gradient[i], 0.1);
    second[i].mul_(0.999).addcmul_(gradient[i], gradient[i], 0.001);
    at::Tensor const root = (second[i] / (1 - std::pow(0.999, step))).sqrt_().add_(1e-8);
    theta[i].addcdiv_(first[i], root, -rate / (1 - std::pow(0.9, step)));
  }
}

// What an adapter's file holds, but for copies of the base that PEFT writes beside adapters of embedding and head.
std::set<std::pair<std::string, std::vector<std::int64_t>>> tensors_in(fs::path const& folder) {
  std::set<std::pair<std::string, std::vector<std::int64_t>>> all;
  safetensors_file const file(folder / "adapter_model.safetensors");
  for (safetensors_entry const& t : file.tensors())
    if (t.name.find("embed_tokens.base_layer") == std::string::npos && t.name.find("lm_head.base_layer") == std::string::npos) all.emplace(t.name, t.shape);
  return all;
}

}  // namespace

TEST_CASE("adapters of every kind have the gradients of PEFT and after two steps its log-probabilities", "[golden][lora]") {
  std::vector<fs::path> const folders = trained_kinds();
  CHECK(folders.size() == 33);
  for (fs::path const& folder : folders) {
    INFO(folder.filename().string());
    json const expected = read_json(folder / "golden.json");
    ragged_batch const batch = one_sequence(expected.at("ids").get<std::vector<std::int32_t>>());
    opened now(folder);
    check_rows(now.model.rows(now.theta, batch).logp, expected.at("logp"), 3e-5);
    pack first = plain::zeros_like(now.theta), second = plain::zeros_like(now.theta);
    for (int step = 1; step <= expected.at("steps").get<int>(); ++step) {
      pack const gradient = mean_loss_gradient(now.model, now.theta, batch);
      if (step == 1) check_gradients(now.model.parameters(), gradient, expected.at("gradients"));
      step_by_adam(now.theta, gradient, first, second, step, expected.at("rate"));
    }
    check_rows(now.model.rows(now.theta, batch).logp, expected.at("after"), 1e-3);
  }
}

TEST_CASE("adapters of every kind are written as PEFT writes them and read as they were", "[golden][lora]") {
  for (fs::path const& folder : trained_kinds()) {
    INFO(folder.filename().string());
    opened now(folder);
    for (at::Tensor& t : now.theta) t.mul_(1.25);
    scratch_folder const scratch;
    write_adapter(scratch.path(), now.source, now.model, now.theta, dtype::f32);
    CHECK(tensors_in(scratch.path()) == tensors_in(folder));
    json const theirs = read_json(folder / "adapter_config.json"), ours = read_json(scratch / "adapter_config.json");
    for (auto const& [key, value] : ours.items()) {
      INFO(key);
      if (key == "base_model_name_or_path") continue;
      REQUIRE(theirs.contains(key));
      CHECK(value == theirs.at(key));
    }
    opened again(scratch.path());
    REQUIRE(again.theta.size() == now.theta.size());
    for (std::size_t i = 0; i < now.theta.size(); ++i) CHECK(at::equal(again.theta[i], now.theta[i]));
  }
}

TEST_CASE("an adapter of any kind trains the model that it is merged into", "[golden][lora]") {
  for (fs::path const& folder : trained_kinds()) {
    INFO(folder.filename().string());
    if (folder.filename() == "bias_of_b_of_head") continue;  // no family has a bias there
    opened const now(folder);
    ragged_batch const batch = one_sequence(read_json(folder / "golden.json").at("ids").get<std::vector<std::int32_t>>());
    std::vector<double> const with_adapter = now.model.rows(now.theta, batch).logp;
    transformer_config const config = read_config(now.source);
    std::vector<double> const merged = causal_lm(config, {}).rows(load_merged(now.source, config, now.files), batch).logp;
    for (std::size_t i = 0; i < merged.size(); ++i) CHECK_THAT(with_adapter[i], WithinAbs(merged[i], 3e-5));
    // So does the decoder.
    std::vector<std::vector<std::int32_t>> const prompts{{3, 1, 4}};
    mixture_term const policy[] = {{.weight = 1, .weights = &now.theta}};
    for (sampled_completion const& sampled : generate(now.model, policy, prompts, 1, {.max_new_tokens = 4})) {
      ragged_batch said;
      std::span<std::int32_t const> const completion[] = {sampled.tokens};
      append(said, prompts[0], completion);
      std::vector<double> const logp = now.model.rows(now.theta, said).logp;
      for (std::size_t i = 0; i < logp.size(); ++i) CHECK_THAT(sampled.logp[i], WithinAbs(logp[i], 1e-4));
    }
  }
}

TEST_CASE("fresh adapters of every kind leave the model its base", "[golden][lora]") {
  for (fs::path const& folder : trained_kinds()) {
    INFO(folder.filename().string());
    opened const now(folder);
    transformer_config config = read_config(checkpoint::open(now.source.path()));
    ragged_batch const batch = one_sequence(read_json(folder / "golden.json").at("ids").get<std::vector<std::int32_t>>());
    std::vector<double> const base = causal_lm(config, {}).rows(load_parameters(checkpoint::open(now.source.path()), config), batch).logp;
    pack const fresh = initial_adapter(now.model, 3);
    std::vector<double> const start = now.model.rows(fresh, batch).logp;
    for (std::size_t i = 0; i < base.size(); ++i) CHECK_THAT(start[i], WithinAbs(base[i], 2e-6));
    std::vector<parameter> const names = now.model.parameters();
    REQUIRE(names.size() == fresh.size());
    for (std::size_t i = 0; i < names.size(); ++i) CHECK(fresh[i].sizes().vec() == names[i].shape);
  }
}

TEST_CASE("what is merged and not trained is refused where training would go on with it", "[golden][lora]") {
  CHECK_THROWS_WITH(opened(kinds / "tokens"), contains("trainable_token_indices"));
  CHECK_THROWS_WITH(opened(kinds / "tied_tokens"), contains("trainable_token_indices"));
  CHECK_THROWS_WITH(opened(kinds / "resized"), contains("merge"));
}

TEST_CASE("settings of adapters that exclude each other or name nothing are refused by their flag", "[lora]") {
  transformer_config const dense = plain::tiny_config(true);
  auto const refused = [&](lora_settings const& lora, std::string const& why) {
    INFO(why);
    CHECK_THROWS_WITH(causal_lm(dense, {}, lora, plain::random_parameters(dense, at::kFloat, 1)), contains(why));
  };
  refused({.target_modules = {"nowhere"}}, "no linear map nowhere");
  refused({.target_modules = {"model.layers.(0|1.q_proj"}}, "--lora_target_modules");
  refused({.target_modules = {".*q_proj"}, .layers_to_transform = {0}}, "--lora_layers_to_transform");
  refused({.layers_to_transform = {99}}, "--lora_layers_to_transform 99");
  refused({.modules_to_save = {"nowhere"}}, "no module nowhere");
  refused({.dora = true, .bias_of_b = true}, "--lora_bias");
  refused({.target_modules = {"embed_tokens"}, .bias_of_b = true}, "--lora_bias");
  refused({.target_parameters = {"mlp.experts.down_proj"}}, "no experts");
  refused({.rank_pattern = {{{"q_proj", 1.5}}}}, "--lora_rank_pattern");
  refused({.exclude_modules = {"q_proj", "v_proj"}}, "no module is left");
  CHECK_THROWS_WITH(read_module_numbers("[1]"), contains("not a JSON object"));
  CHECK_THROWS_WITH(read_module_numbers("{\"q_proj\": 0}"), contains("above 0"));
  CHECK_THROWS_WITH(read_module_numbers("{\"(\": 2}"), contains("regular expression"));
}

TEST_CASE("what an adapter trains whole is extrapolated as weights are", "[lora]") {
  opened const now(kinds / "saved_norms");
  pack before = initial_adapter(now.model, 2), start;
  for (at::Tensor const& t : before) start.push_back(t.clone());
  std::size_t const products = products_of(now.model);
  extrapolate_product(now.theta, 0.5, before, products);
  REQUIRE(2 * products < before.size());
  for (std::size_t i = 2 * products; i < before.size(); ++i) CHECK((before[i] - (1.5 * now.theta[i] - 0.5 * start[i])).abs().max().item<double>() < 1e-6);
}
