// SPDX-License-Identifier: Apache-2.0

// Every subcommand that takes a model takes the folder of an adapter in its place, and an adapter of any kind is trained, written and trained on.

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

namespace fs = std::filesystem;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny", pairs = tiny / "pairs.jsonl";

outcome run_kedge(fs::path const& folder, std::string const& arguments) { return shell("cd " + quoted(folder) + " && " + quoted(KEDGE_PROGRAM) + " " + arguments); }

std::string training(std::string const& method, fs::path const& model, std::string const& output, std::string const& rest = "") {
  return method + " --model_name_or_path " + quoted(model) + " --dataset " + quoted(pairs) + " --output_dir " + output +
         " --dtype float32 --threads 1 --max_steps 2 --learning_rate 1e-2 --logging_steps 1 --per_device_train_batch_size 2 --quiet " + rest;
}

void make_adapter(fs::path const& folder, std::string const& output, std::string const& rest) {
  outcome const made = run_kedge(folder, training("dpo", tiny / "tied", output, "--use_peft --lora_r 2 " + rest));
  INFO(made.text);
  REQUIRE(made.code == 0);
}

double first_loss(fs::path const& run) { return lines(run / "metrics.jsonl").front().at("loss").get<double>(); }

}  // namespace

TEST_CASE("every subcommand that takes a model takes an adapters folder", "[lora][program]") {
  scratch_folder const folder;
  make_adapter(folder.path(), "adapter", "");
  std::ofstream(folder / "prompts.jsonl") << "{\"prompt\": \"The sea\"}\n{\"prompt\": \"A harbour\"}\n";
  std::ofstream(folder / "talks.jsonl") << "{\"prompt\": \"The sea\", \"completion\": \" is calm.\"}\n";
  fs::path const adapter = folder / "adapter";
  std::string const judge = " --judge 'while read -r line; do echo \"{\\\"score\\\": 1}\"; done'", small = " --dtype float32 --threads 1",
                    online = " --prompts prompts.jsonl --max_new_tokens 4 --per_device_train_batch_size 2 --quiet" + small;
  for (std::string const& command : {
           std::string("inspect adapter"), std::string("tokenize --model_name_or_path adapter --input prompts.jsonl"),
           "score --model_name_or_path adapter --quiet --dataset " + quoted(pairs) + small,
           "generate --model_name_or_path adapter --quiet --prompts prompts.jsonl --max_new_tokens 4" + small,
           std::string("soup --quiet --output_dir out-soup adapter:0.5 adapter:0.5"), std::string("merge adapter --output_dir out-merge"),
           "extract adapter --base_model " + quoted(tiny / "tied") + " --output_dir out-extract --lora_r 2",
           training("dpo", adapter, "out-dpo"), training("sdpo", adapter, "out-sdpo", "--chunks 2"),
           training("apo", adapter, "out-apo", "--chunks 2"), training("reward", adapter, "out-reward"),
           "sft --model_name_or_path adapter --dataset talks.jsonl --output_dir out-sft --max_steps 1 --quiet" + small,
           "ppo --model_name_or_path adapter --output_dir out-ppo --total_episodes 2 --num_mini_batches 1" + judge + online,
           "salsa --model_name_or_path adapter --reference soup:adapter," + quoted(tiny / "tied") + " --output_dir out-salsa --total_episodes 2 --num_mini_batches 1" + judge + online,
       }) {
    outcome const result = run_kedge(folder.path(), command);
    INFO(command << "\n" << result.text);
    CHECK(result.code == 0);
  }
  check_one_line(run_kedge(folder.path(), "export adapter --gguf out.gguf --quiet"), 1, "merge it first");
  // The same numbers as merged, and an extracted adapter is what it was.
  auto const scores = [&](std::string const& model) { return run_kedge(folder.path(), "score --quiet --model_name_or_path " + model + " --dataset " + quoted(pairs) + small).text; };
  json const one = json::parse(scores("adapter").substr(0, scores("adapter").find('\n'))), other = json::parse(scores("out-merge").substr(0, scores("out-merge").find('\n'))),
             again = json::parse(scores("out-extract").substr(0, scores("out-extract").find('\n')));
  CHECK_THAT(other.at("logp_chosen").get<double>(), WithinAbs(one.at("logp_chosen").get<double>(), 1e-4));
  CHECK_THAT(again.at("logp_chosen").get<double>(), WithinAbs(one.at("logp_chosen").get<double>(), 1e-3));
}

TEST_CASE("adapters of every kind train by flags and go on from their folder and from a checkpoint", "[lora][program]") {
  scratch_folder const folder;
  int number = 0;
  for (std::string const& kind : {
           std::string("--lora_target_modules all-linear --lora_modules_to_save embed_tokens lm_head norm"),
           std::string("--lora_target_modules q_proj lm_head embed_tokens"),
           std::string("--lora_target_modules q_proj down_proj --lora_rank_pattern '{\"down_proj\": 3}' --lora_alpha_pattern '{\"q_proj\": 5}' --lora_layers_to_transform 1"),
           std::string("--lora_target_modules '.*layers\\.0\\.self_attn\\.(q|k)_proj' --use_rslora"),
           std::string("--lora_target_modules all-linear --lora_exclude_modules k_proj --use_dora"), std::string("--lora_target_modules all-linear --lora_bias"),
       }) {
    INFO(kind);
    std::string const name = "run-" + std::to_string(++number);
    make_adapter(folder.path(), name, kind + " --save_steps 1");
    CHECK_THAT(first_loss(folder / name), WithinAbs(std::log(2.0), 1e-6));
    std::string const written = read_file(folder / name / "adapter_model.safetensors");
    // Stopped after a step, it goes on to the same bits.
    outcome const resumed = run_kedge(folder.path(), training("dpo", tiny / "tied", name, "--use_peft --lora_r 2 --save_steps 1 --resume_from_checkpoint " + quoted(folder / name / "checkpoints/step-1") + " " + kind));
    INFO(resumed.text);
    CHECK(resumed.code == 0);
    CHECK(read_file(folder / name / "adapter_model.safetensors") == written);
    // The adapter is trained on, from where it was, and keeps its settings.
    outcome const on = run_kedge(folder.path(), training("dpo", folder / name, name + "-on", "--use_peft"));
    INFO(on.text);
    CHECK(on.code == 0);
    CHECK_THAT(first_loss(folder / (name + "-on")), WithinAbs(std::log(2.0), 1e-6));
    json before = read_json(folder / name / "adapter_config.json"), after = read_json(folder / (name + "-on") / "adapter_config.json");
    CHECK(before == after);
    check_one_line(run_kedge(folder.path(), training("dpo", folder / name, name + "-other", "--use_peft --lora_r 5")), 1, "merge it first");
  }
}

TEST_CASE("rounds with momentum refuse adapters that extrapolation does not leave adapters", "[lora][program]") {
  scratch_folder const folder;
  check_one_line(run_kedge(folder.path(), training("apo", tiny / "tied", "out", "--chunks 2 --use_peft --use_dora")), 1, "--use_dora");
  outcome const whole = run_kedge(folder.path(), training("apo", tiny / "tied", "whole", "--chunks 3 --use_peft --lora_modules_to_save norm"));
  INFO(whole.text);
  CHECK(whole.code == 0);
}
