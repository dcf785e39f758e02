// SPDX-License-Identifier: Apache-2.0
// Adapters on bases that stay quantised: against the same base dequantised, and against PEFT on what gguf and bitsandbytes decode.
#include <cmath>
#include <filesystem>
#include <string>

#include <ATen/CPUGeneratorImpl.h>
#include <nlohmann/json.hpp>

#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../adapters/llm/src/model/base_plan.hpp"
#include "../adapters/llm/src/model/model_tensors.hpp"
#include "../adapters/llm/src/model/stored_tensors.hpp"
#include "llm/model/plain_model.hpp"
#include "llm/model/one_sequence.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::one_sequence;
using kedge::testing::read_json;
using kedge::testing::WithinAbs;

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden", quantised = golden / "quantised";

std::vector<std::int32_t> some_ids(std::int64_t vocabulary, std::size_t n) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<std::int32_t>((7 * i * i + 3 * i + 5) % static_cast<std::size_t>(vocabulary)));
  return ids;
}

base_settings held_as(base_storage storage) { return {.storage = storage}; }

std::size_t stored_in(causal_lm const& model) {
  std::size_t n = 0;
  if (model.adapted()->stored)
    for (quantised_matrix const& m : model.adapted()->stored->all) n += m.defined() ? 1 : 0;
  return n;
}

// An adapter with no zeros in it.
pack random_adapter(causal_lm const& model, at::ScalarType type) {
  pack theta = initial_adapter(model, 3);
  at::Generator random = at::detail::createCPUGenerator(8);
  for (at::Tensor& t : theta) t = at::add(t, at::empty(t.sizes()).normal_(0, 0.02, random)).to(type);
  return theta;
}

struct computed {
  std::vector<double> logp;
  pack gradient;
};

computed compute(causal_lm const& model, pack const& theta, ragged_batch const& batch) {
  pack const weights = model.weights_for(theta);
  auto [out, pullback] = model.forward_rows(weights, batch);
  pack gradient = plain::zeros_like(theta);
  std::vector<double> slopes;
  for (std::size_t r = 0; r < out.logp.size(); ++r) slopes.push_back(std::cos(static_cast<double>(r)));
  pullback(slopes, {}, gradient);
  return {out.logp, std::move(gradient)};
}

void check_same(causal_lm const& one, causal_lm const& other, at::ScalarType type, double tolerance) {
  ragged_batch const batch = one_sequence(some_ids(one.config().vocabulary, 29));
  pack const theta = random_adapter(one, type);
  computed const a = compute(one, theta, batch), b = compute(other, theta, batch);
  for (std::size_t r = 0; r < a.logp.size(); ++r) CHECK_THAT(a.logp[r], WithinAbs(b.logp[r], tolerance * (1 + std::abs(b.logp[r]))));
  std::vector<parameter> const names = one.parameters();
  for (std::size_t i = 0; i < a.gradient.size(); ++i) {
    INFO(names[i].name);
    double const size = b.gradient[i].norm().item<double>();
    CHECK((a.gradient[i] - b.gradient[i]).norm().item<double>() <= tolerance * (size + 1e-6));
  }
}

std::vector<lora_settings> adapters() {
  return {{.rank = 3, .target_modules = {"all-linear"}},
          {.rank = 2, .target_modules = {"all-linear"}, .rslora = true, .dora = true},
          {.rank = 2, .target_modules = {"embed_tokens", "o_proj", "lm_head"}},
          {.rank = 2, .target_modules = {"o_proj"}, .modules_to_save = {"embed_tokens", "norm"}}};
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

base_settings settings_named(std::string const& name) {
  if (name == "q8_0") return held_as(base_storage::file);
  if (name == "int8") return {.load_in_8bit = true};
  return {.load_in_4bit = true, .quant_type = name == "fp4" ? four_bit_type::fp4 : four_bit_type::nf4, .double_quant = name == "nf4_double"};
}

}  // namespace

TEST_CASE("an adapter on a file's own blocks has the log-probabilities and gradients of one on their numbers", "[quantised][lora]") {
  for (std::string const family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    checkpoint const source = checkpoint::open(golden / "gguf" / (family + ".gguf"));
    transformer_config const config = read_config(source);
    for (lora_settings const& lora : adapters())
      for (at::ScalarType const type : {at::kDouble, at::kFloat}) {
        INFO(family << " in " << at::toString(type) << (lora.dora ? ", DoRA" : "") << (lora.modules_to_save.empty() ? "" : ", modules saved"));
        compute_settings const settings{.type = type};
        causal_lm const file(config, settings, lora, load_frozen(source, config, settings, lora, held_as(base_storage::file)));
        causal_lm const dense(config, settings, lora, load_frozen(source, config, settings, lora, held_as(base_storage::dequantized)));
        CHECK(stored_in(file) > 3);
        CHECK(stored_in(dense) == 0);
        check_same(file, dense, type, type == at::kDouble ? 1e-11 : 2e-4);
      }
  }
}

TEST_CASE("runs of an adapter on bases that gguf and bitsandbytes quantise have the losses of PEFT's", "[golden][quantised][lora]") {
  for (std::string const name : {"q8_0", "nf4", "nf4_double", "fp4", "int8"}) {
    INFO(name);
    peft_adapter const files(quantised / name);
    checkpoint const source = open_base(files);
    transformer_config const config = read_config(source);
    lora_settings const lora = settings_of(files);
    causal_lm const model(config, {}, lora, load_frozen(source, config, {}, lora, settings_named(name)));
    CHECK(stored_in(model) >= 14);
    pack theta = read_adapter(files, model), first = plain::zeros_like(theta), second = plain::zeros_like(theta);
    json const expected = read_json(quantised / name / "golden.json");
    ragged_batch const batch = one_sequence(expected.at("ids").get<std::vector<std::int32_t>>());
    auto const rows = static_cast<double>(batch.targets.size());
    int step = 0;
    for (json const& loss : expected.at("losses")) {
      auto [logp, pullback] = model.forward(theta, batch);
      CHECK_THAT(-logp.front() / rows, WithinAbs(loss.get<double>(), 1e-4));
      pack gradient = plain::zeros_like(theta);
      pullback(std::vector<double>{-1 / rows}, gradient);
      step_by_adam(theta, gradient, first, second, ++step, expected.at("rate"));
    }
  }
}

TEST_CASE("the plan of a base says what it takes", "[quantised][lora]") {
  lora_settings const lora{.rank = 2, .target_modules = {"all-linear"}};
  for (std::string const name : {"q8_0", "nf4", "nf4_double", "fp4", "int8"}) {
    INFO(name);
    checkpoint const source = checkpoint::open(name == "q8_0" ? quantised / "q8_0.gguf" : quantised / "base");
    transformer_config const config = read_config(source);
    base_settings const how = settings_named(name);
    std::int64_t held = 0;
    base_weights const base = load_frozen(source, config, {}, lora, how);
    for (at::Tensor const& t : base.tensors) held += t.defined() ? static_cast<std::int64_t>(t.nbytes()) : 0;
    for (quantised_matrix const& m : base.stored->all) held += m.bytes();
    CHECK(bytes_of(plan_base(source, config, lora, how, 4)) == held);
  }
}

TEST_CASE("settings of a base that contradict each other or the file are refused in a line", "[quantised][lora]") {
  lora_settings const lora{.rank = 2};
  checkpoint const gguf = checkpoint::open(quantised / "q8_0.gguf"), folder = checkpoint::open(quantised / "base");
  transformer_config const config = read_config(folder);
  auto const refused = [&](checkpoint const& source, base_settings const& how) {
    try {
      static_cast<void>(load_frozen(source, config, {}, lora, how));
    } catch (std::exception const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(refused(folder, {.load_in_8bit = true, .load_in_4bit = true}), contains("exclude each other"));
  CHECK_THAT(refused(folder, {.storage = base_storage::file, .load_in_4bit = true}), contains("--base_weights"));
  CHECK_THAT(refused(gguf, {.load_in_4bit = true}), contains("quantised already"));
}

TEST_CASE("without a word a GGUF file stays as it is under an adapter, and a folder does not", "[quantised][lora]") {
  CHECK(settled({}, checkpoint::open(quantised / "q8_0.gguf"), true).storage == base_storage::file);
  CHECK(settled({}, checkpoint::open(quantised / "q8_0.gguf"), false).storage == base_storage::dequantized);
  CHECK(settled({}, checkpoint::open(quantised / "base"), true).storage == base_storage::dequantized);
}

TEST_CASE("generation on a quantised base gives the tokens of the dequantised one", "[quantised][lora][generation]") {
  for (std::string const family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"})
    for (bool const dora : {false, true})
      for (at::ScalarType const type : {at::kFloat, at::kDouble}) {
        INFO(family << " in " << at::toString(type) << (dora ? ", DoRA" : ""));
        checkpoint const source = checkpoint::open(golden / "gguf" / (family + ".gguf"));
        transformer_config const config = read_config(source);
        lora_settings const lora{.rank = 3, .target_modules = {"all-linear"}, .dora = dora};
        compute_settings const settings{.type = type};
        causal_lm const file(config, settings, lora, load_frozen(source, config, settings, lora, held_as(base_storage::file)));
        causal_lm const dense(config, settings, lora, load_frozen(source, config, settings, lora, held_as(base_storage::dequantized)));
        pack const theta = random_adapter(file, type);
        std::vector<std::vector<std::int32_t>> const prompts{some_ids(config.vocabulary, 7), some_ids(config.vocabulary, 3)};
        auto const sampled = [&](causal_lm const& model) {
          mixture_term const policy[] = {{1, &theta}};
          std::vector<std::vector<std::int32_t>> tokens;
          for (auto const& c : generate(model, policy, prompts, 1, {.max_new_tokens = 12, .temperature = 0})) tokens.push_back(c.tokens);
          return tokens;
        };
        CHECK(sampled(file) == sampled(dense));
      }
}
