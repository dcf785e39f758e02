// SPDX-License-Identifier: Apache-2.0

// Runs whose gradients, or weights too, are divided among processes: the result of one process, whatever stops and goes on.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "llm/train/counting_judge.hpp"
#include "llm/train/several_processes.hpp"
#include "support/largest_difference.hpp"

using namespace kedge::testing;

namespace {

// A pack of a checkpoint by the names of its tensors, whoever wrote which part.
std::vector<double> joined(fs::path const& run, int step, int processes, std::string const& pack = "theta") {
  fs::path const folder = run / "checkpoints" / ("step-" + std::to_string(step));
  std::vector<fs::path> files{folder / (pack + ".safetensors")};
  if (!fs::exists(files.front())) {
    files.clear();
    for (int r = 1; r <= processes; ++r)
      files.push_back(folder / (pack + "-0000" + std::to_string(r) + "-of-0000" + std::to_string(processes) + ".safetensors"));
  }
  std::map<std::string, std::vector<double>> by_name;
  for (fs::path const& file : files)
    for (kedge::llm::safetensors_file const source(file); auto const& tensor : source.tensors()) {
      REQUIRE(tensor.type == kedge::llm::dtype::f64);
      std::vector<double>& values = by_name[tensor.name];
      std::size_t const there = values.size();
      values.resize(there + tensor.bytes.size() / sizeof(double));
      std::memcpy(values.data() + there, tensor.bytes.data(), tensor.bytes.size());
    }
  std::vector<double> all;
  for (auto const& [name, values] : by_name) all.insert(all.end(), values.begin(), values.end());
  return all;
}

std::string const tail = "--max_steps 4 --save_steps 4 --dtype float64 ";

std::vector<kind_of_run> kinds(fs::path const& folder) {
  std::string const held_out = "--eval_dataset " + quoted(tiny / "pairs.jsonl");
  write_file(folder / "told.jsonl", "{\"prompt\": \"a\", \"completion\": \"the sea is calm\"}\n{\"prompt\": \"Is the\", \"completion\": \" harbour far\"}\n"
                                    "{\"prompt\": \"b\", \"completion\": \"no\"}\n{\"prompt\": \"c\", \"completion\": \"yes\"}\n"
                                    "{\"prompt\": \"The\", \"completion\": \" meal was warm\"}\n");
  return {
      {"dpo", on_tiny("dpo"), 8, tail + held_out + " --weight_decay 0.1 --micro_batch_tokens 60"},
      {"a head of its own, and a reference that moves", on_tiny("dpo", "untied"), 4, tail + "--sync_ref_model --ref_model_sync_steps 2 --loss_type aot"},
      {"a reference of its own that moves", on_tiny("dpo"), 4, tail + "--ref_model_name_or_path " + quoted(tiny / "tied") + " --sync_ref_model --ref_model_sync_steps 2"},
      {"sdpo", on_tiny("sdpo"), 4, "--chunks 2 --order hard-to-easy --difficulty logp-margin --max_steps 2 --save_steps 4 --dtype float64 --save_strategy steps"},
      {"apo, each layer computed twice", on_tiny("apo", "linear"), 4,
       "--rounds 2 --alpha 0.5 --max_steps 2 --save_steps 4 --dtype float64 --gradient_checkpointing on"},
      {"reward", on_tiny("reward"), 8, tail + held_out},
      {"kto", on_tiny("kto"), 8, tail + "--gradient_accumulation_steps 2"},
      {"sft", on_tiny("sft"), 4, tail + "--dataset " + quoted(folder / "told.jsonl")},
  };
}

// Runs that sample, three steps each.
std::vector<kind_of_run> sampling_kinds(fs::path const& folder) {
  write_file(folder / "prompts.jsonl", "{\"prompt\": \"The anchor went\"}\n{\"prompt\": \"One, two,\"}\n{\"prompt\": \"Warm and\"}\n");
  write_file(folder / "judge.sh", judge_command + "\n");
  finish(1, run(on_tiny("dpo"), folder / "other", 1, 8, "--max_steps 2 --save_strategy no --dtype float64"));
  std::string const sampled = " --prompts " + quoted(folder / "prompts.jsonl") + " --judge " + quoted("sh " + (folder / "judge.sh").string()) +
                              " --dtype float64 --max_new_tokens 6 --save_steps 1 ", ppo = sampled + "--total_episodes 24 --num_ppo_epochs 2 ";
  std::string const soup = "salsa --reference " + quoted("soup:" + (tiny / "tied").string() + "," + (folder / "other").string());
  return {
      {"values of their own", on_tiny("ppo"), 8, ppo + "--eval_samples 2 --eval_prompts " + quoted(folder / "prompts.jsonl")},
      {"shared values, a reference that moves", on_tiny("ppo", "untied"), 8, ppo + "--value_model shared --reference ema:tau=0.5"},
      {"a soup", on_tiny(soup), 8, ppo + "--num_generations 2 --advantage grpo"},
      {"fresh pairs", on_tiny("apo"), 4, sampled + "--rounds 2 --alpha 0.5 --max_steps 2 --num_samples 3 --pairing all"},
  };
}

std::string sampling_run(kind_of_run const& k, fs::path const& output, int processes, std::string const& more) {
  return k.what + " --output_dir " + quoted(output) + " --learning_rate 1e-3 --lr_scheduler_type constant --logging_steps 1 --threads 1 --quiet --ddp_timeout 60" +
         " --per_device_train_batch_size " + std::to_string(k.batch / processes) + " " + k.more + " " + more;
}

}  // namespace

TEST_CASE("methods that sample take the steps of one process with weights that are divided", "[scale]") {
  scratch_folder const data;
  for (kind_of_run const& k : sampling_kinds(data.path())) {
    INFO(k.name);
    scratch_folder const folder;
    finish(1, sampling_run(k, folder / "1", 1, ""));
    int const last = k.what.rfind("apo", 0) == 0 ? 4 : 3;
    auto const check = [&](std::string const& name, int processes) {
      CHECK(largest_difference(joined(folder / "1", last, 1), joined(folder / name, last, processes)) < 1e-10);
      check_same_metrics(folder / "1", folder / name, 1e-9);
    };
    for (std::string const fsdp : {"full_shard", "shard_grad_op"})
      for (int const processes : {2, 4}) {
        INFO(fsdp << ", " << processes << " processes");
        if (processes == 4 && fsdp == "shard_grad_op") continue;
        finish(processes, sampling_run(k, folder / (fsdp + std::to_string(processes)), processes, "--fsdp " + fsdp));
        check(fsdp + std::to_string(processes), processes);
      }
    fs::copy(folder / "full_shard2", folder / "4", fs::copy_options::recursive);
    for (int later = 2; later <= last; ++later) fs::remove_all(folder / "4" / "checkpoints" / ("step-" + std::to_string(later)));
    finish(4, sampling_run(k, folder / "4", 4, "--fsdp full_shard --resume_from_checkpoint " + quoted(folder / "4" / "checkpoints" / "step-1")));
    check("4", 4);
  }
}

// Divided gradients take up to a fifth more than planned, differently from run to run; docs/scale-out.md says so.
TEST_CASE("a process of a divided run takes the memory that its plan says within a tenth, or a fifth with divided gradients", "[model]") {
  char const* const model = std::getenv("KEDGE_TEST_MODEL");
  REQUIRE(model);
  fs::path const data = fs::path(KEDGE_PROJECT_DIR) / "examples/data/sentiment-train.jsonl";
  for (std::string const fsdp : {"shard_grad_op", "full_shard"}) {
    scratch_folder const folder;
    auto const plan = nlohmann::json::parse(shell(quoted(KEDGE_PROGRAM) + " inspect --json --processes 2 --fsdp " + fsdp + " " + quoted(model)).text);
    auto const ended = together(2, "dpo --model_name_or_path " + quoted(model) + " --dataset " + quoted(data) + " --output_dir " + quoted(folder / "out") +
                                       " --max_train_samples 8 --per_device_train_batch_size 4 --max_steps 1 --dtype float32 --threads 1 --quiet --json --fsdp " + fsdp);
    REQUIRE(ended[0].code == 0);
    double const planned = plan.at("memory").at("host, float32, 512 tokens at once");
    double const measured = nlohmann::json::parse(ended[0].text.substr(ended[0].text.rfind("{\"", ended[0].text.size()))).at("peak_memory_bytes");
    INFO(fsdp << ": planned " << planned / 1e9 << " GB, measured " << measured / 1e9);
    CHECK(std::abs(measured / planned - 1) < (fsdp == "full_shard" ? 0.1 : 0.2));
  }
}

TEST_CASE("runs with divided gradients and weights take the steps of one process", "[scale]") {
  scratch_folder const data;
  for (kind_of_run const& k : kinds(data.path())) {
    INFO(k.name);
    scratch_folder const folder;
    finish(1, run(k.what, folder / "1", 1, k.batch, k.more));
    for (std::string const fsdp : {"shard_grad_op", "full_shard"})
      for (int const processes : {2, 4}) {
        if (processes == 4 && k.batch < 8 && fsdp == "shard_grad_op") continue;  // there are enough of them
        INFO(fsdp << ", " << processes << " processes");
        fs::path const output = folder / (fsdp + std::to_string(processes));
        finish(processes, run(k.what, output, processes, k.batch, k.more + " --fsdp '" + fsdp + " auto_wrap'"));
        CHECK(largest_difference(joined(folder / "1", 4, 1), joined(output, 4, processes)) < 1e-10);
        check_same_metrics(folder / "1", output, 1e-9);
        kedge::llm::safetensors_file const one(folder / "1" / "model.safetensors"), written(output / "model.safetensors");
        REQUIRE(one.tensors().size() == written.tensors().size());
        double most = 0;
        for (std::size_t i = 0; i < one.tensors().size(); ++i) {
          std::vector<float> a(one.tensors()[i].bytes.size() / sizeof(float)), b = a;
          std::memcpy(a.data(), one.tensors()[i].bytes.data(), a.size() * sizeof(float));
          std::memcpy(b.data(), written.tensors()[i].bytes.data(), b.size() * sizeof(float));
          for (std::size_t j = 0; j < a.size(); ++j) most = std::max<double>(most, std::abs(a[j] - b[j]));
        }
        CHECK(most < 1e-6);  // as the file has them, in single precision
      }
  }
}

TEST_CASE("a checkpoint goes on with any number of processes and any division", "[scale]") {
  scratch_folder const folder;
  auto const part = [&](std::string const& name, int processes, int steps, std::string const& fsdp, std::string const& from) {
    finish(processes, run(on_tiny("dpo"), folder / name, processes, 4, "--dtype float64 --max_steps 10 --sync_ref_model --ref_model_sync_steps 3 --save_steps " + std::to_string(steps) +
                                                                           " --fsdp " + fsdp + (from.empty() ? "" : " --resume_from_checkpoint " + quoted(folder / from))));
  };
  part("whole", 1, 10, "no_shard", "");
  part("a", 2, 2, "full_shard", "");
  CHECK(names_in(folder / "a" / "checkpoints" / "step-2") ==
        "first-moment-00001-of-00002.safetensors first-moment-00002-of-00002.safetensors moving-reference-00001-of-00002.safetensors "
        "moving-reference-00002-of-00002.safetensors numbers.safetensors second-moment-00001-of-00002.safetensors second-moment-00002-of-00002.safetensors state.json "
        "theta-00001-of-00002.safetensors theta-00002-of-00002.safetensors");
  part("b", 4, 4, "full_shard", "a/checkpoints/step-2");
  part("c", 1, 6, "no_shard", "b/checkpoints/step-4");
  part("d", 2, 8, "shard_grad_op", "c/checkpoints/step-6");
  part("e", 4, 10, "full_shard", "d/checkpoints/step-8");
  CHECK(largest_difference(joined(folder / "whole", 10, 1), joined(folder / "e", 10, 4)) < 1e-10);
  part("f", 2, 10, "no_shard", "a/checkpoints/step-2");
  CHECK(largest_difference(joined(folder / "whole", 10, 1), joined(folder / "f", 10, 2)) < 1e-10);
}

TEST_CASE("the best of a divided run is written, whole", "[scale]") {
  scratch_folder const folder;
  std::string const more = "--max_steps 6 --dtype float64 --eval_strategy steps --eval_steps 2 --save_steps 2 --load_best_model_at_end --greater_is_better true "
                           "--metric_for_best_model loss --eval_dataset " + quoted(tiny / "pairs.jsonl");
  finish(1, run(on_tiny("dpo"), folder / "1", 1, 4, more));
  finish(2, run(on_tiny("dpo"), folder / "2", 2, 4, more + " --fsdp full_shard"));
  kedge::llm::safetensors_file const one(folder / "1" / "model.safetensors"), written(folder / "2" / "model.safetensors");
  for (std::size_t i = 0; i < one.tensors().size(); ++i) CHECK(one.tensors()[i].name == written.tensors()[i].name);
  check_same_metrics(folder / "1", folder / "2", 1e-9);
}

TEST_CASE("when a process of a divided run is killed the others leave with one line and what is saved is whole", "[scale]") {
  for (std::string const fsdp : {"shard_grad_op", "full_shard"}) {
    scratch_folder const folder;
    fs::path const output = folder / "out";
    auto const ended = together(2, run(on_tiny("dpo"), output, 2, 4, "--max_steps 1000000 --save_steps 2 --ddp_timeout 60 --fsdp " + fsdp), once_it_trains(output, "kill -KILL $p1"));
    CHECK(ended[1].code == 128 + 9);
    check_one_line(ended[0], 1, "process 0 of 2: another process has gone");
    CHECK_THAT(names_in(output / "checkpoints"), contains("step-2"));
    for (auto const& item : fs::directory_iterator(output / "checkpoints")) CHECK(fs::exists(item.path() / "state.json"));
  }
}

TEST_CASE("an interrupt stops a divided run at one step and another number of processes goes on", "[scale]") {
  scratch_folder const folder;
  fs::path const output = folder / "out";
  auto const arguments = [&](int processes, std::string const& more) {
    return run(on_tiny("dpo"), output, processes, 4, "--save_steps 0 --max_steps 1000000 --ddp_timeout 60 --fsdp full_shard " + more);
  };
  for (outcome const& result : together(2, arguments(2, ""), once_it_trains(output, "kill -INT $p1"))) CHECK(result.code == 130);
  for (outcome const& result : together(4, arguments(4, "--resume_from_checkpoint latest"), once_it_trains(output, "kill -TERM $p2"))) CHECK(result.code == 130);
}

TEST_CASE("what --fsdp can't be is refused in one line", "[scale]") {
  scratch_folder const folder;
  std::string const dpo = quoted(KEDGE_PROGRAM) + " " + run(on_tiny("dpo"), folder / "out", 1, 4, "");
  for (std::string const text : {"'full_shard offload'", "hybrid_shard", "'full_shard shard_grad_op'"})
    check_one_line(shell(dpo + " --fsdp " + text), 2, "full_shard, shard_grad_op or no_shard");
}
