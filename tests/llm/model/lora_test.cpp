// SPDX-License-Identifier: Apache-2.0
// Adapters: against PEFT (golden files that tests/golden/make_lora.py wrote), against merged weights, and through whole runs.
#include "llm/model/plain_model.hpp"

#include <ATen/CPUGeneratorImpl.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>
#include <kedge/llm/train/extracting.hpp>
#include <kedge/llm/train/merging.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/reward_model.hpp>
#include <kedge/llm/train/scoring.hpp>
#include <kedge/llm/train/preference.hpp>

#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::lines;
using kedge::testing::read_file;
using kedge::testing::read_json;
using kedge::testing::scratch_folder;
using kedge::testing::WithinAbs;

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden", tiny = golden / "tiny";

// A model with an adapter on it, and its base.
struct adapted {
  transformer_config config;
  pack base;
  causal_lm model;
  pack adapter;
};

adapted open(fs::path const& folder) {
  peft_adapter const files(folder);
  checkpoint const source = open_base(files);
  transformer_config const config = read_config(source);
  pack base = load_parameters(source, config);
  causal_lm model(config, {}, settings_of(files), base);
  pack adapter = read_adapter(files, model);
  return {config, std::move(base), std::move(model), std::move(adapter)};
}

adapted random_adapter(lora_settings const& lora, at::ScalarType type = at::kDouble) {
  transformer_config const config = plain::tiny_config(false);
  pack base = plain::random_parameters(config, type, 31);
  causal_lm model(config, {.type = type}, lora, base);
  pack adapter = initial_adapter(model, 5);
  at::Generator random = at::detail::createCPUGenerator(6);
  for (std::size_t i = 1; i < adapter.size(); i += 2) adapter[i].normal_(0, 0.2, random);
  for (at::Tensor& t : adapter) t = t.to(type);
  return {config, std::move(base), std::move(model), std::move(adapter)};
}

pack copy_of(pack const& theta) {
  pack copy;
  for (at::Tensor const& t : theta) copy.push_back(t.clone());
  return copy;
}

ragged_batch one_sequence(std::vector<std::int32_t> const& ids) {
  ragged_batch batch;
  std::span<std::int32_t const> const completion[] = {std::span(ids).subspan(1)};
  append(batch, std::span(ids).first(1), completion);
  return batch;
}

ragged_batch some_pairs(transformer_config const& config) {
  auto const pairs = plain::random_pairs(4, config.vocabulary, 8);
  std::vector<std::size_t> const all{0, 1, 2, 3};
  return pack_pairs(pairs, all);
}

training_settings settings_for(fs::path const& output) {
  training_settings s;
  s.model = tiny / "tied";
  s.output_dir = output;
  s.dataset = {tiny / "pairs.jsonl"};
  s.compute = {.dtype = compute_type::float32, .threads = 1};
  s.use_peft = true;
  s.lora = {.rank = 4, .alpha = 8, .target_modules = {"all-linear"}};
  s.learning_rate = 1e-2;
  s.per_device_train_batch_size = 4;
  s.max_steps = 3;
  s.logging_steps = 1;
  s.save_steps = 0;
  s.quiet = true;
  return s;
}

std::vector<json> scores(fs::path const& model) {
  std::ostringstream out;
  score_preferences({.model = model, .dataset = tiny / "pairs.jsonl", .compute = {.dtype = compute_type::float32, .threads = 1}, .quiet = true}, out);
  std::istringstream in(out.str());
  return lines(in);
}

round_settings const three_rounds_of_apo{.method = round_method::apo, .chunks = 3, .momentum = momentum_choice::constant, .alpha = {0.5}};

}  // namespace

TEST_CASE("an adapter that PEFT wrote has the loss and the gradients that PEFT computes", "[golden][lora]") {
  for (char const* name : {"llama2", "gemma2", "phi3"}) {
    INFO(name);
    adapted const a = open(golden / "lora" / name);
    json const expected = read_json(golden / "lora" / name / "golden.json");
    ragged_batch const batch = one_sequence(expected.at("ids").get<std::vector<std::int32_t>>());
    double const share = -1.0 / static_cast<double>(batch.targets.size());
    auto [logp, pullback] = a.model.forward(a.adapter, batch);
    CHECK_THAT(share * logp.at(0), WithinAbs(expected.at("loss").get<double>(), 1e-5));
    CHECK_THAT(share * a.model.log_probs(a.model.weights_for(initial_adapter(a.model, 1)), batch).at(0),
               WithinAbs(expected.at("base_loss").get<double>(), 1e-5));
    pack gradient = plain::zeros_like(a.adapter);
    pullback(std::vector<double>{share}, gradient);
    auto const names = a.model.parameters();
    REQUIRE(names.size() == expected.at("gradients").size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      INFO(names[i].name);
      json const& theirs = expected.at("gradients").at(names[i].name);
      at::Tensor const flat = gradient[i].to(at::kDouble).flatten(), index = at::arange(1, flat.numel() + 1, at::kDouble);
      double const norm = theirs.at("norm");
      CHECK_THAT(flat.norm().item<double>(), WithinAbs(norm, 1e-4 * norm));
      CHECK_THAT(flat.dot(index.sin()).item<double>(), WithinAbs(theirs.at("sin").get<double>(), 1e-3 * norm));
      CHECK_THAT(flat.dot(index.cos()).item<double>(), WithinAbs(theirs.at("cos").get<double>(), 1e-3 * norm));
    }
  }
}

TEST_CASE("an adapter of a reward model that PEFT wrote has the reward and the gradients that PEFT computes", "[golden][lora]") {
  fs::path const folder = golden / "lora" / "llama2_reward";
  json const expected = read_json(folder / "golden.json");
  peft_adapter const files(folder);
  CHECK(files.task() == peft_task::sequence_score);
  checkpoint const source = open_base(files);
  transformer_config const config = read_config(source.config, folder.string());
  REQUIRE(config.scalar_head);
  pack const merged = load_merged(source, config, files), base(merged.begin(), merged.end() - 1);
  auto const ids = expected.at("ids").get<std::vector<std::int32_t>>();
  ragged_batch batch;
  std::span<std::int32_t const> const none[] = {{}};
  append(batch, ids, none, read_at::end);
  CHECK_THAT(causal_lm(config, {}).rows(merged, batch).value.at(0), WithinAbs(expected.at("reward").get<double>(), 1e-5));
  transformer_config body = config;
  body.scalar_head = false;
  causal_lm const model(config, {}, settings_of(files), load_parameters(source, body));
  pack const adapter = read_adapter(files, model);
  auto [out, pullback] = model.forward_rows(adapter, batch);
  CHECK_THAT(out.value.at(0), WithinAbs(expected.at("reward").get<double>(), 1e-5));
  pack gradient = plain::zeros_like(adapter);
  pullback({}, std::vector<double>{1}, gradient);
  std::vector<parameter> const names = model.parameters();
  REQUIRE(names.size() == expected.at("gradients").size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i].name);
    double const norm = expected.at("gradients").at(names[i].name).at("norm");
    CHECK_THAT(gradient[i].norm().item<double>(), WithinAbs(norm, 1e-4 * norm));
  }
}

TEST_CASE("an adapter computes and generates what its merged weights do", "[lora]") {
  for (bool const rslora : {false, true}) {
    adapted const a = random_adapter({.rank = 3, .alpha = 5, .target_modules = {"all-linear"}, .rslora = rslora});
    pack merged = copy_of(a.base);
    merge_adapter(a.model, merged, a.adapter);
    causal_lm const plain_model(a.config, {.type = at::kDouble});
    ragged_batch const batch = some_pairs(a.config);
    auto const one = a.model.log_probs(a.adapter, batch), other = plain_model.log_probs(merged, batch);
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(std::abs(one[i] - other[i]) < 1e-10);
    std::vector<std::vector<std::int32_t>> const prompts{{3, 1, 4}, {1, 5, 9, 2}};
    mixture_term const adapter_alone[] = {{.weight = 1, .weights = &a.adapter}}, all[] = {{.weight = 1, .weights = &merged}};
    auto const said = generate(a.model, adapter_alone, prompts, 2, {.max_new_tokens = 6}), expected = generate(plain_model, all, prompts, 2, {.max_new_tokens = 6});
    for (std::size_t i = 0; i < said.size(); ++i) CHECK(said[i].tokens == expected[i].tokens);
  }
}

TEST_CASE("the decoder of the processor takes an adapter as well", "[lora]") {
  transformer_config config = plain::tiny_config(false);
  config.head_dim = 16;
  pack const base = plain::random_parameters(config, at::kFloat, 32);
  causal_lm const model(config, {}, {.rank = 3, .alpha = 5, .target_modules = {"q_proj", "down_proj"}}, base);
  pack adapter = initial_adapter(model, 7);
  for (std::size_t i = 1; i < adapter.size(); i += 2) adapter[i].fill_(0.1);
  mixture_term const policy[] = {{.weight = 1, .weights = &adapter}};
  std::vector<std::vector<std::int32_t>> const prompts{{3, 1, 4}};
  for (sampled_completion const& sampled : generate(model, policy, prompts, 2, {.max_new_tokens = 8})) {
    ragged_batch batch;
    std::span<std::int32_t const> const completion[] = {sampled.tokens};
    append(batch, prompts[0], completion);
    std::vector<double> const logp = model.rows(adapter, batch).logp;
    for (std::size_t i = 0; i < logp.size(); ++i) CHECK_THAT(sampled.logp[i], WithinAbs(logp[i], 1e-4));
  }
}

TEST_CASE("a fresh adapter changes no bit and the gradient of an adapter is the projected gradient of the weights", "[lora]") {
  adapted const a = random_adapter({.rank = 2, .alpha = 3, .target_modules = {"k_proj", "up_proj"}});
  causal_lm const plain_model(a.config, {.type = at::kDouble});
  ragged_batch const batch = some_pairs(a.config);
  pack fresh = initial_adapter(a.model, 9);
  for (at::Tensor& t : fresh) t = t.to(at::kDouble);
  CHECK(a.model.log_probs(fresh, batch) == plain_model.log_probs(a.base, batch));
  pack merged = copy_of(a.base), of_weights = plain::zeros_like(merged), of_adapter = plain::zeros_like(a.adapter);
  merge_adapter(a.model, merged, a.adapter);
  std::vector<double> const slopes{1, -2, 3, -4, 5, -6, 7, -8};
  plain_model.forward(merged, batch).pullback(slopes, of_weights);
  a.model.forward(a.adapter, batch).pullback(slopes, of_adapter);
  auto const all = parameters_of(a.config), names = a.model.parameters();
  double const scale = 3.0 / 2.0;
  for (std::size_t i = 0; i < names.size(); i += 2)
    for (std::size_t j = 0; j < all.size(); ++j) {
      std::string const module = all[j].name.substr(0, all[j].name.rfind('.'));
      if (names[i].name != "base_model.model." + module + ".lora_A.weight") continue;
      at::Tensor const& g = of_weights[j];
      CHECK((of_adapter[i] - a.adapter[i + 1].t().mm(g) * scale).abs().max().item<double>() < 1e-9);
      CHECK((of_adapter[i + 1] - g.mm(a.adapter[i].t()) * scale).abs().max().item<double>() < 1e-9);
    }
}

TEST_CASE("in bfloat16 an adapter has the log-probabilities and gradients of float32 to the precision of its numbers", "[lora]") {
  adapted const a = random_adapter({.rank = 3, .alpha = 6, .target_modules = {"all-linear"}}, at::kFloat);
  causal_lm const narrow(a.config, {.type = at::kBFloat16}, {.rank = 3, .alpha = 6, .target_modules = {"all-linear"}}, a.base);
  ragged_batch const batch = some_pairs(a.config);
  std::vector<double> const slopes(8, 0.25);
  auto const gradient_of = [&](causal_lm const& model, std::vector<double>& logp) {
    pack const weights = model.weights_for(a.adapter);
    pack gradient = plain::zeros_like(a.adapter);
    auto forward = model.forward(weights, batch);
    logp = forward.logp;
    forward.pullback(slopes, gradient);
    return gradient;
  };
  std::vector<double> exact_logp, logp;
  pack const exact = gradient_of(a.model, exact_logp), rounded = gradient_of(narrow, logp);
  for (std::size_t i = 0; i < logp.size(); ++i) CHECK(std::abs(logp[i] - exact_logp[i]) < 0.02 * std::abs(exact_logp[i]));
  for (std::size_t i = 0; i < exact.size(); ++i) CHECK((rounded[i] - exact[i]).norm().item<double>() < 0.1 * exact[i].norm().item<double>());
}

TEST_CASE("extrapolation of adapters is that of their products and not that of their factors", "[lora]") {
  adapted const a = random_adapter({.rank = 2, .alpha = 3, .target_modules = {"all-linear"}});
  pack now = a.adapter, before = copy_of(random_adapter({.rank = 2, .alpha = 3, .target_modules = {"all-linear"}}).adapter);
  for (at::Tensor& t : before) t.mul_(-0.7);  // as a model: 0.49 times the product, whatever the sign
  pack ahead = copy_of(before), apart = copy_of(before), zero = copy_of(before), from_zero = copy_of(before);
  double const alpha = 0.4;
  extrapolate_product(now, alpha, ahead, products_of(a.model));
  extrapolate_product(now, 0, zero, products_of(a.model));
  for (std::size_t i = 1; i < from_zero.size(); i += 2) from_zero[i].zero_();
  extrapolate_product(now, alpha, from_zero, products_of(a.model));
  kedge::axpby(1 + alpha, now, -alpha, apart);
  double largest = 0;
  for (std::size_t i = 0; i < now.size(); i += 2) {
    at::Tensor const exact = (1 + alpha) * now[i + 1].mm(now[i]) - alpha * before[i + 1].mm(before[i]);
    CHECK((ahead[i + 1].mm(ahead[i]) - exact).abs().max().item<double>() < 1e-12);
    CHECK(ahead[i].size(0) == 4);
    CHECK(at::equal(zero[i], now[i]));
    CHECK(at::equal(zero[i + 1], now[i + 1]));
    CHECK(from_zero[i].size(0) == 2);
    largest = std::max(largest, (apart[i + 1].mm(apart[i]) - exact).abs().max().item<double>());
  }
  CHECK(largest > 0.01);
}

TEST_CASE("an adapter is read as it was written even if its rank grew", "[lora]") {
  adapted a = random_adapter({.rank = 2, .alpha = 3, .target_modules = {"q_proj", "v_proj"}, .rslora = true}, at::kFloat);
  pack before = copy_of(a.adapter);
  for (at::Tensor& t : before) t.mul_(0.5);
  extrapolate_product(a.adapter, 0.3, before, products_of(a.model));
  scratch_folder const folder;
  checkpoint const source = checkpoint::open(tiny / "tied");
  write_adapter(folder.path(), source, a.model, before, dtype::f32);
  CHECK(is_adapter(folder.path()));
  peft_adapter const files(folder.path());
  lora_settings const settings = settings_of(files);
  CHECK(settings.rank == 4);
  CHECK(settings.target_modules == std::vector<std::string>{"q_proj", "v_proj"});
  causal_lm const again(a.config, {}, settings, a.base);
  pack const theta = read_adapter(files, again);
  ragged_batch const batch = some_pairs(a.config);
  auto const one = a.model.log_probs(before, batch), other = again.log_probs(theta, batch);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK_THAT(one[i], WithinAbs(other[i], 1e-5));
}

TEST_CASE("adapters of every kind that PEFT writes have the log-probabilities that PEFT computes", "[golden][lora]") {
  std::size_t kinds = 0;
  for (auto const& entry : fs::directory_iterator(golden / "lora" / "kinds")) {
    fs::path const folder = entry.path();
    INFO(folder.filename().string());
    ++kinds;
    json const expected = read_json(folder / "golden.json");
    peft_adapter const adapter(folder);
    CHECK(adapter.unknown_keys().empty());
    checkpoint const source = open_base(adapter);
    transformer_config const config = read_config(source);
    if (folder.filename() == "bias_of_b_of_head") {  // no family has a bias there that it could be added to
      CHECK_THROWS_WITH(load_merged(source, config, adapter), contains("lora_bias"));
      continue;
    }
    pack const theta = load_merged(source, config, adapter);
    auto const ids = expected.at("ids").get<std::vector<std::int32_t>>();
    ragged_batch batch;
    std::span<std::int32_t const> const completion[] = {std::span(ids).subspan(1)};
    append(batch, std::span(ids).first(1), completion);
    std::vector<double> const logp = causal_lm(config, {}).rows(theta, batch).logp;
    REQUIRE(logp.size() == expected.at("logp").size());
    for (std::size_t i = 0; i < logp.size(); ++i) CHECK_THAT(logp[i], WithinAbs(expected.at("logp").at(i).get<double>(), 3e-5));
    // What is written opens as the same model.
    scratch_folder const scratch;
    write_model(scratch.path(), source, config, theta, dtype::f32);
    checkpoint const written = checkpoint::open(scratch.path());
    pack const again = load_parameters(written, read_config(written));
    REQUIRE(again.size() == theta.size());
    for (std::size_t i = 0; i < again.size(); ++i) CHECK(at::equal(again[i], theta[i]));
  }
  CHECK(kinds == 36);
}

TEST_CASE("what an adapter says and kedge does not compute is refused by its key, and what nobody knows is told", "[lora]") {
  fs::path const usual = golden / "lora" / "llama2";
  scratch_folder const folder;
  fs::copy_file(usual / "adapter_model.safetensors", folder / "adapter_model.safetensors");
  auto const with = [&](json const& changes) {
    json config = read_json(usual / "adapter_config.json");
    config.update(changes);
    config["base_model_name_or_path"] = changes.value("base_model_name_or_path", (golden / "families" / "llama2").string());
    std::ofstream(folder / "adapter_config.json") << config;
    peft_adapter adapter(folder.path());
    checkpoint const source = open_base(adapter);
    static_cast<void>(load_merged(source, read_config(source), adapter));
    return adapter;
  };
  auto const refused = [&](json const& changes, std::string const& key) {
    INFO(changes.dump());
    CHECK_THROWS_WITH(with(changes), contains(key));
  };
  CHECK_NOTHROW(with(json::object()));
  for (char const* const key : {"use_qalora", "layer_replication", "alora_invocation_tokens", "use_bdlora", "arrow_config",
                                "kasa_config", "monteclora_config", "velora_config"})
    refused({{key, json::array({1})}}, key);
  refused({{"peft_type", "IA3"}}, "peft_type");
  refused({{"bias", "some"}}, "bias");
  refused({{"fan_in_fan_out", true}}, "fan_in_fan_out");
  refused({{"init_lora_weights", "pissa"}}, "init_lora_weights");
  refused({{"lora_alpha", nullptr}}, "lora_alpha");
  refused({{"alpha_pattern", {{"q_proj", "x"}}}}, "alpha_pattern");
  refused({{"alpha_pattern", {{"(", 3}}}}, "alpha_pattern");
  refused({{"base_model_name_or_path", "nowhere/at-all"}}, "nowhere/at-all");
  refused({{"base_model_name_or_path", (golden / "families" / "qwen3").string()}}, "another model");
  CHECK(with({{"of_the_future", true}, {"off", false}, {"none", nullptr}}).unknown_keys() == "of_the_future");
  std::ofstream(folder / "adapter_config.json") << "[]";
  CHECK_THROWS_WITH(peft_adapter(folder.path()), contains("not a JSON object"));
  CHECK_THROWS_WITH(peft_adapter(golden / "families" / "llama2"), contains("adapter_config.json"));
  transformer_config const config = plain::tiny_config(true);
  pack const base = plain::random_parameters(config, at::kFloat, 1);
  CHECK_THROWS_WITH(causal_lm(config, {}, {.target_modules = {"qkv_proj"}}, base), contains("no linear map qkv_proj"));
  CHECK_THROWS_WITH(causal_lm(config, {}, {.rank = 0}, base), contains("rank"));
}

TEST_CASE("an adapter extracted from two models becomes their difference, and of a lower rank the closest there is", "[lora]") {
  peft_adapter const made(golden / "lora" / "llama2");  // rank 4 on every linear map
  checkpoint const source = open_base(made);
  transformer_config const config = read_config(source);
  pack tuned = load_merged(source, config, made);
  std::size_t const norm = tuned.size() - 2;
  tuned[norm].mul_(1.5);
  scratch_folder const folder;
  fs::create_directories(folder / "tuned");
  write_model(folder / "tuned", source, config, tuned, dtype::f32);
  double before = 1;
  for (std::int64_t const rank : {1, 2, 4}) {
    INFO(rank);
    fs::path const out = folder / std::to_string(rank);
    extracted const result = extract({.base = golden / "families" / "llama2", .tuned = folder / "tuned", .output_dir = out, .rank = rank});
    CHECK(result.maps == 7 * 3);
    CHECK(result.whole == 1);
    peft_adapter const again(out);
    pack const theta = load_merged(open_base(again), config, again);
    double left = 0, all = 0;
    for (std::size_t i = 0; i < theta.size(); ++i) {
      if (i == norm) CHECK(at::equal(theta[i], tuned[i]));
      if (i == norm) continue;
      at::Tensor const base = load_parameters(source, config)[i];
      left += (theta[i] - tuned[i]).square().sum().item<double>();
      all += (tuned[i] - base).square().sum().item<double>();
    }
    CHECK_THAT(std::sqrt(left / all), WithinAbs(result.relative_error, 1e-5));
    CHECK(result.relative_error < before);
    before = result.relative_error;
  }
  CHECK(before < 1e-6);
  CHECK_THROWS_WITH(extract({.base = folder / "tuned", .tuned = folder / "tuned", .output_dir = folder / "same"}), contains("no linear map differs"));
  CHECK_THROWS_WITH(extract({.base = folder / "tuned", .tuned = golden / "families" / "qwen3", .output_dir = folder / "other"}), contains("other tensors"));
  CHECK_THROWS_WITH(extract({.base = folder / "tuned", .tuned = folder / "tuned", .output_dir = folder / "4"}), contains("already holds"));
}

TEST_CASE("a run with an adapter starts at ln 2 and writes an adapter that scores as it does merged", "[lora][training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "run");
  s.save_steps = 1;
  train_preferences(s, {});
  CHECK(std::abs(lines(s.output_dir / "metrics.jsonl").front().at("loss").get<double>() - std::log(2.0)) < 1e-12);
  CHECK(is_adapter(s.output_dir));
  safetensors_file const moments(s.output_dir / "checkpoints" / "step-2" / "first-moment.safetensors");
  CHECK(moments.tensors().size() == 2 * 7 * 2);  // A and B of seven maps of two layers, and nothing of the base
  merge({.adapter = s.output_dir, .base = {}, .output_dir = folder / "merged"});
  auto const with_adapter = scores(s.output_dir), merged = scores(folder / "merged"), base = scores(tiny / "tied");
  REQUIRE(merged.size() == with_adapter.size());
  double moved = 0;
  for (std::size_t i = 0; i < merged.size(); ++i) {
    CHECK_THAT(with_adapter[i].at("logp_chosen").get<double>(), WithinAbs(merged[i].at("logp_chosen").get<double>(), 1e-6));
    moved = std::max(moved, std::abs(merged[i].at("logp_chosen").get<double>() - base[i].at("logp_chosen").get<double>()));
  }
  CHECK(moved > 0.1);
  training_settings again = settings_for(folder / "again");
  again.model = s.output_dir;
  CHECK_THROWS_WITH(train_preferences(again, {}), contains("merge it first"));
}

TEST_CASE("a run with an adapter in bfloat16 takes the steps of one in float32 to the precision of its numbers", "[lora][training]") {
  scratch_folder const folder;
  training_settings exact = settings_for(folder / "float32"), rounded = settings_for(folder / "bfloat16");
  exact.shuffle = rounded.shuffle = false;
  rounded.compute.dtype = compute_type::bfloat16;
  train_preferences(exact, {});
  train_preferences(rounded, {});
  auto const a = lines(exact.output_dir / "metrics.jsonl"), b = lines(rounded.output_dir / "metrics.jsonl");
  REQUIRE(a.size() == b.size());
  CHECK(std::abs(b.front().at("loss").get<double>() - std::log(2.0)) < 1e-12);
  for (std::size_t i = 0; i < a.size(); ++i)
    for (char const* name : {"loss", "grad_norm"}) {
      double const expected = a[i].at(name);
      CHECK_THAT(b[i].at(name).get<double>(), WithinAbs(expected, 0.05 * expected));
    }
}

TEST_CASE("a reward model trains by an adapter from where it trains whole and rewards as it does merged", "[lora][reward]") {
  scratch_folder const folder;
  auto const train = [&](char const* name, bool adapter, fs::path const& start) {
    reward_settings s;
    static_cast<run_settings&>(s) = settings_for(folder / name);
    s.model = start;
    s.dataset = s.eval_dataset = tiny / "pairs.jsonl";
    s.use_peft = adapter;
    train_reward(s);
    return lines(s.output_dir / "metrics.jsonl");
  };
  auto const whole = train("whole", false, tiny / "tied"), adapted = train("adapter", true, tiny / "tied");
  CHECK(adapted.front() == whole.front());
  CHECK(adapted.back().at("eval_loss").get<double>() < adapted.front().at("eval_loss").get<double>());
  json const settings = read_json(folder / "adapter" / "adapter_config.json");
  CHECK(settings.at("task_type") == "SEQ_CLS");
  CHECK(settings.at("modules_to_save") == json{"classifier", "score"});
  merge({.adapter = folder / "adapter", .base = {}, .output_dir = folder / "merged"});
  CHECK(read_json(folder / "merged" / "config.json").at("architectures").at(0) == "LlamaForSequenceClassification");
  device_settings const compute{.dtype = compute_type::float32, .threads = 1};
  std::vector<judged> const asked{{"The anchor", " held."}, {"Name a colour.", " Blue, or green."}};
  std::vector<double> const one = reward_model(folder / "adapter", compute).score(asked), other = reward_model(folder / "merged", compute).score(asked);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK_THAT(one[i], WithinAbs(other[i], 1e-5));
  CHECK(std::abs(one[0] - one[1]) > 1e-3);
  // A reward model goes on where it stopped, by an adapter or whole.
  double const end = adapted.back().at("eval_loss");
  CHECK_THAT(train("again", true, folder / "merged").front().at("eval_loss").get<double>(), WithinAbs(end, 1e-5));
  CHECK_THAT(train("further", false, folder / "adapter").front().at("eval_loss").get<double>(), WithinAbs(end, 1e-5));
  CHECK_THROWS_WITH(train("refused", true, folder / "adapter"), contains("merge it first"));
}

TEST_CASE("rounds of adapters start at their anchors and go on after a stop as if there had been none", "[lora][training]") {
  scratch_folder const folder;
  auto const run = [&](char const* name, round_settings const& rounds) {
    training_settings s = settings_for(folder / name);
    s.save_steps = 1;
    train_preferences(s, rounds);
    auto const steps = lines(s.output_dir / "metrics.jsonl");
    REQUIRE(steps.size() == 9);
    if (rounds.extrapolate == extrapolated::weights)
      for (std::size_t const first : {0U, 3U, 6U}) CHECK(std::abs(steps[first].at("loss").get<double>() - std::log(2.0)) < 1e-9);
    return read_file(s.output_dir / "adapter_model.safetensors");
  };
  std::string const apo = run("apo", three_rounds_of_apo);
  CHECK(read_json(folder / "apo" / "adapter_config.json").at("r") == 8);
  CHECK(read_json(folder / "apo" / "adapter_config.json").at("lora_alpha") == 16);
  round_settings iterative = three_rounds_of_apo, exact = three_rounds_of_apo;
  iterative.alpha = {0};
  exact.extrapolate = extrapolated::log_probs;
  CHECK(run("iterative", iterative) == run("sdpo", {.method = round_method::sdpo, .chunks = 3}));
  CHECK(run("exact", exact) != apo);
  training_settings s = settings_for(folder / "apo");
  s.save_steps = 1;
  s.resume_from_checkpoint = (folder / "apo" / "checkpoints" / "step-7").string();
  train_preferences(s, three_rounds_of_apo);
  CHECK(read_file(s.output_dir / "adapter_model.safetensors") == apo);
}
