// SPDX-License-Identifier: Apache-2.0

// Supervised fine-tuning and reward models: against TRL step by step, against themselves, and what they write.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/reward_model.hpp>
#include <kedge/llm/train/sft.hpp>

#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"
#include "support/tiny_runs.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_file;
using kedge::testing::lines;
using kedge::testing::four_steps;
using kedge::testing::scratch_folder;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

fs::path write_lines(fs::path const& file, std::vector<json> const& all) {
  std::ofstream out(file);
  for (json const& line : all) out << line.dump() << '\n';
  return file;
}

template <class Settings>
Settings settings_for(fs::path const& output) {
  return four_steps<Settings>(output, "tied");
}

void take(json const& given, run_settings& s) {
  s.per_device_train_batch_size = given.at("per_device_train_batch_size").get<std::size_t>();
  s.gradient_accumulation_steps = given.value("gradient_accumulation_steps", std::size_t{1});
  s.max_length = given.value("max_length", std::size_t{1024});
}
void take(json const& given, sft_settings& s) {
  take(given, static_cast<run_settings&>(s));
  s.loss_type = from_name<sft_loss>(given.value("loss_type", "nll")).value();
  s.label_smoothing_factor = given.value("label_smoothing_factor", 0.0);
}

void check_steps(json const& expected, fs::path const& run, std::vector<std::string> const& names) {
  std::vector<json> const got = lines(run / "metrics.jsonl");
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("step " << i + 1 << ": " << got[i].dump() << " against " << expected[i].dump());
    CHECK(std::abs(got[i].at("loss").get<double>() - expected[i].at("loss").get<double>()) < 1e-5);
    double const norm = expected[i].at("grad_norm").get<double>();
    CHECK(std::abs(got[i].at("grad_norm").get<double>() - norm) < 2e-4 * norm);
    for (std::string const& name : names)
      CHECK(std::abs(got[i].at(name).get<double>() - expected[i].at(name).get<double>()) < 1e-4);
  }
}

// Demonstrations of the pairs' chosen sides, as `run` of the golden file takes them.
std::vector<json> demonstrations(std::string const& run) {
  std::vector<json> out;
  for (json const& pair : lines(tiny / (run == "text" ? "pairs-text.jsonl" : "pairs.jsonl"))) {
    json const& prompt = pair.at("prompt");
    json messages = prompt;
    if (prompt.is_array()) messages.insert(messages.end(), pair.at("chosen").begin(), pair.at("chosen").end());
    out.push_back(run == "messages" ? json{{"messages", messages}} : json{{"prompt", prompt}, {"completion", pair.at("chosen")}});
  }
  return out;
}

json tiny_json(std::string const& name) { return json::parse(read_file(tiny / name)); }

// The tiny language model with a given score head, as a reward model.
fs::path with_head(fs::path const& folder, std::vector<float> const& score) {
  fs::create_directories(folder);
  for (char const* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) fs::copy_file(tiny / "tied" / name, folder / name);
  json config = tiny_json("tied/config.json");
  config["architectures"] = {"LlamaForSequenceClassification"};
  config["id2label"] = {{"0", "LABEL_0"}};
  std::ofstream(folder / "config.json") << config;
  safetensors_file const weights(tiny / "tied/model.safetensors");
  std::vector<tensor_to_write> all;
  for (auto const& t : weights.tensors()) all.push_back({t.name, *t.type, t.shape, t.bytes});
  all.push_back({"score.weight", dtype::f32, {1, static_cast<std::int64_t>(score.size())}, std::as_bytes(std::span(score))});
  write_safetensors(folder / "model.safetensors", all, {{"format", "pt"}});
  return folder;
}

// A copy of the tiny model in which one token has another name.
fs::path with_renamed_token(fs::path const& folder) {
  fs::copy(tiny / "tied", folder);
  json words = tiny_json("tied/tokenizer.json");
  json vocabulary = json::object();
  for (auto const& [word, id] : words["model"]["vocab"].items()) vocabulary[id == 270 ? "renamed" : word] = id;
  for (json& merge : words["model"]["merges"])
    if (merge.dump().find("renamed") != std::string::npos) FAIL("the tokenizer has that word");
  words["model"]["vocab"] = vocabulary;
  words["model"]["merges"] = json::array();
  std::ofstream(folder / "tokenizer.json") << words;
  return folder;
}

template <class Run, class Settings>
void check_resume(Run&& run, Settings s) {
  s.save_steps = 1;
  s.logging_steps = 3;
  s.shuffle = true;
  run(s);
  std::string const expected = read_file(s.output_dir / "model.safetensors"), metrics = read_file(s.output_dir / "metrics.jsonl");
  for (int step = 1; step <= 4; ++step) {
    INFO("from step " << step);
    s.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
    run(s);
    CHECK(read_file(s.output_dir / "model.safetensors") == expected);
    CHECK(read_file(s.output_dir / "metrics.jsonl") == metrics);
  }
}

template <class Run, class Settings>
void check_packing(Run&& run, Settings const& s) {
  Settings whole = s, cut = s;
  whole.compute.dtype = cut.compute.dtype = compute_type::float64;
  whole.per_device_train_batch_size = 8;
  whole.compute.micro_batch_tokens = 100000;
  cut.output_dir = s.output_dir.string() + "-cut";
  cut.per_device_train_batch_size = 2;
  cut.gradient_accumulation_steps = 4;
  cut.compute.micro_batch_tokens = 1;
  run(whole);
  run(cut);
  std::vector<json> const a = lines(whole.output_dir / "metrics.jsonl"), b = lines(cut.output_dir / "metrics.jsonl");
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(std::abs(a[i].at("loss").get<double>() - b[i].at("loss").get<double>()) < 1e-10);
    CHECK(std::abs(a[i].at("grad_norm").get<double>() - b[i].at("grad_norm").get<double>()) < 1e-8);
  }
}

}  // namespace

TEST_CASE("supervised fine-tuning takes the steps that TRL takes", "[sft][golden]") {
  scratch_folder const folder;
  json const golden = tiny_json("trl_sft.json").at("runs");
  REQUIRE(golden.size() == 9);
  for (auto const& [name, run] : golden.items()) {
    INFO(name);
    auto s = settings_for<sft_settings>(folder / name);
    take(run.at("settings"), s);
    s.dataset = write_lines(folder / (name + ".jsonl"), demonstrations(name));
    if (run.at("settings").contains("completion_only_loss")) s.completion_only_loss = run.at("settings").at("completion_only_loss").get<bool>();
    train_sft(s);
    check_steps(run.at("steps"), s.output_dir, {"num_tokens", "entropy", "mean_token_accuracy"});
  }
}

TEST_CASE("a reward model takes the steps that TRL takes and rewards as TRL's does", "[reward][golden]") {
  scratch_folder const folder;
  json const golden = tiny_json("trl_reward.json");
  fs::path const base = with_head(folder / "base", golden.at("score").get<std::vector<float>>());
  REQUIRE(golden.at("runs").size() == 4);
  for (auto const& [name, run] : golden.at("runs").items()) {
    INFO(name);
    auto s = settings_for<reward_settings>(folder / name);
    take(run.at("settings"), s);
    s.model = base;
    s.center_rewards_coefficient = run.at("settings").value("center_rewards_coefficient", 0.0);
    std::vector<json> pairs = lines(tiny / (name == "text" ? "pairs-text.jsonl" : "pairs.jsonl"));
    if (name == "margin")
      for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i]["margin"] = 0.25 * static_cast<double>(i % 3);
    s.dataset = write_lines(folder / (name + ".jsonl"), pairs);
    train_reward(s);
    check_steps(run.at("steps"), s.output_dir, {"num_tokens", "min_reward", "mean_reward", "max_reward", "accuracy", "margin"});

    reward_model const trained(s.output_dir, s.compute);
    std::vector<judged> asked;
    for (json const& pair : pairs)
      for (char const* side : {"chosen", "rejected"})
        asked.push_back({pair.at("prompt"), pair.at(side).is_string() ? pair.at(side).get<std::string>() : pair.at(side).at(0).at("content").get<std::string>()});
    std::vector<double> const rewards = trained.score(asked);
    for (std::size_t i = 0; i < rewards.size(); ++i) CHECK(std::abs(rewards[i] - run.at("rewards_after").at(i / 2).at(i % 2).get<double>()) < 1e-4);
  }
}

TEST_CASE("a reward model is written as transformers wants it", "[reward]") {
  scratch_folder const folder;
  auto s = settings_for<reward_settings>(folder / "run");
  s.dataset = s.eval_dataset = tiny / "pairs.jsonl";
  one_round_result const result = train_reward(s);
  REQUIRE(result.evaluations.size() == 2);
  CHECK(result.evaluations[1].at("eval_loss").get<double>() < result.evaluations[0].at("eval_loss").get<double>());
  CHECK(result.evaluations[1].at("eval_accuracy").get<double>() >= result.evaluations[0].at("eval_accuracy").get<double>());
  checkpoint const written = checkpoint::open(s.output_dir);
  CHECK(written.config.at("architectures") == json{"LlamaForSequenceClassification"});
  CHECK(written.config.at("id2label") == json{{"0", "LABEL_0"}});
  CHECK(written.config.at("pad_token_id") == 0);
  CHECK(written.entry("score.weight").shape == std::vector<std::int64_t>{1, 32});
  CHECK_FALSE(written.contains("lm_head.weight"));
  CHECK(written.generation_config.is_null());
}

TEST_CASE("a reward run in bf16 sees its first step by the numbers of fp32 where products read the masters", "[reward]") {
  if (!fast_fp32_products()) return;
  scratch_folder const folder;
  auto first_step = [&](std::string const& dtype, std::string const& weights) {
    auto s = settings_for<reward_settings>(folder / (dtype + weights));
    s.dataset = s.eval_dataset = tiny / "pairs.jsonl";
    s.compute.dtype = from_name<compute_type>(dtype).value();
    s.compute.weights_dtype = from_name<weights_type>(weights).value();
    s.max_steps = 1;
    json const held_out = train_reward(s).evaluations.front();
    for (json const& line : lines(s.output_dir / "metrics.jsonl"))
      if (line.contains("loss")) return std::pair{line, held_out};
    return std::pair{json(), held_out};
  };
  auto const [exact, exact_held_out] = first_step("float32", "auto");
  auto const [mixed, mixed_held_out] = first_step("bfloat16", "auto");
  auto const [copied, copied_held_out] = first_step("bfloat16", "bfloat16");
  CHECK(mixed_held_out == exact_held_out);
  CHECK(copied_held_out != exact_held_out);
  for (char const* name : {"loss", "margin", "mean_reward"}) CHECK(mixed.at(name) == exact.at(name));
  double const ratio = mixed.at("grad_norm").get<double>() / exact.at("grad_norm").get<double>();
  CHECK(std::abs(ratio - 1) < 0.02);
  CHECK(ratio != 1);  // what is kept for the backward pass is bf16
}

TEST_CASE("rewards do not depend on company", "[reward]") {
  scratch_folder const folder;
  json const golden = tiny_json("trl_reward.json");
  fs::path const base = with_head(folder / "base", golden.at("score").get<std::vector<float>>());
  std::vector<judged> asked;
  for (json const& pair : lines(tiny / "pairs.jsonl"))
    for (std::string const text : {"Yes.", "Yes.", "Not at all, and why should it be?", ""}) asked.push_back({pair.at("prompt"), text});
  asked.push_back({"plain", " text"});
  device_settings device{.dtype = compute_type::float64};
  std::vector<double> const together = reward_model(base, device).score(asked);
  device.micro_batch_tokens = 1;
  reward_model const alone(base, device);
  REQUIRE(together.size() == asked.size());
  for (std::size_t i = 0; i < asked.size(); ++i) CHECK(std::abs(alone.score({&asked[i], 1}).front() - together[i]) < 1e-12);
  CHECK(together[0] == together[1]);
  CHECK(together[0] != together[2]);
}

TEST_CASE("fine-tuning and reward runs that stopped after any step go on to the same bits", "[sft][reward]") {
  scratch_folder const folder;
  auto s = settings_for<sft_settings>(folder / "sft");
  s.dataset = write_lines(folder / "data.jsonl", demonstrations("plain"));
  s.eval_dataset = s.dataset;
  check_resume(train_sft, s);
  auto r = settings_for<reward_settings>(folder / "reward");
  r.dataset = r.eval_dataset = tiny / "pairs.jsonl";
  check_resume(train_reward, r);
  r.resume_from_checkpoint = "latest";
  r.save_steps = 1;
  r.shuffle = true;
  r.center_rewards_coefficient = 1;
  CHECK_THROWS_WITH(train_reward(r), contains("center_rewards_coefficient"));
}

TEST_CASE("packing and accumulation change no step of fine-tuning and of reward models", "[sft][reward]") {
  scratch_folder const folder;
  auto s = settings_for<sft_settings>(folder / "sft");
  s.dataset = write_lines(folder / "data.jsonl", demonstrations("plain"));
  check_packing(train_sft, s);
  auto r = settings_for<reward_settings>(folder / "reward");
  r.dataset = tiny / "pairs.jsonl";
  r.center_rewards_coefficient = 0.1;
  check_packing(train_reward, r);
}

TEST_CASE("a model can start from random numbers that the seed fixes", "[sft]") {
  scratch_folder const folder;
  fs::create_directory(folder / "description");
  for (char const* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"})
    fs::copy_file(tiny / "tied" / name, folder / "description" / name);
  auto s = settings_for<sft_settings>(folder / "a");
  s.model.clear();
  s.config_name = folder / "description";
  s.dataset = s.eval_dataset = write_lines(folder / "data.jsonl", demonstrations("plain"));
  s.learning_rate = 1e-2;
  s.max_steps = 20;
  one_round_result const result = train_sft(s);
  CHECK(std::abs(result.evaluations[0].at("eval_loss").get<double>() - std::log(320)) < 1);  // it knows nothing yet
  CHECK(result.evaluations[1].at("eval_loss").get<double>() < 4);
  auto again = s, other = s;
  again.output_dir = folder / "b";
  other.output_dir = folder / "c";
  other.seed = 7;
  train_sft(again);
  train_sft(other);
  CHECK(read_file(folder / "a" / "model.safetensors") == read_file(folder / "b" / "model.safetensors"));
  CHECK(read_file(folder / "a" / "model.safetensors") != read_file(folder / "c" / "model.safetensors"));
}

TEST_CASE("what fine-tuning and reward models can't use is refused in one line", "[sft][reward]") {
  scratch_folder const folder;
  auto s = settings_for<sft_settings>(folder / "sft");
  CHECK_THROWS_WITH(train_sft(s), contains("--dataset"));
  s.dataset = write_lines(folder / "messages.jsonl", demonstrations("messages"));
  s.completion_only_loss = true;
  CHECK_THROWS_WITH(train_sft(s), contains("messages.jsonl:1: --completion_only_loss true needs a prompt"));
  s.config_name = tiny / "tied";
  CHECK_THROWS_WITH(train_sft(s), contains("either --model_name_or_path"));

  auto r = settings_for<reward_settings>(folder / "reward");
  std::vector<json> pairs = lines(tiny / "pairs.jsonl");
  pairs[1]["margin"] = 1;
  r.dataset = write_lines(folder / "margins.jsonl", pairs);
  CHECK_THROWS_WITH(train_reward(r), contains("margins.jsonl:2: some lines have a margin"));
  r.dataset = tiny / "pairs.jsonl";
  r.max_length = 3;
  CHECK_THROWS_WITH(train_reward(r), contains("longer than max_length 3"));

  CHECK_THROWS_WITH(reward_model(tiny / "tied", {}), contains("is a language model, not a reward model"));
  fs::path const base = with_head(folder / "base", std::vector<float>(32, 0.1F));
  tokenizer const own = tokenizer::from_json(checkpoint::open(tiny / "tied").tokenizer);
  tokenizer const renamed = tokenizer::from_json(checkpoint::open(with_renamed_token(folder / "renamed")).tokenizer);
  reward_model const opened(base, {});
  CHECK_NOTHROW(opened.require_same_tokenizer(own, "the policy"));
  CHECK_THROWS_WITH(opened.require_same_tokenizer(renamed, "the policy"), contains("has another tokenizer than the policy: token 270 is "));
  s.model = base;
  s.config_name.clear();
  CHECK_THROWS_WITH(train_sft(s), contains("give a language model"));
}
