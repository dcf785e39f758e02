// SPDX-License-Identifier: Apache-2.0

// Whole runs on a tiny checkpoint: against each other, and through every way of stopping and going on.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/scoring.hpp>
#include <kedge/llm/train/preference.hpp>

#include "../adapters/llm/src/train/trainer.hpp"
#include "../adapters/llm/src/train/session.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::lines;
using kedge::testing::scratch_folder;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

training_settings settings_for(fs::path const& output, std::string const& model = "tied") {
  training_settings s;
  s.model = tiny / model;
  s.output_dir = output;
  s.dataset = {tiny / "pairs.jsonl"};
  s.compute.dtype = compute_type::float32;
  s.learning_rate = 1e-3;
  s.per_device_train_batch_size = 4;
  s.max_steps = 4;
  s.logging_steps = 1;
  s.save_steps = 0;
  s.shuffle = false;
  s.lr_scheduler_type = kedge::llm::lr_scheduler::constant;
  s.quiet = true;
  return s;
}

std::string weights_of(fs::path const& run) { return kedge::testing::read_file(run / "model.safetensors"); }

std::string trained(training_settings const& settings, round_settings const& rounds = {}) {
  train_preferences(settings, rounds);
  return weights_of(settings.output_dir);
}

}  // namespace

TEST_CASE("before the first step the loss is ln 2 and every margin is exactly 0", "[training]") {
  scratch_folder const folder;
  for (compute_type const dtype : {compute_type::float32, compute_type::bfloat16}) {
    training_settings s = settings_for(folder / std::string(name_of(dtype)));
    s.compute.dtype = dtype;
    s.shuffle = true;
    s.eval_dataset = tiny / "pairs.jsonl";
    s.max_steps = 1;
    training_result const result = train_preferences(s, {});
    json const first = lines(s.output_dir / "metrics.jsonl").at(1);
    CHECK(std::abs(first.at("loss").get<double>() - std::log(2.0)) < 1e-12);
    CHECK(first.at("rewards/margins") == 0.0);
    CHECK(result.evaluations.front().margin == 0.0);
    CHECK(result.evaluations.back().round == 1);
  }
}

TEST_CASE("a profile divides the time of steps and reference passes and leaves the result as it is", "[training]") {
  scratch_folder const folder;
  training_settings plain = settings_for(folder / "plain"), profiled = settings_for(folder / "profiled");
  profiled.profile = true;
  profiled.profile_trace = folder / "trace.json";
  CHECK(trained(plain) == trained(profiled));
  json const last = lines(profiled.output_dir / "metrics.jsonl").back().at("profile");
  double phases = 0;
  for (auto const& [name, row] : last.at("phases").items()) phases += row.at("seconds").get<double>();
  CHECK(phases > 0);
  CHECK(std::abs(phases - last.at("seconds").get<double>()) < 1e-9);
  for (char const* name : {"matrix products", "attention", "norms and activations", "head", "optimizer", "data", "other"})
    CHECK(last.at("phases").at(name).at("seconds") > 0.0);
  CHECK(last.at("share_of_peak") > 0.0);
  json const trace = json::parse(kedge::testing::read_file(profiled.profile_trace));
  CHECK(trace.at("traceEvents").size() > 100);
}

TEST_CASE("one chunk of sdpo and one round of apo are dpo bit for bit", "[training]") {
  scratch_folder const folder;
  std::string const dpo = trained(settings_for(folder / "dpo"));
  CHECK(trained(settings_for(folder / "sdpo"), {.method = round_method::sdpo, .chunks = 1}) == dpo);
  CHECK(trained(settings_for(folder / "apo"), {.method = round_method::apo, .chunks = 1, .momentum = momentum_choice::constant, .alpha = {0.5}}) == dpo);
}

TEST_CASE("apo with alpha 0 is iterative dpo bit for bit and with alpha above 0 it is not", "[training]") {
  scratch_folder const folder;
  std::string const iterative = trained(settings_for(folder / "sdpo"), {.method = round_method::sdpo, .chunks = 3});
  round_settings apo{.method = round_method::apo, .chunks = 3, .momentum = momentum_choice::constant, .alpha = {0}};
  CHECK(trained(settings_for(folder / "zero"), apo) == iterative);
  apo.extrapolate = extrapolated::log_probs;
  CHECK(trained(settings_for(folder / "zero-log-probs"), apo) == iterative);
  apo.alpha = {0.5};
  std::string const log_probs = trained(settings_for(folder / "log-probs"), apo);
  apo.extrapolate = extrapolated::weights;
  std::string const weights = trained(settings_for(folder / "weights"), apo);
  CHECK(log_probs != iterative);
  CHECK(weights != iterative);
  CHECK(weights != log_probs);
}

TEST_CASE("after a hand-off the loss starts at ln 2 again", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "run");
  s.max_steps = 3;
  train_preferences(s, {.method = round_method::sdpo, .chunks = 2, .order = chunk_order::random});
  auto const steps = lines(s.output_dir / "metrics.jsonl");
  REQUIRE(steps.size() == 6);
  CHECK(std::abs(steps[3].at("loss").get<double>() - std::log(2.0)) < 1e-12);
  CHECK(steps[3].at("round") == 2);
}

TEST_CASE("rounds on one reference with an optimizer that spans the run are one long round, bit for bit", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "long");
  s.max_steps = 0;
  s.num_train_epochs = 3;
  s.lr_scheduler_type = kedge::llm::lr_scheduler::linear;
  std::string const whole = trained(s);
  s.output_dir = folder / "rounds";
  s.num_train_epochs = 1;
  s.dataset.assign(3, s.dataset.front());
  round_settings rounds{.method = round_method::sdpo, .reference = parse_reference("start"), .optimizer_span = optimizer_span::run};
  CHECK(trained(s, rounds) == whole);
  rounds.optimizer_span = optimizer_span::round;
  s.output_dir = folder / "anew";
  CHECK(trained(s, rounds) != whole);
}

TEST_CASE("a run whose optimizer spans its rounds stops and goes on to the same bits", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "whole");
  s.max_steps = 2;
  s.save_steps = 1;
  s.save_total_limit = 0;
  s.lr_scheduler_type = kedge::llm::lr_scheduler::cosine;
  round_settings const rounds{.method = round_method::sdpo, .chunks = 3, .optimizer_span = optimizer_span::run};
  std::string const whole = trained(s, rounds);
  for (int step = 1; step < 6; ++step) {
    training_settings again = s;
    again.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
    CHECK(trained(again, rounds) == whole);
  }
}

TEST_CASE("accumulation 1 times 8 is 8 times 1", "[training]") {
  scratch_folder const folder;
  training_settings whole = settings_for(folder / "whole"), cut = settings_for(folder / "cut");
  whole.compute.dtype = cut.compute.dtype = compute_type::float64;
  whole.per_device_train_batch_size = 8;
  cut.per_device_train_batch_size = 1;
  cut.gradient_accumulation_steps = 8;
  cut.compute.micro_batch_tokens = 1;
  train_preferences(whole, {});
  train_preferences(cut, {});
  auto const a = lines(whole.output_dir / "metrics.jsonl"), b = lines(cut.output_dir / "metrics.jsonl");
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(std::abs(a[i].at("loss").get<double>() - b[i].at("loss").get<double>()) < 1e-9);
    CHECK(std::abs(a[i].at("grad_norm").get<double>() - b[i].at("grad_norm").get<double>()) < 1e-7);
  }
}

TEST_CASE("the log says in which steps clipping acted, and the end in how many", "[training]") {
  scratch_folder const folder;
  for (double const norm : {1e-9, 0.0, 1e9}) {
    training_settings s = settings_for(folder / (norm == 0 ? "never" : norm < 1 ? "always" : "long"));
    s.max_grad_norm = norm;
    s.max_steps = 2;
    s.quiet = false;
    std::FILE* const file = std::fopen((folder / "told").c_str(), "w");
    s.tells = screen(file);
    train_preferences(s, {});
    std::fclose(file);
    for (auto const& line : lines(s.output_dir / "metrics.jsonl")) CHECK(line.at("grad_clipped").get<double>() == (norm == 1e-9 ? 1 : 0));
    bool const told = kedge::testing::read_file(folder / "told").find("the gradient was clipped in 2 of 2 steps (--max_grad_norm 1e-09)") != std::string::npos;
    CHECK(told == (norm == 1e-9));
  }
}

TEST_CASE("a run that stopped after any step goes on to the same bits", "[training]") {
  scratch_folder const folder;
  for (extrapolated const what : {extrapolated::weights, extrapolated::log_probs})
    for (std::string const dtype : {"float32", "bfloat16", "bfloat16 copies"}) {
      INFO(name_of(what) << " " << dtype);
      round_settings const rounds{.method = round_method::apo, .chunks = 3, .momentum = momentum_choice::constant, .alpha = {0.5}, .extrapolate = what};
      training_settings s = settings_for(folder / (std::string(name_of(what)) + dtype));
      s.compute.dtype = from_name<compute_type>(dtype.substr(0, dtype.find(' '))).value();
      s.compute.weights_dtype = dtype == "bfloat16 copies" ? weights_type::bfloat16 : weights_type::automatic;
      s.max_steps = 2;
      s.shuffle = true;
      s.save_steps = 1;
      s.logging_steps = 3;
      s.eval_dataset = tiny / "pairs.jsonl";
      std::string const expected = trained(s, rounds);
      std::string const metrics = kedge::testing::read_file(s.output_dir / "metrics.jsonl");
      for (int step = 1; step <= 6; ++step) {
        training_settings again = s;
        again.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
        CHECK(trained(again, rounds) == expected);
        CHECK(kedge::testing::read_file(s.output_dir / "metrics.jsonl") == metrics);
      }
    }
}

TEST_CASE("a run with short moments or with none stops and goes on to the same bits", "[training]") {
  scratch_folder const folder;
  for (std::string const optim : {"adamw_bf16", "adamw_8bit", "sgd", "paged_adamw_8bit"}) {
    training_settings s = settings_for(folder / optim);
    s.optim = optim;
    s.save_steps = 2;
    std::string const expected = trained(s);
    s.resume_from_checkpoint = (s.output_dir / "checkpoints/step-2").string();
    CHECK(trained(s) == expected);
    s.optim = "adamw_torch_fused";
    CHECK_THROWS_WITH(train_preferences(s, {}), kedge::testing::contains("optim = \"" + optim));
    s.resume_from_checkpoint = {};
    s.output_dir = folder / (optim + "fp32");
    CHECK(trained(s) != expected);
  }
}

TEST_CASE("a run in bf16 measures what rounding does to margins and warns in a line where it exceeds them", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "small");
  CHECK_FALSE(train_preferences(s, {}).noise);  // fp32
  s = settings_for(folder / "bf16");
  s.compute.dtype = compute_type::bfloat16;
  s.compute.weights_dtype = weights_type::bfloat16;
  s.learning_rate = 1e-2;
  s.max_steps = 20;
  margin_noise const large = train_preferences(s, {}).noise.value();
  CHECK(large.pairs == 2);
  CHECK(large.median > 0);
  CHECK(large.maximum >= large.median);
  CHECK(large.median < 0.2 * large.margin);
  auto const measured = [](fs::path const& run) {
    std::size_t count = 0;
    for (json const& line : lines(run / "metrics.jsonl")) count += line.contains("bf16_noise/median") ? 1 : 0;
    return count;
  };
  CHECK(measured(s.output_dir) == 1);
  s.output_dir = folder / "rounds";
  s.max_steps = 2;
  train_preferences(s, {.method = round_method::apo, .chunks = 3, .momentum = momentum_choice::constant, .alpha = {0.5}, .extrapolate = extrapolated::log_probs});
  CHECK(measured(s.output_dir) == 3);
  s = settings_for(folder / "none");
  s.compute.dtype = compute_type::bfloat16;
  s.compute.weights_dtype = weights_type::bfloat16;
  s.precision_pairs = 0;
  CHECK_FALSE(train_preferences(s, {}).noise);
}

TEST_CASE("a count is told in three characters and a unit at most", "[training]") {
  std::vector<std::pair<std::int64_t, std::string>> const known{{0, "0"}, {512, "512"}, {999, "999"}, {1000, "1.0k"}, {9'440, "9.4k"}, {9'960, "10k"}, {33'600, "34k"},
                                                                {999'499, "999k"}, {999'600, "1.0M"}, {134'515'008, "135M"}, {6'738'415'616, "6.7B"}, {72'000'000'000, "72B"}};
  for (auto const& [count, text] : known) CHECK(short_count(count) == text);
}

TEST_CASE("the plan of a run's memory is made of its own settings", "[training]") {
  run_settings s;
  s.optim = "adamw_8bit";
  s.where.size = 3;
  compute_settings compute{.type = at::kBFloat16, .fp32_weights = true};
  plan_settings const plan = plan_of(s, compute, {.points = 2, .models = 2});
  CHECK(plan.optimizer(1000, 4) == 2 * (1000 + 4 * 4));
  CHECK(plan.word == 2);
  CHECK(plan.reads_masters);
  CHECK(plan.processes == 3);
  CHECK(plan.points == 2);
  CHECK(plan.models == 2);
  CHECK_FALSE(plan.lora);
  s.use_peft = true;
  s.lora.rank = 5;
  CHECK(plan_of(s, compute).lora.value().rank == 5);
}

TEST_CASE("a resume with other settings is refused and names the setting", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "run");
  s.save_steps = 1;
  train_preferences(s, {});
  s.resume_from_checkpoint = "latest";
  s.loss.beta = 0.2;
  CHECK_THROWS_WITH(train_preferences(s, {}), kedge::testing::contains("beta = 0.1"));
}

TEST_CASE("what settings leave to the device is told in run.json as it was settled, and a resume goes on with it", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "open");
  s.max_steps = 1;
  train_preferences(s, {});
  json const open = json::parse(std::ifstream(s.output_dir / "run.json"));
  for (auto const& [name, value] : std::vector<std::pair<std::string, json>>{{"micro_batch_tokens", 512}, {"tf32", "off"}, {"cuda_graphs", "off"}}) {
    CHECK(open.at("settings").at(name) == value);
    CHECK(open.at("identity").at(name) == value);
    CHECK_FALSE(open.at("defaults").contains(name));
  }
  s = settings_for(folder / "given");
  s.max_steps = 2;
  s.save_steps = 1;
  s.compute.micro_batch_tokens = 64;
  std::string const expected = trained(s);
  s.resume_from_checkpoint = (s.output_dir / "checkpoints/step-1").string();
  s.compute.micro_batch_tokens = tokens_at_once();
  CHECK(trained(s) == expected);
  s.compute.micro_batch_tokens = 128;
  CHECK_THROWS_WITH(train_preferences(s, {}), kedge::testing::contains("micro_batch_tokens = 64"));
}

#if !defined(__SANITIZE_ADDRESS__)  // which keeps what is freed for a while
TEST_CASE("memory is flat over 200 steps", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "few");
  s.max_steps = 20;
  std::size_t const few = train_preferences(s, {}).peak_memory_bytes;
  s = settings_for(folder / "many");
  s.max_steps = 200;
  CHECK(train_preferences(s, {}).peak_memory_bytes < few + (4u << 20));
}
#endif

TEST_CASE("difficulty orders the rounds", "[training]") {
  scratch_folder const folder;
  training_settings s = settings_for(folder / "margin");
  CHECK(trained(s, {.method = round_method::sdpo, .chunks = 2, .order = chunk_order::easy_to_hard, .difficulty = pair_difficulty::logp_margin}) !=
        trained(settings_for(folder / "reverse"), {.method = round_method::sdpo, .chunks = 2, .order = chunk_order::hard_to_easy, .difficulty = pair_difficulty::logp_margin}));
  CHECK_THROWS_WITH(train_preferences(settings_for(folder / "scores"), {.method = round_method::sdpo, .chunks = 2, .order = chunk_order::easy_to_hard}),
                    kedge::testing::contains("score_chosen"));
}

TEST_CASE("what can't be trained is refused in one line and leaves nothing behind", "[training]") {
  scratch_folder const folder;
  auto refusal = [&](training_settings const& s, round_settings const& r = {}) {
    try {
      train_preferences(s, r);
    } catch (std::exception const& e) {
      CHECK(std::string(e.what()).find('\n') == std::string::npos);
      return std::string(e.what());
    }
    return std::string();
  };
  using kedge::testing::contains;
  training_settings s = settings_for(folder / "out");
  s.model = tiny / "missing";
  CHECK_THAT(refusal(s), contains("missing"));
  s = settings_for(folder / "out");
  s.dataset = {tiny / "missing.jsonl"};
  CHECK_THAT(refusal(s), contains("missing.jsonl"));
  s = settings_for(folder / "out");
  s.max_length = 4;
  CHECK_THAT(refusal(s), contains("max_length"));
  s = settings_for(folder / "out");
  s.loss.loss_type = {"sigmoidal"};
  CHECK_THAT(refusal(s), contains("sigmoidal"));
  CHECK_THAT(refusal(settings_for(folder / "out"), {.method = round_method::sdpo, .chunks = 1000}), contains("1000"));
  CHECK_FALSE(fs::exists(folder / "out" / "config.json"));
  s = settings_for(folder / "diverging");
  s.learning_rate = 1e6;
  s.max_grad_norm = 0;
  CHECK_THAT(refusal(s), contains("NaN"));
  CHECK_FALSE(fs::exists(folder / "diverging" / "model.safetensors"));
  train_preferences(settings_for(folder / "taken"), {});
  CHECK_THAT(refusal(settings_for(folder / "taken")), contains("already holds"));
}
