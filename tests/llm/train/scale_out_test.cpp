// SPDX-License-Identifier: Apache-2.0

// Several processes on one machine: the result of one, whatever stops and goes on, and a clean end when one of them dies.

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include <kedge/llm/data/ragged.hpp>

#include "llm/train/several_processes.hpp"
#include "support/catch.hpp"
#include "support/largest_difference.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::testing;

TEST_CASE("two and four processes take the steps of one", "[scale]") {
  std::string const tail = "--max_steps 4 --save_steps 4 --dtype float64 ";
  std::string const held_out = "--eval_dataset " + quoted(tiny / "pairs.jsonl");
  std::vector<kind_of_run> const kinds{
      {"dpo", on_tiny("dpo"), 8, tail + held_out + " --weight_decay 0.1 --micro_batch_tokens 100"},
      {"a loss that compares pairs, and a head of its own", on_tiny("dpo", "untied"), 4, tail + "--loss_type aot"},
      {"an adapter", on_tiny("dpo"), 4, tail + "--use_peft --lora_r 4 --lora_target_modules all-linear"},
      {"rounds, each layer computed twice", on_tiny("apo", "linear"), 4,
       "--rounds 2 --alpha 0.5 --max_steps 2 --save_steps 4 --dtype float64 --gradient_checkpointing on"},
      {"a reference that moves", on_tiny("dpo"), 4, tail + "--sync_ref_model --ref_model_sync_steps 2 --ld_alpha 0.5"},
      {"weights by the policy and a loss that compares pairs", on_tiny("dpo"), 4, tail + "--use_weighting --loss_type kto_pair --ref_model_name_or_path " + quoted(tiny / "untied")},
      {"reward", on_tiny("reward"), 8, tail + held_out},
      {"single completions", on_tiny("kto"), 8, tail + "--gradient_accumulation_steps 2"},
  };
  for (kind_of_run const& k : kinds) {
    INFO(k.name);
    scratch_folder const folder;
    finish(1, run(k.what, folder / "1", 1, k.batch, k.more));
    for (int const processes : {2, 4}) {
      fs::path const output = folder / std::to_string(processes);
      finish(processes, run(k.what, output, processes, k.batch, k.more));
      CHECK(largest_difference(weights_of(folder / "1", 4), weights_of(output, 4)) < 1e-10);
      check_same_metrics(folder / "1", output, 1e-9);
      CHECK(fs::exists(output / (k.name == std::string("an adapter") ? "adapter_model.safetensors" : "model.safetensors")));
    }
  }
}

TEST_CASE("fine-tuning on more processes than the last step has examples is that of one process", "[scale]") {
  scratch_folder const folder;
  write_file(folder / "data.jsonl", "{\"prompt\": \"a\", \"completion\": \"the sea is calm\"}\n{\"prompt\": \"Is the\", \"completion\": \" harbour far\"}\n"
                                    "{\"prompt\": \"b\", \"completion\": \"no\"}\n{\"prompt\": \"c\", \"completion\": \"yes\"}\n"
                                    "{\"prompt\": \"The\", \"completion\": \" meal was warm\"}\n");
  auto const arguments = [&](int processes) {
    return on_tiny("sft") + " --dataset " + quoted(folder / "data.jsonl") + " --eval_dataset " + quoted(folder / "data.jsonl") + " --output_dir " +
           quoted(folder / std::to_string(processes)) + " --dtype float64 --learning_rate 1e-3 --num_train_epochs 2 --save_steps 4 --logging_steps 1 " +
           "--threads 1 --quiet --per_device_train_batch_size " + std::to_string(4 / processes);
  };
  for (int const processes : {1, 4}) finish(processes, arguments(processes));
  CHECK(largest_difference(weights_of(folder / "1", 4), weights_of(folder / "4", 4)) < 1e-10);
  check_same_metrics(folder / "1", folder / "4", 1e-9);
}

TEST_CASE("in single precision two processes differ from one by rounding", "[scale]") {
  scratch_folder const folder;
  for (int const processes : {1, 2})
    finish(processes, run(on_tiny("dpo"), folder / std::to_string(processes), processes, 8, "--max_steps 4 --save_steps 4 --dtype float32"));
  // Adam's first steps are the sign of the gradient: where that is all rounding, a weight may go the other way, lr a step.
  CHECK(largest_difference(weights_of(folder / "1", 4), weights_of(folder / "2", 4)) < 1e-4);
  check_same_metrics(folder / "1", folder / "2", 1e-4);
}

TEST_CASE("a checkpoint of two processes goes on with one and then with four", "[scale]") {
  scratch_folder const folder;
  auto const part = [&](std::string const& name, int processes, int steps, std::string const& from) {
    finish(processes, run(on_tiny("dpo"), folder / name, processes, 4, "--dtype float64 --max_steps 6 --save_steps " + std::to_string(steps) +
                                                                           (from.empty() ? "" : " --resume_from_checkpoint " + quoted(folder / from))));
  };
  part("whole", 1, 6, "");
  part("two", 2, 2, "");
  CHECK(names_in(folder / "two" / "checkpoints" / "step-2") ==
        "first-moment-00001-of-00002.safetensors first-moment-00002-of-00002.safetensors numbers.safetensors "
        "second-moment-00001-of-00002.safetensors second-moment-00002-of-00002.safetensors state.json theta.safetensors");
  part("one", 1, 4, "two/checkpoints/step-2");
  part("four", 4, 6, "one/checkpoints/step-4");
  CHECK(largest_difference(weights_of(folder / "whole", 6), weights_of(folder / "four", 6)) < 1e-10);
}

TEST_CASE("an optimizer goes on with other processes where its state stands alone and with as many where it shares scales", "[scale]") {
  scratch_folder const folder;
  auto const arguments = [&](std::string const& name, std::string const& optim, int processes, std::string const& more) {
    return run(on_tiny("dpo"), folder / name, processes, 4, "--dtype float32 --save_steps 2 --max_steps 4 --optim " + optim + " " + more);
  };
  auto const from = [&](std::string const& name) { return "--resume_from_checkpoint " + quoted(folder / name / "checkpoints" / "step-2"); };
  finish(2, arguments("bf16", "adamw_bf16", 2, ""));
  finish(1, arguments("bf16-1", "adamw_bf16", 1, from("bf16")));
  CHECK(largest_difference(weights_of(folder / "bf16", 4), weights_of(folder / "bf16-1", 4)) < 1e-4);
  finish(2, arguments("sgd", "sgd", 2, ""));
  finish(1, arguments("sgd-1", "sgd", 1, from("sgd")));
  CHECK(largest_difference(weights_of(folder / "sgd", 4), weights_of(folder / "sgd-1", 4)) < 1e-6);
  finish(2, arguments("8", "adamw_8bit", 2, ""));
  finish(2, arguments("8-2", "adamw_8bit", 2, from("8")));
  CHECK(largest_difference(weights_of(folder / "8", 4), weights_of(folder / "8-2", 4)) == 0);
  check_one_line(shell(quoted(KEDGE_PROGRAM) + " " + arguments("8-1", "adamw_8bit", 1, from("8"))), 1, "2 wrote them; go on with as many");
}

TEST_CASE("when a process is killed the others leave with one line and what is saved is whole", "[scale]") {
  scratch_folder const folder;
  fs::path const output = folder / "out";
  std::string const arguments = run(on_tiny("dpo"), output, 2, 4, "--max_steps 1000000 --save_steps 2 --ddp_timeout 60");
  auto const ended = together(2, arguments, once_it_trains(output, "kill -KILL $p1"));
  CHECK(ended[1].code == 128 + 9);
  check_one_line(ended[0], 1, "process 0 of 2: another process has gone");
  CHECK_THAT(names_in(output / "checkpoints"), contains("step-2"));
  for (auto const& item : fs::directory_iterator(output / "checkpoints")) {
    INFO(item.path());
    CHECK(item.path().filename().string().rfind("step-", 0) == 0);
    CHECK(fs::exists(item.path() / "state.json"));
  }
}

TEST_CASE("an interrupt of one process stops all of them at one step and the run goes on", "[scale]") {
  scratch_folder const folder;
  fs::path const output = folder / "out";
  auto const arguments = [&](int processes, std::string const& more) { return run(on_tiny("dpo"), output, processes, 4, "--save_steps 0 --max_steps 1000000 --ddp_timeout 60 " + more); };
  for (outcome const& result : together(2, arguments(2, ""), once_it_trains(output, "kill -INT $p1"))) {
    INFO(result.text);
    CHECK(result.code == 130);
  }
  std::string const saved = names_in(output / "checkpoints");
  CHECK(saved.rfind("step-", 0) == 0);
  CHECK(saved.find(' ') == std::string::npos);
  for (outcome const& result : together(4, arguments(4, "--resume_from_checkpoint latest"), once_it_trains(output, "kill -TERM $p2"))) {
    INFO(result.text);
    CHECK(result.code == 130);
  }
}

TEST_CASE("what several processes can't do is refused in one line", "[scale]") {
  scratch_folder const folder;
  std::string const dpo = quoted(KEDGE_PROGRAM) + " " + run(on_tiny("dpo"), folder / "out", 1, 4, "");
  check_one_line(shell("WORLD_SIZE=2 " + quoted(KEDGE_PROGRAM) + " merge a --output_dir b"), 2, "one process");
  for (std::string const name : {"ppo", "dpo"}) {
    outcome const help = shell("WORLD_SIZE=2 " + quoted(KEDGE_PROGRAM) + " " + name + " --help");
    CHECK(help.code == 0);
    CHECK_THAT(help.text, contains("--learning_rate"));
  }
  check_one_line(shell("WORLD_SIZE=2 " + dpo), 1, "RANK is missing");
  check_one_line(shell("WORLD_SIZE=2 RANK=1 " + dpo), 1, "MASTER_PORT is missing");
  check_one_line(shell("WORLD_SIZE=2 RANK=2 " + dpo), 1, "RANK is '2'");
  check_one_line(shell("WORLD_SIZE=2 RANK=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(free_port()) + " " + dpo + " --ddp_timeout 1"), 1,
                 "process 1 of 2: another process has gone, failed or not answered in time");
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("what is wrong for the leading process stops all with its words", "[scale]") {
  scratch_folder const folder;
  write_file(folder / "config.json", "{}");
  for (outcome const& result : together(2, run(on_tiny("dpo"), folder.path(), 2, 4, ""))) check_one_line(result, 1, "already holds a model or a run");
}

TEST_CASE("processes divide a step's examples evenly by tokens and keep their order", "[scale]") {
  std::vector<std::size_t> const tokens{900, 10, 20, 300, 310, 40, 280, 30, 5, 600}, which{9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  auto const tokens_of = [&](std::size_t i) { return tokens[i]; };
  CHECK(kedge::llm::balanced_share(which, 0, 1, tokens_of) == which);
  std::vector<std::size_t> all;
  for (int rank = 0; rank < 3; ++rank) {
    std::vector<std::size_t> const mine = kedge::llm::balanced_share(which, rank, 3, tokens_of);
    CHECK(std::is_sorted(mine.rbegin(), mine.rend()));
    std::size_t load = 0;
    for (std::size_t const i : mine) load += tokens[i];
    CHECK(load >= 700);  // 2495 tokens in three
    CHECK(load <= 900);
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.rbegin(), all.rend());
  CHECK(all == which);
  CHECK(kedge::llm::balanced_share(std::span(which).first(2), 2, 3, tokens_of).empty());
}
