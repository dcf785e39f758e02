// SPDX-License-Identifier: Apache-2.0

// Evaluations while training: when they fall, which model is best, when a run stops early; against TRL's trainers, and resumed.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <tuple>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/sft.hpp>

#include "../adapters/llm/src/train/best_model.hpp"
#include "llm/train/given_settings.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using Catch::Matchers::WithinAbs;
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

// The first twelve pairs are trained on, the last four are held out; as demonstrations, their prompts and chosen answers.
struct split_pairs {
  scratch_folder folder;

  split_pairs() {
    std::size_t place = 0;
    std::ofstream train(folder / "train.jsonl"), held_out(folder / "test.jsonl"), sft_train(folder / "sft-train.jsonl"),
        sft_held_out(folder / "sft-test.jsonl");
    for (json const& pair : lines(tiny / "pairs.jsonl")) {
      bool const trained = place++ < 12;
      (trained ? train : held_out) << pair.dump() << '\n';
      (trained ? sft_train : sft_held_out) << json{{"prompt", pair.at("prompt")}, {"completion", pair.at("chosen")}}.dump()
                                           << '\n';
    }
  }
};

void prepare(run_settings& s, fs::path const& output) {
  s.model = tiny / "tied";
  s.output_dir = output;
  s.compute.dtype = compute_type::float32;
  s.compute.threads = 1;
  s.shuffle = false;
  s.logging_steps = 1;
  s.quiet = true;
}

training_settings dpo(split_pairs const& data, char const* output) {
  training_settings s;
  prepare(s, data.folder / output);
  s.dataset = {data.folder / "train.jsonl"};
  s.eval_dataset = data.folder / "test.jsonl";
  return s;
}

sft_settings sft(split_pairs const& data, char const* output) {
  sft_settings s;
  prepare(s, data.folder / output);
  s.dataset = data.folder / "sft-train.jsonl";
  s.eval_dataset = data.folder / "sft-test.jsonl";
  return s;
}

// What TRL was told, but for the name of the trainer.
template <class Settings>
Settings told(Settings s, json given) {
  settings_list list;
  declare(list, s);
  for (char const* const not_read : {"method", "per_device_eval_batch_size"})
    if (list.find(not_read) == nullptr) given.erase(not_read);
  take(list, given);
  return s;
}

// The evaluations of a run, but for the one at its start.
std::vector<json> evaluations_of(fs::path const& run) {
  std::vector<json> all;
  for (json const& line : lines(run / "metrics.jsonl"))
    if (line.contains("eval_loss") && line.at("step") != 0) all.push_back(line);
  return all;
}

// Every figure of theirs, within 1e-5 of its size.
void check_figures(json const& ours, json const& theirs) {
  INFO(ours.dump() << " against " << theirs.dump());
  for (auto const& [key, value] : theirs.items()) {
    INFO(key);
    REQUIRE(ours.contains(key));
    CHECK_THAT(ours.at(key).get<double>(), WithinAbs(value.get<double>(), 1e-5 * std::max(1.0, std::abs(value.get<double>()))));
  }
}

// The loss on held-out data of the model that a run has written, against where it started.
double loss_of_written(split_pairs const& data, fs::path const& run, bool is_sft) {
  if (is_sft) {
    sft_settings s = sft(data, "again");
    s.model = run;
    s.max_steps = 1;
    s.overwrite_output_dir = true;
    return train_sft(s).evaluations.at(0).at("eval_loss").get<double>();
  }
  training_settings s = dpo(data, "again");
  s.model = run;
  s.ref_model = tiny / "tied";
  s.max_steps = 1;
  s.overwrite_output_dir = true;
  return train_preferences(s, {}).evaluations.at(0).loss;
}

}  // namespace

TEST_CASE("evaluations and the best model and early stops are those of TRLs trainers", "[evaluation][golden]") {
  split_pairs const data;
  std::size_t number = 0;
  for (json const& theirs : read_json(tiny / "trl_evaluations.json")) {
    json const& given = theirs.at("settings");
    INFO(given.dump());
    bool const is_sft = given.at("method") == "sft";
    std::string const output = "run-" + std::to_string(number++);
    run_result const result = is_sft ? run_result(train_sft(told(sft(data, output.c_str()), given)))
                                     : run_result(train_preferences(told(dpo(data, output.c_str()), given), {}));
    std::vector<json> ours = evaluations_of(data.folder / output);
    if (!ours.empty() && ours.size() == theirs.at("evaluations").size() + 1)
      ours.pop_back();  // the one after the last step, which is kedge's own
    REQUIRE(ours.size() == theirs.at("evaluations").size());
    for (std::size_t i = 0; i < ours.size(); ++i) check_figures(ours[i], theirs.at("evaluations").at(i));
    std::vector<json> steps;
    for (json const& line : lines(data.folder / output / "metrics.jsonl"))
      if (line.contains("loss")) steps.push_back(line);
    REQUIRE(steps.size() == theirs.at("log").size());
    for (std::size_t i = 0; i < steps.size(); ++i) check_figures(steps[i], theirs.at("log").at(i));
    CHECK(result.steps == theirs.at("steps").get<std::size_t>());
    if (!theirs.at("best_step").is_null()) CHECK(result.best_step == theirs.at("best_step").get<std::size_t>());
    if (!theirs.at("best_metric").is_null())
      CHECK_THAT(result.best_metric, WithinAbs(theirs.at("best_metric").get<double>(), 1e-5));
    CHECK_THAT(loss_of_written(data, data.folder / output, is_sft), WithinAbs(theirs.at("end_loss").get<double>(), 1e-5));
  }
  CHECK(number == 6);
}

TEST_CASE("a run that is resumed has the best model and the patience of one that was not stopped", "[evaluation]") {
  split_pairs const data;
  auto settings = [&](char const* output) {
    training_settings s = dpo(data, output);
    s.learning_rate = 1e-2;
    s.lr_scheduler_type = lr_scheduler::constant;
    s.per_device_train_batch_size = 4;
    s.max_steps = 12;
    s.eval_strategy = interval::steps;
    s.eval_steps = s.save_steps = 1;
    s.load_best_model_at_end = true;
    s.early_stopping_patience = 3;
    return s;
  };
  training_settings const whole = settings("whole");
  training_result const undisturbed = train_preferences(whole, {});
  std::string const expected = read_file(whole.output_dir / "model.safetensors"),
                    metrics = read_file(whole.output_dir / "metrics.jsonl");
  REQUIRE(undisturbed.best_step);
  for (std::size_t step = 1; step < undisturbed.steps; ++step) {
    INFO(step);
    fs::remove_all(data.folder / "again");
    fs::copy(whole.output_dir, data.folder / "again", fs::copy_options::recursive);
    training_settings again = settings("again");
    again.resume_from_checkpoint = (again.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
    training_result const result = train_preferences(again, {});
    CHECK(result.steps == undisturbed.steps);
    CHECK(result.best_step == undisturbed.best_step);
    CHECK(result.best_metric == undisturbed.best_metric);
    CHECK(result.stopped_early == undisturbed.stopped_early);
    CHECK((read_file(again.output_dir / "model.safetensors") == expected));
    CHECK((read_file(again.output_dir / "metrics.jsonl") == metrics));
  }
}

TEST_CASE("rounds are measured inside as well and an early stop ends the run", "[evaluation]") {
  split_pairs const data;
  training_settings s = dpo(data, "rounds");
  s.learning_rate = 1e-3;
  s.max_steps = 3;
  s.eval_strategy = interval::steps;
  s.eval_steps = 2;
  round_settings rounds{.method = round_method::sdpo, .chunks = 2};
  train_preferences(s, rounds);
  std::vector<int> steps, completed;
  for (json const& line : evaluations_of(s.output_dir)) {
    steps.push_back(line.at("step").get<int>());
    completed.push_back(line.at("round").get<int>());
  }
  CHECK(steps == std::vector{2, 3, 4, 6});
  CHECK(completed == std::vector{0, 1, 1, 2});

  s.output_dir = data.folder / "stopped";
  s.eval_steps = 1;
  s.early_stopping_patience = 1;
  s.greater_is_better = true;  // a loss that falls gets no better
  training_result const stopped = train_preferences(s, rounds);
  CHECK(stopped.stopped_early);
  CHECK_FALSE(stopped.interrupted);
  CHECK(stopped.steps == 2);
  CHECK(fs::exists(s.output_dir / "model.safetensors"));
}

TEST_CASE("the best checkpoint and the newest stay where few are kept", "[evaluation]") {
  split_pairs const data;
  training_settings s = dpo(data, "kept");
  s.learning_rate = 1e-3;
  s.max_steps = 5;
  s.eval_strategy = interval::steps;
  s.eval_steps = s.save_steps = 1;
  s.save_total_limit = 1;
  s.load_best_model_at_end = true;
  s.greater_is_better = true;  // the first is the best
  training_result const result = train_preferences(s, {});
  CHECK(result.best_step == 1);
  std::set<std::string> names;
  for (auto const& entry : fs::directory_iterator(s.output_dir / "checkpoints")) names.insert(entry.path().filename().string());
  CHECK(names == std::set<std::string>{"step-1", "step-5"});
}

TEST_CASE("patience counts evaluations that are no better by more than the threshold", "[evaluation]") {
  evaluation_settings s;
  s.early_stopping_patience = 2;
  s.early_stopping_threshold = 0.1;
  best_model best;
  // Against the best before it; a best one may be too small a step to count.
  for (auto const& [loss, is_best, waited] :
       std::vector<std::tuple<double, bool, std::size_t>>{{1.0, true, 0},
                                                          {0.95, true, 1},
                                                          {0.96, false, 2},
                                                          {0.8, true, 0},
                                                          {0.8, false, 1},
                                                          {std::numeric_limits<double>::quiet_NaN(), false, 2}}) {
    INFO(loss);
    CHECK(best.take(s, {{"eval_loss", loss}}, 7) == is_best);
    CHECK(best.no_better == waited);
  }
  CHECK(best.metric == 0.8);
  s.metric_for_best_model = "rewards/margins";
  CHECK(s.metric() == "eval_rewards/margins");
  CHECK(s.greater());
  CHECK_THROWS_WITH(best.take(s, {{"round", 1}, {"eval_loss", 1.0}, {"eval_x", 2.0}}, 8),
                    contains("--metric_for_best_model eval_rewards/margins: evaluations have eval_loss, eval_x"));
}

TEST_CASE("what contradicts itself about evaluations is refused", "[evaluation]") {
  auto const refused = [](evaluation_settings const& s, step_count every, step_count save, char const* message) {
    INFO(message);
    CHECK_THROWS_WITH(check_evaluations(s, every, save, true, 100), contains(message));
  };
  evaluation_settings s;
  s.load_best_model_at_end = true;
  refused(s, 10, 10, "--load_best_model_at_end goes by evaluations while training; give --eval_strategy steps or epoch");
  s.eval_strategy = interval::epoch;
  refused(s, 10, 10, "--save_strategy steps must be that of evaluations, --eval_strategy epoch, or best");
  s.eval_strategy = interval::steps;
  refused(s, 10, 15, "--save_steps 15 must be a multiple of --eval_steps 10");
  refused(s, 0.1, 15, "--save_steps 15 must be a multiple of --eval_steps 0.1");
  check_evaluations(s, 10, 30, true, 100);
  check_evaluations(s, 0.1, 0.2, true, 100);
  s.save_strategy = saving::best;
  check_evaluations(s, 10, 15, true, 100);
  CHECK_THROWS_WITH(check_evaluations(s, 10, 15, false, 100), contains("--eval_strategy steps needs held-out data"));
  CHECK(step_count(0.25).of(10) == 3);
  CHECK(step_count(7).of(10) == 7);
}
