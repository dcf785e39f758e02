// SPDX-License-Identifier: Apache-2.0

// Training on single completions with labels: against TRL step by step, and against itself.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/train/kto.hpp>

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

fs::path write_lines(fs::path const& file, json const& all) {
  std::ofstream out(file);
  for (json const& line : all) out << line.dump() << '\n';
  return file;
}

kto_settings plain(fs::path const& output) {
  kto_settings s;
  s.model = tiny / "tied";
  s.output_dir = output;
  s.compute.dtype = compute_type::float32;
  s.compute.threads = 1;
  s.logging_steps = 1;
  s.quiet = true;
  return s;
}

// A run of the golden file, but for its name.
kto_settings told(scratch_folder const& folder, std::string const& name, json const& run) {
  kto_settings s = plain(folder / name);
  settings_list list;
  declare(list, s);
  take(list, run.at("settings"));
  s.compute.dtype = compute_type::float64;
  s.dataset = write_lines(folder / (name + ".jsonl"), run.at("train"));
  if (!run.at("held_out").empty()) s.eval_dataset = write_lines(folder / (name + "-held-out.jsonl"), run.at("held_out"));
  return s;
}

std::vector<json> lines_with(fs::path const& run, char const* key) {
  std::vector<json> all;
  for (json const& line : lines(run / "metrics.jsonl"))
    if (line.contains(key)) all.push_back(line);
  return all;
}

// Every figure that TRL tells, within 1e-5 of its size, and none that TRL doesn't.
void check_figures(json const& ours, json const& theirs, std::set<std::string> const& own) {
  INFO(ours.dump() << " against " << theirs.dump());
  for (auto const& [name, value] : theirs.items()) {
    INFO(name);
    REQUIRE(ours.contains(name));
    double const expected = value.get<double>();
    CHECK_THAT(ours.at(name).get<double>(), WithinAbs(expected, 1e-5 * std::max(1.0, std::abs(expected))));
  }
  for (auto const& [name, value] : ours.items()) {
    INFO(name);
    CHECK((theirs.contains(name) || own.contains(name)));
  }
}

}  // namespace

TEST_CASE("training on single completions takes the steps and tells the figures of TRLs KTOTrainer", "[kto][golden]") {
  scratch_folder const folder;
  json const golden = read_json(tiny / "trl_kto.json").at("runs");
  CHECK(golden.size() == 10);
  for (auto const& [name, run] : golden.items()) {
    INFO(name);
    kto_settings const s = told(folder, name, run);
    train_kto(s);
    std::vector<json> const steps = lines_with(s.output_dir, "loss");
    REQUIRE(steps.size() == run.at("steps").size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      INFO("line " << i + 1);
      json theirs = run.at("steps")[i];
      if (s.logging_steps.of(1) > 1) theirs.erase("grad_norm");  // theirs is that of a line's last step, kedge's the mean
      check_figures(steps[i], theirs, {"epoch", "round", "grad_norm", "grad_clipped"});
    }
    std::vector<json> measured = lines_with(s.output_dir, "eval_loss");
    if (run.at("evaluations").empty()) continue;
    measured.erase(measured.begin());  // before the first step, which TRL doesn't measure
    REQUIRE(measured.size() == run.at("evaluations").size());
    for (std::size_t i = 0; i < measured.size(); ++i) {
      INFO("evaluation " << i + 1);
      check_figures(measured[i], run.at("evaluations")[i], {});
    }
  }
}

namespace {

// Sixteen completions of eight prompts.
fs::path some_completions(scratch_folder const& folder) {
  json all = json::array();
  for (json const& pair : lines(tiny / "pairs.jsonl"))
    for (bool const desirable : {true, false})
      if (all.size() < 16) all.push_back({{"prompt", pair.at("prompt")}, {"completion", pair.at(desirable ? "chosen" : "rejected")}, {"label", desirable}});
  return write_lines(folder / "completions.jsonl", all);
}

kto_settings four_steps(scratch_folder const& folder, char const* output) {
  kto_settings s = plain(folder / output);
  s.dataset = s.eval_dataset = some_completions(folder);
  s.learning_rate = 1e-3;
  s.lr_scheduler_type = lr_scheduler::constant;
  s.per_device_train_batch_size = 4;
  s.max_steps = 4;
  return s;
}

}  // namespace

TEST_CASE("before the first step single completions have reward 0 and the loss is one half", "[kto]") {
  scratch_folder const folder;
  kto_settings s = four_steps(folder, "run");
  s.max_steps = 1;
  train_kto(s);
  json const first = lines_with(s.output_dir, "loss").front();
  for (char const* const name : {"kl", "rewards/chosen", "rewards/rejected", "rewards/margins"}) CHECK(first.at(name) == 0.0);
  CHECK(first.at("loss") == 0.5);
}

TEST_CASE("runs on single completions that stopped after any step go on to the same bits", "[kto]") {
  scratch_folder const folder;
  for (bool const moves : {false, true}) {
    kto_settings s = four_steps(folder, moves ? "moving" : "whole");
    s.save_steps = 1;
    s.logging_steps = 3;
    s.sync_ref_model = moves;
    s.ref_model_sync_steps = 2;
    train_kto(s);
    std::string const expected = read_file(s.output_dir / "model.safetensors"), metrics = read_file(s.output_dir / "metrics.jsonl");
    for (int step = 1; step <= 4; ++step) {
      INFO("from step " << step);
      s.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
      train_kto(s);
      CHECK((read_file(s.output_dir / "model.safetensors") == expected));
      CHECK((read_file(s.output_dir / "metrics.jsonl") == metrics));
    }
    kto_settings other = s;
    other.desirable_weight = 2;
    CHECK_THROWS_WITH(train_kto(other), contains("desirable_weight"));
    other = s;
    other.per_device_train_batch_size = other.gradient_accumulation_steps = 2;
    CHECK_THROWS_WITH(train_kto(other), contains("gradient_accumulation_steps"));
  }
}

TEST_CASE("micro-batches change no step on single completions and an adapter starts at the reference", "[kto]") {
  scratch_folder const folder;
  for (bool const adapter : {false, true}) {
    kto_settings whole = four_steps(folder, adapter ? "adapter" : "whole");
    whole.compute.dtype = compute_type::float64;
    whole.use_peft = adapter;
    kto_settings cut = whole;
    cut.output_dir = whole.output_dir.string() + "-cut";
    whole.compute.micro_batch_tokens = 100000;
    cut.compute.micro_batch_tokens = 1;
    train_kto(whole);
    train_kto(cut);
    std::vector<json> const a = lines(whole.output_dir / "metrics.jsonl"), b = lines(cut.output_dir / "metrics.jsonl");
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      for (auto const& [name, value] : a[i].items()) {
        INFO(name);
        CHECK_THAT(b[i].at(name).get<double>(), WithinAbs(value.get<double>(), 1e-9));
      }
    CHECK(a[1].at("rewards/chosen") == 0.0);
    CHECK(fs::exists(whole.output_dir / (adapter ? "adapter_model.safetensors" : "model.safetensors")));
  }
}

TEST_CASE("another model can be the reference of single completions", "[kto]") {
  scratch_folder const folder;
  kto_settings s = four_steps(folder, "first");
  train_kto(s);
  kto_settings again = four_steps(folder, "second");
  again.model = s.output_dir;
  again.ref_model = tiny / "tied";
  again.max_steps = 1;
  train_kto(again);
  json const last = lines_with(s.output_dir, "eval_loss").back(), first = lines_with(again.output_dir, "eval_loss").front();
  for (char const* const name : {"eval_loss", "eval_kl", "eval_rewards/chosen", "eval_rewards/margins", "eval_logps/rejected"})
    CHECK_THAT(first.at(name).get<double>(), WithinAbs(last.at(name).get<double>(), 1e-5));
  CHECK(last.at("eval_rewards/margins").get<double>() > 0);
}

TEST_CASE("what training on single completions can't use is refused in one line", "[kto]") {
  scratch_folder const folder;
  kto_settings s = four_steps(folder, "run");
  kto_settings other = s;
  other.shuffle = true;
  CHECK_THROWS_WITH(train_kto(other), contains("--shuffle") && contains("--train_sampling_strategy sequential"));
  other = s;
  other.per_device_train_batch_size = 1;
  CHECK_THROWS_WITH(train_kto(other), contains("--per_device_train_batch_size 1"));
  other.loss_type = unpaired_loss::apo_zero_unpaired;
  other.shuffle = true;
  other.max_steps = 1;
  CHECK_NOTHROW(train_kto(other));
  other = s;
  other.dataset.clear();
  CHECK_THROWS_WITH(train_kto(other), contains("--dataset is missing"));
  other = s;
  other.output_dir = folder / "short";
  other.max_length = 3;
  CHECK_THROWS_WITH(train_kto(other), contains("raise --max_length"));
}
