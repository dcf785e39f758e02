// SPDX-License-Identifier: Apache-2.0

// The example commands of TRL's scripts and documentation, with `trl` replaced by `kedge`: on a tiny model, on local data, and with fewer steps.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "llm/train/counting_judge.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

namespace fs = std::filesystem;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

void replace(std::string& text, std::string const& what, std::string const& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
}

// Data sets as folders with a file for each split, in the place of those of the hub.
struct data_sets {
  scratch_folder folder;

  data_sets() {
    for (char const* const name : {"pairs", "conversations"}) fs::create_directories(folder / name);
    std::ofstream(folder / "judge.sh") << judge_command << '\n';
    for (char const* const split : {"train", "test"}) {
      fs::copy_file(tiny / "pairs.jsonl", folder / "pairs" / (std::string(split) + ".jsonl"));
      std::ofstream talks(folder / "conversations" / (std::string(split) + ".jsonl"));
      for (int i = 0; i < 8; ++i)
        talks
            << R"({"messages": [{"role": "user", "content": "Where is the boat?"}, {"role": "assistant", "content": "At quay )"
            << i << R"(."}], "source": "x"})" << '\n';
    }
  }

  // Runs the command; its output folder is OUT.
  outcome run(std::string command) const {
    fs::remove_all(folder / "out");
    replace(command, "MODEL", quoted(tiny / "tied"));
    replace(command, "PAIRS", quoted(folder / "pairs"));
    replace(command, "TALKS", quoted(folder / "conversations"));
    replace(command, "OUT", quoted(folder / "out"));
    replace(command, "JUDGE", "'sh judge.sh'");
    return shell("cd " + quoted(folder.path()) + " && " + quoted(KEDGE_PROGRAM) + " " + command + " --threads 1");
  }
};

}  // namespace

TEST_CASE("the example commands of TRLs scripts start and end with a model", "[trl][program]") {
  data_sets const data;
  for (std::string const& command : {
           // scripts/dpo.py
           std::string("dpo --dataset_name PAIRS --model_name_or_path MODEL --learning_rate 5.0e-7 --num_train_epochs 1 "
                       "--per_device_train_batch_size 2 --max_steps 2 "
                       "--gradient_accumulation_steps 8 --eval_strategy steps --eval_steps 50 --output_dir OUT "
                       "--no_remove_unused_columns"),
           std::string("dpo --dataset_name PAIRS --model_name_or_path MODEL --learning_rate 5.0e-6 --num_train_epochs 1 "
                       "--per_device_train_batch_size 2 --max_steps 2 "
                       "--gradient_accumulation_steps 8 --eval_strategy steps --eval_steps 50 --output_dir OUT "
                       "--no_remove_unused_columns --use_peft --lora_r 32 --lora_alpha 16"),
           // scripts/sft.py
           std::string("sft --model_name_or_path MODEL --dataset_name TALKS --learning_rate 2.0e-5 --num_train_epochs 1 "
                       "--packing --per_device_train_batch_size 2 "
                       "--gradient_accumulation_steps 8 --eos_token '<|im_end|>' --eval_strategy steps --eval_steps 100 "
                       "--output_dir OUT --push_to_hub"),
           std::string("sft --model_name_or_path MODEL --dataset_name TALKS --learning_rate 2.0e-4 --num_train_epochs 1 "
                       "--packing --per_device_train_batch_size 2 "
                       "--gradient_accumulation_steps 8 --eos_token '<|im_end|>' --eval_strategy steps --eval_steps 100 "
                       "--use_peft --lora_r 32 --lora_alpha 16 --output_dir OUT --push_to_hub"),
           // examples/scripts/reward_modeling.py
           std::string(
               "reward --model_name_or_path MODEL --dataset_name PAIRS --output_dir OUT --per_device_train_batch_size 8 "
               "--num_train_epochs 1 "
               "--gradient_checkpointing True --learning_rate 1.0e-4 --eval_strategy steps --eval_steps 50 --max_length 2048"),
           // scripts/kto.py, on pairs
           std::string("kto --dataset_name PAIRS --model_name_or_path=MODEL --per_device_train_batch_size "
                       "16 --num_train_epochs 1 --learning_rate 5e-7 "
                       "--lr_scheduler_type=cosine --gradient_accumulation_steps 1 --eval_steps 500 --output_dir=OUT "
                       "--warmup_steps 0.1 --logging_first_step"),
           // examples/scripts/dpo_online.py, whose penalty is the judge's here
           std::string("apo --model_name_or_path MODEL --judge JUDGE --dataset_name PAIRS --learning_rate 5.0e-7 --output_dir "
                       "OUT --per_device_train_batch_size 8 "
                       "--gradient_accumulation_steps 16 --warmup_steps 0.1 --push_to_hub --max_new_tokens 16 --num_samples 8 "
                       "--prompts_per_round 3"),
           // The documentation of the command line
           std::string("dpo --model_name_or_path MODEL --dataset_name PAIRS --output_dir OUT --max_steps 1 --bf16 --report_to "
                       "none --gradient_checkpointing --padding_free --warmup_steps 0.1 "
                       "--attn_implementation sdpa --dataset_num_proc 4 --lr_scheduler_type=cosine --logging_first_step "
                       "--save_strategy no"),
       }) {
    outcome const result = data.run(command);
    INFO(command << "\n" << result.text);
    CHECK(result.code == 0);
    bool const adapter = command.find("--use_peft") != std::string::npos;
    CHECK(fs::exists(data.folder / "out" / (adapter ? "adapter_config.json" : "config.json")));
    std::vector<json> const metrics = lines(data.folder / "out/metrics.jsonl");
    bool const measured =
        std::any_of(metrics.begin(), metrics.end(), [](json const& line) { return line.contains("eval_loss"); });
    CHECK(measured == (command.find("--eval_strategy") != std::string::npos));
  }
}

TEST_CASE("what a flag of TRLs asks for without effect is told in one line", "[trl][program]") {
  data_sets const data;
  outcome const told = data.run(
      "dpo --model_name_or_path MODEL --dataset_name PAIRS --max_steps 1 --dtype float32 --padding_free --report_to wandb "
      "--push_to_hub --eval_steps 3");
  INFO(told.text);
  CHECK(told.code == 0);
  CHECK_THAT(told.text, contains("without effect here: --report_to (nothing is sent anywhere; wandb, trackio and others read metrics.jsonl or runs/ of "
                                 "--output_dir afterwards, see docs/reports.md); --padding_free (nothing is ever padded); --push_to_hub (nothing is "
                                 "uploaded; afterwards: hf upload NAME OUTPUT_DIR)\n"));
  CHECK_THAT(told.text, contains("--eval_steps says nothing without --eval_strategy steps\n"));
  CHECK(fs::exists(data.folder / "trainer_output/config.json"));  // where TRL would write
  check_one_line(data.run("dpo --model_name_or_path MODEL --dataset_name trl-lib/ultrafeedback_binarized"), 1,
                 "kedge pull trl-lib/ultrafeedback_binarized --repo_type dataset fetches it where there is a network");
  check_one_line(data.run("dpo --model_name_or_path MODEL --dataset_name PAIRS --load_in_4bit"), 2,
                 "--load_in_4bit");
  check_one_line(data.run("sft --model_name_or_path MODEL --dataset_name TALKS --output_dir OUT --eos_token no-such-token"), 2,
                 "--eos_token no-such-token");
}

TEST_CASE("the flags of the command lines start with a file that TRL reads", "[trl][program]") {
  data_sets const data;
  std::ofstream(data.folder / "dpo_config.yaml")
      << "# TRL's documentation, command line interface\nmodel_name_or_path: " << (tiny / "tied").string()
      << "\ndataset_name: " << (data.folder / "pairs").string()
      << "\nreport_to: none\nlearning_rate: 0.0001\nlr_scheduler_type: cosine\nbf16: false\nmax_steps: 1\nlogging_steps: 1\n";
  outcome const result = data.run("dpo --config dpo_config.yaml --output_dir OUT");
  INFO(result.text);
  CHECK(result.code == 0);
  CHECK(lines(data.folder / "out/metrics.jsonl").back().at("learning_rate") == 0.0001);
}
