// SPDX-License-Identifier: Apache-2.0
// Every family against transformers: golden files that tests/golden/make_families.py wrote.
#include "llm/model/plain_model.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/model/inspect.hpp>
#include <kedge/llm/model/memory_plan.hpp>
#include <kedge/llm/model/weights.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>

#include "llm/model/one_sequence.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_json;
using kedge::testing::scratch_folder;
using kedge::testing::WithinAbs;

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

fs::path const families = fs::path(KEDGE_TESTS_DIR) / "golden" / "families";

struct family {
  std::string name;
  checkpoint source;
  transformer_config config;
  pack theta;
  json golden;
  std::vector<std::int32_t> ids;
};

std::vector<fs::path> folders() {
  std::vector<fs::path> all;
  for (auto const& entry : fs::directory_iterator(families))
    if (entry.is_directory()) all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == 51);
  return all;
}

family open(fs::path const& folder) {
  checkpoint source = checkpoint::open(folder);
  transformer_config const config = read_config(source);
  pack theta = load_parameters(source, config);
  json golden = read_json(folder / "golden.json");
  auto ids = golden.at("ids").get<std::vector<std::int32_t>>();
  return {folder.filename().string(), std::move(source), config, std::move(theta), std::move(golden), std::move(ids)};
}

// For each t = 1, 2, …: the first t tokens, shared by one completion for every token there is.
ragged_batch all_next_tokens(family const& f) {
  std::vector<std::int32_t> every(static_cast<std::size_t>(f.config.vocabulary));
  std::iota(every.begin(), every.end(), 0);
  ragged_batch batch;
  for (std::size_t t = 1; t < f.ids.size(); ++t) {
    std::vector<std::span<std::int32_t const>> completions;
    for (std::int32_t const& id : every) completions.emplace_back(&id, 1);
    append(batch, std::span(f.ids).first(t), completions);
  }
  return batch;
}

/// The largest error of a logit, relative to the largest distance of one from its row's mean.
double error_of_logits(family const& f) {
  std::vector<double> const logp = causal_lm(f.config, {}).log_probs(f.theta, all_next_tokens(f));
  at::Tensor const ours = at::tensor(logp).view({-1, f.config.vocabulary});
  std::vector<double> flat;
  for (auto const& row : f.golden.at("logits")) flat.insert(flat.end(), row.begin(), row.end());
  at::Tensor const theirs = at::tensor(flat).view({-1, f.config.vocabulary});
  // Log-probabilities say logits up to a constant a row.
  return ((ours - theirs.log_softmax(-1)).abs().max() / (theirs - theirs.mean(-1, true)).abs().max()).item<double>();
}

}  // namespace

TEST_CASE("the logits of every family are those of transformers", "[golden]") {
  for (fs::path const& folder : folders()) {
    family const f = open(folder);
    INFO(f.name);
    CHECK(error_of_logits(f) < 1e-5);
  }
}

namespace {

// Norm, four numbers and two sums of each tensor of a gradient, which transformers leaves out where it is zero.
void check_gradients(family const& f, pack const& gradient, json const& golden) {
  auto const names = parameters_of(f.config);
  std::size_t there = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i].name);
    at::Tensor const flat = gradient[i].to(at::kDouble).flatten(), index = at::arange(1, flat.numel() + 1, at::kDouble);
    if (!golden.contains(names[i].name)) {
      CHECK(flat.abs().max().item<double>() == 0);
      continue;
    }
    json const& theirs = golden.at(names[i].name);
    ++there;
    // The bias of keys that aren't rotated moves all scores of a query alike: its gradient is rounding, here and there.
    double const norm = theirs.at("norm"), tolerance = std::max(1e-4 * norm, 1e-8);
    CHECK_THAT(flat.norm().item<double>(), WithinAbs(norm, tolerance));
    CHECK_THAT(flat.dot(index.sin()).item<double>(), WithinAbs(theirs.at("sin").get<double>(), 10 * tolerance));
    CHECK_THAT(flat.dot(index.cos()).item<double>(), WithinAbs(theirs.at("cos").get<double>(), 10 * tolerance));
    for (std::int64_t j = 0; j < 4; ++j)
      CHECK_THAT(flat[j].item<double>(), WithinAbs(theirs.at("first").at(static_cast<std::size_t>(j)).get<double>(), tolerance));
  }
  CHECK(there == golden.size());
}

}  // namespace

TEST_CASE("loss and gradient of every family are those of transformers in every tensor", "[golden]") {
  for (fs::path const& folder : folders()) {
    family const f = open(folder);
    INFO(f.name);
    causal_lm const model(f.config, {});
    ragged_batch const batch = kedge::testing::one_sequence(f.ids);
    auto [logp, pullback] = model.forward(f.theta, batch);
    double const share = -1.0 / static_cast<double>(f.ids.size() - 1);
    CHECK_THAT(share * logp.at(0), WithinAbs(f.golden.at("loss").get<double>(), 1e-5));
    pack gradient = plain::zeros_like(f.theta);
    pullback(std::vector<double>{share}, gradient);
    REQUIRE(gradient.size() == f.golden.at("gradients").size());
    check_gradients(f, gradient, f.golden.at("gradients"));
  }
}

TEST_CASE("the router's auxiliary loss and its gradient are those of transformers though sequences share their prompt", "[golden]") {
  std::size_t mixtures = 0;
  for (fs::path const& folder : folders()) {
    family const f = open(folder);
    if (!f.golden.contains("router")) continue;
    ++mixtures;
    INFO(f.name);
    causal_lm const model(f.config, {.activation_bytes = mixtures % 2 == 0 ? 0 : std::int64_t{1} << 30});  // layers kept, or computed again
    ragged_batch batch;
    std::span const ids(f.ids);
    std::span<std::int32_t const> const completions[] = {ids.subspan(5, 7), ids.subspan(12, 5)};
    append(batch, ids.first(5), completions);
    auto [out, pullback] = model.forward_rows(f.theta, batch, {.routing = true});
    double const experts = static_cast<double>(f.config.experts.count), tokens = out.routing.tokens;
    double loss = 0;
    std::vector<double> slopes;
    for (std::size_t e = 0; e < out.routing.chosen.size(); ++e) {
      loss += experts * out.routing.chosen[e] * out.routing.probabilities[e] / (tokens * tokens);
      slopes.push_back(experts * out.routing.chosen[e] / (tokens * tokens));
    }
    CHECK_THAT(loss, WithinAbs(f.golden.at("router").at("aux_loss").get<double>(), 1e-5));
    pack gradient = plain::zeros_like(f.theta);
    pullback(std::vector<double>(out.logp.size()), {}, gradient, {}, slopes);
    check_gradients(f, gradient, f.golden.at("router").at("gradients"));
    CHECK(model.rows(f.theta, batch, {.routing = true}).routing.probabilities == out.routing.probabilities);
  }
  CHECK(mixtures == 7);
}

TEST_CASE("in every family pairs that share prompts and prefixes compute what their sequences compute alone", "[lm]") {
  for (fs::path const& folder : folders()) {
    family f = open(folder);
    INFO(f.name);
    for (at::Tensor& t : f.theta) t = t.to(at::kDouble);
    auto pairs = plain::random_pairs(6, f.config.vocabulary, 5, 6, 6);
    causal_lm const model(f.config, {.type = at::kDouble});
    if (model.shares_prefixes())
      for (preference_pair& pair : pairs) pair.prompt.insert(pair.prompt.begin(), f.ids.begin(), f.ids.begin() + 9);
    std::vector<std::size_t> all(pairs.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    auto [logp, pullback] = model.forward(f.theta, pack_pairs(pairs, all, read_at::every_token, model.shares_prefixes()));
    std::vector<double> slopes;
    for (std::size_t i = 0; i < logp.size(); ++i) slopes.push_back(std::sin(static_cast<double>(i + 1)));
    pack shared = plain::zeros_like(f.theta), alone = plain::zeros_like(f.theta);
    pullback(slopes, shared);
    for (std::size_t i = 0; i < logp.size(); ++i) {
      ragged_batch single;
      std::span<std::int32_t const> const completion[] = {i % 2 == 0 ? pairs[i / 2].chosen : pairs[i / 2].rejected};
      append(single, pairs[i / 2].prompt, completion);
      auto [own, back] = model.forward(f.theta, single);
      CHECK(std::abs(own.at(0) - logp[i]) < 1e-10);
      back(std::vector<double>{slopes[i]}, alone);
    }
    for (std::size_t i = 0; i < shared.size(); ++i) CHECK((shared[i] - alone[i]).abs().max().item<double>() < 1e-10);
  }
}

TEST_CASE("a window in a long sequence changes nothing between fused and plain attention", "[lm]") {
  transformer_config config = plain::tiny_config(true);
  config.attention.assign(3, {.window = 40});
  pack const theta = plain::random_parameters(config, at::kDouble, 21);
  std::vector<std::int32_t> ids(1500);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * i % 53);
  ragged_batch batch;
  std::span<std::int32_t const> const completions[] = {std::span(ids).subspan(600, 800), std::span(ids).subspan(700, 700)};
  append(batch, std::span(ids).first(600), completions);
  causal_lm const fused(config, {.type = at::kDouble});
  config.attention_soft_cap = 1e7;  // so high that it caps nothing
  causal_lm const plain_products(config, {.type = at::kDouble});
  auto one = fused.forward(theta, batch), other = plain_products.forward(theta, batch);
  pack g = plain::zeros_like(theta), h = plain::zeros_like(theta);
  one.pullback(std::vector<double>{1, -1}, g);
  other.pullback(std::vector<double>{1, -1}, h);
  for (std::size_t i = 0; i < 2; ++i) CHECK(std::abs(one.logp[i] - other.logp[i]) < 1e-8 * std::abs(one.logp[i]));
  for (std::size_t i = 0; i < g.size(); ++i) CHECK((g[i] - h[i]).norm().item<double>() < 1e-8 * g[i].norm().item<double>());
}

TEST_CASE("generation in every family says what the forward pass says", "[golden]") {
  for (fs::path const& folder : folders()) {
    family const f = open(folder);
    INFO(f.name);
    causal_lm const model(f.config, {});
    auto const expected = f.golden.at("greedy").get<std::vector<std::int32_t>>();
    auto const length = f.golden.at("prompt").get<std::size_t>();
    std::vector<std::vector<std::int32_t>> const prompts{{f.ids.begin(), f.ids.begin() + static_cast<std::ptrdiff_t>(length)},
                                                         {f.ids.begin() + 2, f.ids.begin() + 11}};
    mixture_term const policy[] = {{.weight = 1, .weights = &f.theta}};
    auto const greedy = generate(model, policy, prompts, 1, {.max_new_tokens = expected.size(), .temperature = 0});
    CHECK(greedy.at(0).tokens == expected);
    for (sampled_completion const& sampled : generate(model, policy, prompts, 3, {.max_new_tokens = 9, .temperature = 1, .seed = 3})) {
      ragged_batch batch;
      std::span<std::int32_t const> const completion[] = {sampled.tokens};
      append(batch, prompts[sampled.prompt], completion);
      std::vector<double> const logp = model.rows(f.theta, batch).logp;
      REQUIRE(logp.size() == sampled.logp.size());
      for (std::size_t i = 0; i < logp.size(); ++i) CHECK_THAT(sampled.logp[i], WithinAbs(logp[i], 1e-4));
    }
  }
}

TEST_CASE("what is written of every family is what was read", "[files]") {
  for (fs::path const& folder : folders()) {
    family const f = open(folder);
    INFO(f.name);
    scratch_folder const scratch;
    write_model(scratch.path(), f.source, f.config, f.theta, dtype::bf16);
    checkpoint const written = checkpoint::open(scratch.path());
    CHECK(written.config == f.source.config);
    std::set<std::string> before, after;
    for (tensor_entry const& t : f.source.tensors()) before.insert(t.name);
    for (tensor_entry const& t : written.tensors()) after.insert(t.name);
    CHECK(before == after);
    pack const again = load_parameters(written, read_config(written.config, "written"));
    for (std::size_t i = 0; i < again.size(); ++i) CHECK(at::equal(again[i], f.theta[i]));
  }
}

TEST_CASE("a setting that is not supported is refused by its key", "[config]") {
  auto const refused = [](char const* folder, json const& changes, std::string const& key) {
    json config = read_json(families / folder / "config.json");
    config.update(changes);
    INFO(changes.dump());
    CHECK_THROWS_WITH(read_config(config, "here"), contains("here: ") && contains(key));
  };
  refused("llama2", {{"hidden_act", "relu"}}, "hidden_act = relu");
  refused("llama2", {{"quantization_config", {{"bits", 4}}}}, "quantization_config");
  refused("llama2", {{"rope_scaling", {{"type", "ntk"}, {"factor", 2}}}}, "rope_type = ntk");
  refused("llama2", {{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling has no factor");
  refused("llama2", {{"partial_rotary_factor", 0.5}}, "partial_rotary_factor");
  refused("llama2", {{"num_hidden_layers", 100000000}}, "num_hidden_layers");
  refused("llama2", {{"hidden_size", 1000000000}, {"intermediate_size", 1000000000}}, "10^15 parameters");
  refused("phi3_longrope", {{"partial_rotary_factor", 1e300}, {"rope_parameters", nullptr}}, "partial_rotary_factor");
  refused("phi3_longrope", {{"original_max_position_embeddings", 1e300}}, "original_max_position_embeddings");
  refused("gemma", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention");
  refused("gemma2", {{"layer_types", {"full_attention"}}}, "layer_types");
  refused("gemma2", {{"layer_types", {"chunked_attention", "full_attention", "full_attention"}}}, "chunked_attention");
  refused("gemma2", {{"sliding_window", nullptr}}, "sliding_window is off");
  refused("gemma3", {{"attn_logit_softcapping", 50}}, "attn_logit_softcapping");
  refused("gemma3", {{"rope_parameters", {{"rope_theta", 5}}}}, "full_attention");
  refused("qwen2", {{"attention_bias", true}}, "attention_bias");
  refused("qwen2", {{"num_key_value_heads", 3}}, "key-value heads");
  refused("phi3_longrope", {{"rope_parameters", {{"rope_type", "longrope"}, {"short_factor", {1, 2}}}}}, "short_factor");
  refused("stablelm", {{"qk_layernorm", true}}, "qk_layernorm is not supported");
  refused("olmoe", {{"clip_qkv", 8.0}}, "clip_qkv");
  refused("mixtral", {{"router_jitter_noise", 0.1}}, "router_jitter_noise");
  refused("mixtral", {{"num_experts_per_tok", 9}}, "there are 4 experts");
  refused("gpt_oss", {{"swiglu_limit", 0}}, "swiglu_limit must be positive");
  refused("gpt_oss", {{"quantization_config", {{"quant_method", "awq"}}}}, "quantization_config");
  refused("llama2", {{"architectures", {"MixtralForCausalLM"}}}, "MixtralForCausalLM");
  refused("llama2", {{"model_type", "mistral"}}, "model_type is mistral, but the architecture LlamaForCausalLM");
  refused("llama2", {{"model_type", "mamba"}}, "mamba (LlamaForCausalLM)");
  refused("llama2", {{"architectures", nullptr}, {"model_type", nullptr}}, "no model_type");
  refused("llama2", {{"architectures", {nullptr}}}, "wrong kind");
  refused("llama2", {{"architectures", nullptr}, {"model_type", "mamba"}}, "mamba");
}

TEST_CASE("architectures may be absent, null, empty, a text, or name the body alone", "[config]") {
  json const whole = read_json(families / "llama2" / "config.json");
  transformer_config const expected = read_config(whole, "whole");
  json without = whole;
  without.erase("architectures");
  CHECK(read_config(without, "absent") == expected);
  for (json const& said : {json(nullptr), json::array(), json("LlamaForCausalLM"), json{"LlamaModel"}}) {
    json config = whole;
    config["architectures"] = said;
    INFO(said.dump());
    CHECK(read_config(config, "here") == expected);
  }
}

TEST_CASE("sizes that a config leaves out are those of transformers", "[config]") {
  // text_config of google/gemma-3-4b-it names these alone.
  json const config{{"architectures", {"Gemma3ForConditionalGeneration"}},
                    {"model_type", "gemma3"},
                    {"text_config",
                     {{"hidden_size", 2560},
                      {"intermediate_size", 10240},
                      {"model_type", "gemma3_text"},
                      {"num_hidden_layers", 34},
                      {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                      {"sliding_window", 1024}}}};
  transformer_config const c = read_config(config, "Gemma 3 4B");
  CHECK(c.vocabulary == 262208);
  CHECK(c.heads == 8);
  CHECK(c.kv_heads == 4);
  CHECK(c.head_dim == 256);
  CHECK(c.rope.factor == 8);
  CHECK(parameter_count(c) == 3'880'263'168);
}

TEST_CASE("a body saved without its head, and a text model within another, are read by their own names", "[files]") {
  family const f = open(families / "llama_bias");  // its head is tied
  auto const opened_as = [&](std::string const& from, std::string const& to, json const& config) {
    scratch_folder const scratch;
    std::vector<tensor_plan> plan;
    for (parameter const& p : parameters_of(f.config))
      plan.push_back({to + (p.name.starts_with(from) ? p.name.substr(from.size()) : p.name), dtype::f32, p.shape});
    write_safetensors(scratch.path() / "model.safetensors", plan, [&](std::size_t i) {
      return std::as_bytes(std::span(f.theta[i].const_data_ptr<float>(), static_cast<std::size_t>(f.theta[i].numel())));
    }, {{"format", "pt"}});
    std::ofstream(scratch.path() / "config.json") << config.dump();
    checkpoint const source = checkpoint::open(scratch.path());
    transformer_config const read = read_config(source);
    CHECK(read == f.config);
    pack const theta = load_parameters(source, read);
    for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(theta[i], f.theta[i]));
  };
  opened_as("model.", "", f.source.config);
  opened_as("", "language_model.", f.source.config);
  opened_as("model.", "model.language_model.", f.source.config);
}

TEST_CASE("a stored head beside the flag that ties it counts where it differs", "[files]") {
  family const f = open(families / "llama_bias");
  for (bool const differs : {false, true}) {
    INFO(differs);
    transformer_config untied = f.config;
    untied.tied_embeddings = false;
    pack theta = f.theta;
    theta.push_back(differs ? theta.front() * 0.5 : theta.front().clone());
    scratch_folder const scratch, again;
    write_model(scratch.path(), f.source, untied, theta, dtype::f32);
    json said = read_json(scratch.path() / "config.json");
    CHECK(said.at("tie_word_embeddings") == false);
    said["tie_word_embeddings"] = true;
    std::ofstream(scratch.path() / "config.json") << said.dump();
    checkpoint const source = checkpoint::open(scratch.path());
    transformer_config const read = read_config(source);
    CHECK(read.tied_embeddings == !differs);
    pack const loaded = load_parameters(source, read);
    CHECK(loaded.size() == parameters_of(read).size());
    if (!differs) continue;
    CHECK(at::equal(loaded.back(), theta.back()));
    write_model(again.path(), source, read, loaded, dtype::f32);
    CHECK(read_json(again.path() / "config.json").at("tie_word_embeddings") == false);
  }
}

namespace {

// The config read, or refused in one line of ours; anything else is a fault.
void read_or_refuse(json const& config) {
  try {
    transformer_config const c = read_config(config, "here");
    CHECK(parameter_count(c) > 0);
  } catch (error const& e) {
    CHECK(std::string(e.what()).starts_with("here: "));
    CHECK(std::string(e.what()).find("exception") == std::string::npos);  // a library's word
  }
}

}  // namespace

TEST_CASE("every key of a config may hold any JSON", "[config]") {
  json const values = json::parse(R"([null, true, false, 0, -1, 3, 1.5, 1e300, "", "x", [], [null], [0], ["x"], {}, {"x": 0}, 9223372036854775807])");
  for (fs::path const& folder : folders()) {
    json const whole = read_json(folder / "config.json");
    for (auto const& [key, old] : whole.items())
      for (json const& value : values) {
        INFO(folder.filename().string() << ": " << key << " = " << value.dump());
        json config = whole;
        config[key] = value;
        read_or_refuse(config);
        if (!old.is_object()) continue;
        for (auto const& [inner, ignored] : old.items()) {
          config[key] = old;
          config[key][inner] = value;
          read_or_refuse(config);
        }
      }
  }
  for (json const& value : values) read_or_refuse(value);
}

TEST_CASE("old and new spellings of a config say the same", "[config]") {
  json const old = read_json(families / "gemma3_old" / "config.json");
  json modern = old;
  for (char const* key : {"rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern", "torch_dtype"}) modern.erase(key);
  modern["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  modern["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5000.0}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 100.0}}}};
  transformer_config const a = read_config(old, "old"), b = read_config(modern, "new");
  for (std::int64_t i = 0; i < 3; ++i) {
    CHECK(a.layer(i).window == b.layer(i).window);
    CHECK(a.layer(i).rope == b.layer(i).rope);
  }
  for (auto const which : {&transformer_config::rope, &transformer_config::local_rope}) {
    CHECK((a.*which).type == (b.*which).type);
    CHECK((a.*which).theta == (b.*which).theta);
    CHECK((a.*which).factor == (b.*which).factor);
  }
}

TEST_CASE("the models of the papers have the parameters they are known to have", "[config]") {
  std::map<std::string, std::int64_t> const known{
      {"llama-2-7b", 6'738'415'616}, {"mistral-7b", 7'241'732'096}, {"gemma-2b", 2'506'172'416}, {"solar-10.7b", 10'731'524'096}};
  for (auto const& [name, parameters] : known) {
    INFO(name);
    fs::path const file = fs::path(KEDGE_TESTS_DIR) / "golden" / "papers" / (name + ".json");
    json const about = describe_config(file);
    CHECK(about.at("problems").empty());
    CHECK(about.at("parameters") == parameters);
    json const& memory = about.at("memory");
    CHECK(memory.at("weights") == 2 * parameters);
    CHECK(memory.at("1 x 80 GB").at("bytes") == 18 * parameters);
    CHECK(memory.at("1 x 80 GB").at("fits") == (name == "gemma-2b"));
    CHECK(memory.at("1 x 80 GB, LoRA of rank 16").at("fits") == true);
    CHECK(memory.at("8 x 80 GB, each, moments shared").at("bytes") == 11 * parameters);
    json const shared = describe_config(file, {.optimizer = optimizer_choice("adamw_bf16").bytes(), .processes = 4}).at("memory");
    CHECK(shared.at("moments") == parameters);
    CHECK(shared.at("4 x 80 GB, each, moments shared").at("bytes") == 11 * parameters);
    char const* const host = "host, bfloat16, 512 tokens at once";
    CHECK(memory.at(host).get<std::int64_t>() - shared.at(host).get<std::int64_t>() == 7 * parameters);
  }
}

TEST_CASE("LoRA trains as many numbers as its two factors of every map have", "[config]") {
  transformer_config const c = read_config(read_json(fs::path(KEDGE_TESTS_DIR) / "golden" / "papers" / "llama-2-7b.json"), "Llama 2");
  // peft.LoraConfig(r=16, target_modules="all-linear") on this model prints 39,976,960 trainable parameters.
  CHECK(plan_memory(c, {.lora = lora_settings{.rank = 16, .target_modules = {"all-linear"}}}).trained == 39'976'960);
}

TEST_CASE("every family read from the file that llama.cpp's converter made of it is the one read from its folder", "[gguf]") {
  using config = transformer_config;
  // What the format has no words for, or the converter leaves out; Llama 3's rotary frequencies come back as divisors.
  std::map<std::string, std::vector<void (*)(config&, config const&)>> unsaid;
  auto const rope = [](config& c, config const& from) { c.rope = from.rope; };
  auto const attention = [](config& c, config const& from) { c.attention = from.attention; };
  auto const query_scalar = [](config& c, config const& from) { c.query_scalar = from.query_scalar; };
  for (char const* name : {"llama3", "llama_dynamic", "llama_yarn_old"}) unsaid[name] = {rope};
  for (char const* name : {"mistral", "qwen2_window", "smollm3"}) unsaid[name] = {attention};
  for (char const* name : {"gemma3", "gemma3_old"}) unsaid[name] = {attention, query_scalar};
  unsaid["gemma2"] = {query_scalar};
  auto const experts = [](config& c, config const& from) { c.experts = from.experts; };
  unsaid["gpt_oss"] = unsaid["qwen3_moe_dense"] = unsaid["qwen3_moe"] = {experts};  // llama.cpp always normalises Qwen's
  std::size_t files = 0;
  for (fs::path const& folder : folders()) {
    family f = open(folder);
    INFO(f.name);
    fs::path const place = fs::path(KEDGE_TESTS_DIR) / "golden" / "gguf" / "families" / (f.name + ".gguf");
    if (!fs::exists(place)) continue;  // a family that kedge reads from folders alone
    ++files;
    checkpoint const file = checkpoint::open(place);
    config said = read_config(file.config, f.name);
    pack const theta = load_parameters(file, said);
    REQUIRE(theta.size() == f.theta.size());
    for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(theta[i], f.theta[i]));
    if (f.name == "llama3" || !unsaid.contains(f.name)) {
      config const other = std::exchange(f.config, said);
      CHECK(error_of_logits(f) < 1e-5);
      f.config = other;
    }
    for (auto const put_right : unsaid[f.name]) put_right(said, f.config);
    for (config* const c : {&said, &f.config})  // GGUF's numbers are float32
      for (double* const x : {&c->rms_norm_eps, &c->attention_scale, &c->residual_scale, &c->rope.query_growth}) *x = static_cast<float>(*x);
    CHECK(said == f.config);
  }
  CHECK(files == 31);
}

TEST_CASE("a GGUF file of every architecture opens as a model that computes", "[gguf]") {
  for (char const* name : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    INFO(name);
    checkpoint const source = checkpoint::open(fs::path(KEDGE_TESTS_DIR) / "golden" / "gguf" / (std::string(name) + ".gguf"));
    transformer_config const config = read_config(source.config, name);
    pack const theta = load_parameters(source, config);
    std::vector<std::int32_t> const prompt{1, 2}, completion{3, 4, 2};
    ragged_batch batch;
    std::span<std::int32_t const> const one[] = {completion};
    append(batch, prompt, one);
    double const logp = causal_lm(config, {}).log_probs(theta, batch).at(0);
    CHECK(std::isfinite(logp));
    CHECK(logp < 0);
  }
}
