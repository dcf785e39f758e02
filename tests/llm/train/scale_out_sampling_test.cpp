// SPDX-License-Identifier: Apache-2.0

// What samples from a model, in several processes: the samples, weights and files of one process, and a clean end.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "llm/train/counting_judge.hpp"
#include "llm/train/several_processes.hpp"
#include "support/catch.hpp"
#include "support/largest_difference.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

// Text prompts, over and over.
fs::path prompts_in(fs::path const& folder, int count = 5) {
  char const* const texts[] = {"The anchor went", "One, two,", "A kind answer: ", "Warm and", "What the sea has given, the sea"};
  fs::path const file = folder / ("prompts-" + std::to_string(count));
  std::ofstream out(file);
  for (int i = 0; i < count; ++i) out << "{\"prompt\": \"" << texts[i % 5] << "\"}\n";
  return file;
}

// A run that samples; `batch`: completions, or pairs, of a step over all processes.
std::string sampling_run(std::string const& what, fs::path const& folder, fs::path const& output, int processes, int batch, std::string const& more) {
  return what + " --prompts " + quoted(prompts_in(folder)) + " --output_dir " + quoted(output) +
         " --max_new_tokens 6 --learning_rate 1e-3 --lr_scheduler_type constant --logging_steps 1 --save_steps 1 --threads 1 --quiet"
         " --ddp_timeout 60 --per_device_train_batch_size " + std::to_string(batch / processes) + " " + more;
}

// In a file, so that no quoting stands between: rewards every 'e'.
std::string counting_judge(fs::path const& folder) {
  write_file(folder / "judge.sh", judge_command + "\n");
  return " --judge " + quoted("sh " + (folder / "judge.sh").string());
}

// As it, until a process of this rank has given so many answers.
std::string failing_judge(fs::path const& folder, int rank, int answers) {
  write_file(folder / "failing.sh", "n=0; while IFS= read -r line; do n=$((n+1)); [ \"$RANK\" = " + std::to_string(rank) + " ] && [ $n -gt " +
                                        std::to_string(answers) + " ] && exit 3; echo '{\"score\": '$((n % 3))'}'; done\n");
  return " --judge " + quoted("sh " + (folder / "failing.sh").string());
}

fs::path other_model(fs::path const& folder) {
  finish(1, run(on_tiny("dpo"), folder / "other", 1, 8, "--max_steps 2 --save_strategy no --dtype float64"));
  return folder / "other";
}

fs::path reward_model(fs::path const& folder) {
  finish(1, run(on_tiny("reward"), folder / "reward", 1, 8, "--max_steps 2 --save_strategy no --dtype float64"));
  return folder / "reward";
}

void check_same_files(fs::path const& a, fs::path const& b, std::string const& in) {
  if (!fs::exists(a / in)) return;
  REQUIRE(names_in(a / in) == names_in(b / in));
  for (auto const& item : fs::directory_iterator(a / in)) {
    INFO(item.path());
    CHECK(read_file(item.path()) == read_file(b / in / item.path().filename()));
  }
}

struct method {
  std::string name, what;
  int batch;
  std::string more;
};

// Three steps each.
std::vector<method> methods(fs::path const& folder) {
  std::string const ppo = on_tiny("ppo"), judge = counting_judge(folder), tail = " --dtype float64 --total_episodes 24 --num_ppo_epochs 2 ";
  std::string const held_out = "--eval_samples 2 --eval_prompts " + quoted(prompts_in(folder, 3));
  std::string const soup = "salsa --reference " + quoted("soup:" + (tiny / "tied").string() + "," + other_model(folder).string());
  return {
      {"shared values", ppo, 8, judge + tail + held_out + " --value_model shared --whiten_rewards --adap_kl_ctrl --target_kl 0.1 --kl_horizon 100 --log_entropy"},
      {"values of their own, one judge, steps of a part of an update", ppo, 4, judge + tail + "--judge_processes leading --num_mini_batches 2 --micro_batch_tokens 20"},
      {"an adapter, hotter", ppo, 8, judge + tail + "--use_peft --lora_r 4 --lora_target_modules all-linear --temperature 1.5"},
      {"fewer prompts than processes", ppo, 8, judge + tail + "--num_generations 8 --advantage rloo"},
      {"groups, a reference that moves, a reward model", ppo, 8,
       "--reward_model " + quoted(reward_model(folder)) + tail + "--num_generations 2 --advantage grpo --kl_in loss --kl_estimator k3 --reference ema:tau=0.5"},
      {"a soup, one reward model", soup, 8, "--reward_model " + quoted(folder / "reward") + " --judge_processes leading" + tail},
      {"fresh pairs", on_tiny("apo"), 4, judge + " --dtype float64 --rounds 2 --alpha 0.5 --max_steps 2 --num_samples 3 --pairing all " + held_out},
      {"pairs from files, prompts held out", "apo --rounds 1 --dataset " + quoted(tiny / "pairs.jsonl") + on_tiny(""), 4,
       judge + " --dtype float64 --max_steps 3 " + held_out},
  };
}

}  // namespace

TEST_CASE("methods that sample take the samples and steps of one process in two and four and go on with another number", "[scale]") {
  scratch_folder const folder;
  for (method const& m : methods(folder.path())) {
    INFO(m.name);
    bool const files = m.what.find("--dataset") != std::string::npos;
    fs::path const home = folder / m.name;
    fs::create_directory(home);
    auto const go = [&](std::string const& name, int processes, std::string const& from = "") {
      std::string arguments = sampling_run(m.what, folder.path(), home / name, processes, m.batch, m.more + (from.empty() ? "" : " --resume_from_checkpoint " + quoted(home / from)));
      if (files) arguments.replace(arguments.find("--prompts " + quoted(prompts_in(folder.path()))), 10 + quoted(prompts_in(folder.path())).size(), "");
      finish(processes, arguments);
    };
    auto const check = [&](std::string const& name) {
      INFO(name);
      int const last = m.what.rfind("apo", 0) == 0 && !files ? 4 : 3;
      CHECK(largest_difference(weights_of(home / "1", last), weights_of(home / name, last)) < 1e-10);
      check_same_metrics(home / "1", home / name, 1e-9);
      for (char const* in : {"samples", "rounds"}) check_same_files(home / "1", home / name, in);
    };
    go("1", 1);
    for (int const processes : {2, 4}) {
      go(std::to_string(processes), processes);
      check(std::to_string(processes));
    }
    struct change {
      char const* name;
      char const* from;
      int step, processes;
    };
    for (change const& c : {change{"2 to 4", "2", 1, 4}, change{"4 to 1", "4", 2, 1}}) {
      fs::copy(home / c.from, home / c.name, fs::copy_options::recursive);
      for (int later = c.step + 1; later <= 4; ++later) fs::remove_all(home / c.name / "checkpoints" / ("step-" + std::to_string(later)));
      go(c.name, c.processes, c.name + ("/checkpoints/step-" + std::to_string(c.step)));
      check(c.name);
    }
  }
}

TEST_CASE("a process that dies while a method samples or trains ends the others with one line and what is saved is whole", "[scale]") {
  scratch_folder const folder;
  std::string const judge = counting_judge(folder.path());
  std::string const soup = "salsa --reference " + quoted("soup:" + (tiny / "tied").string() + "," + (tiny / "tied").string());
  struct one {
    std::string what, more;
    int killed;
  };
  for (one const& m : {one{on_tiny("ppo"), "--total_episodes 1000000", 1}, one{on_tiny("ppo"), "--total_episodes 1000000 --judge_processes leading", 0},
                       one{soup, "--total_episodes 1000000", 1}, one{on_tiny("apo"), "--rounds 10000 --max_steps 1 --num_samples 4", 1}}) {
    INFO(m.what << m.more);
    fs::path const output = folder / "out";
    fs::remove_all(output);
    std::string const victim = std::to_string(m.killed), other = std::to_string(1 - m.killed);
    auto const ended = together(2, sampling_run(m.what, folder.path(), output, 2, 4, judge + " " + m.more), once_it_trains(output, "kill -KILL $p" + victim));
    CHECK(ended[static_cast<std::size_t>(m.killed)].code == 128 + 9);
    check_one_line(ended[static_cast<std::size_t>(1 - m.killed)], 1, "process " + other + " of 2: another process has gone");
    for (auto const& item : fs::directory_iterator(output / "checkpoints")) {
      INFO(item.path());
      if (item.path().filename().string().starts_with("step-")) CHECK(fs::exists(item.path() / "state.json"));  // else it was being written
    }
  }
}

TEST_CASE("a judge that fails in one process ends the run in all with its words after a checkpoint", "[scale]") {
  scratch_folder const folder;
  struct one {
    std::string what, more, saved;
  };
  for (one const& m : {one{on_tiny("ppo"), "--total_episodes 1000", "step-2"}, one{on_tiny("apo"), "--rounds 1000 --num_samples 2 --prompts_per_round 2 --max_steps 1", ""}}) {
    INFO(m.what);
    fs::path const output = folder / "out";
    fs::remove_all(output);
    for (outcome const& result : together(2, sampling_run(m.what, folder.path(), output, 2, 4, failing_judge(folder.path(), 1, 4) + " --save_strategy no " + m.more)))
      check_one_line(result, 1, "exited with status 3 before answer 5");
    if (m.saved.empty()) continue;
    CHECK(names_in(output / "checkpoints") == m.saved);
    std::string const mended = failing_judge(folder.path(), 1, 1000000) + " --resume_from_checkpoint latest ";
    for (outcome const& result : together(4, sampling_run(m.what, folder.path(), output, 4, 4, mended + m.more),
                                          once_it_trains(output, "kill -INT $p2"))) {
      INFO(result.text);
      CHECK(result.code == 130);
    }
  }
}

TEST_CASE("one judge for all processes is started once and an interrupt of a process without it stops all", "[scale]") {
  scratch_folder const folder;
  write_file(folder / "told.sh", "echo \"$RANK$WORLD_SIZE\" >> " + quoted(folder / "ranks") + "; while read -r line; do echo '{\"score\": 1}'; done\n");
  for (outcome const& result :
       together(2, sampling_run(on_tiny("ppo"), folder.path(), folder / "out", 2, 4,
                                "--total_episodes 1000000 --save_strategy no --judge_processes leading --judge " + quoted("sh " + (folder / "told.sh").string())),
                once_it_trains(folder / "out", "kill -INT $p1"))) {
    INFO(result.text);
    CHECK(result.code == 130);
  }
  CHECK(read_file(folder / "ranks") == "0\n");
  std::string const saved = names_in(folder / "out" / "checkpoints");
  CHECK(saved.rfind("step-", 0) == 0);
  CHECK(saved.find(' ') == std::string::npos);
}

TEST_CASE("a sweep of salsa and its reward plane meet once for all their runs", "[scale]") {
  scratch_folder const folder;
  std::string const soup = "salsa --reference " + quoted("soup:" + (tiny / "tied").string() + "," + other_model(folder.path()).string());
  auto const go = [&](int processes) {
    finish(processes, sampling_run(soup, folder.path(), folder / std::to_string(processes), processes, 4,
                                   counting_judge(folder.path()) + " --dtype float64 --total_episodes 8 --soup_weight 0.25 0.75 --reward_plane 1"));
  };
  for (int const processes : {1, 2}) go(processes);
  for (char const* weight : {"weight-0.25", "weight-0.75"})
    CHECK(largest_difference(weights_of(folder / "1" / weight, 2), weights_of(folder / "2" / weight, 2)) < 1e-10);
  CHECK(read_file(folder / "1" / "reward_plane.json") == read_file(folder / "2" / "reward_plane.json"));
}

TEST_CASE("score writes the bytes of one process in any number and generate the same lines", "[scale]") {
  scratch_folder const folder;
  fs::path const prompts = prompts_in(folder.path(), 23);
  for (int const processes : {1, 2, 4}) {
    std::string const n = std::to_string(processes);
    finish(processes, on_tiny("score") + " --dataset " + quoted(tiny / "pairs.jsonl") + " --dtype float32 --threads 1 --quiet --batch_size 3 --output " +
                          quoted(folder / ("scores" + n)) + " --ref_logps " + quoted(folder / ("pairs" + n)));
    finish(processes, on_tiny("generate") + " --prompts " + quoted(prompts) + " --dtype float64 --threads 1 --quiet --num_samples 3 --batch_size 1 --max_new_tokens 12 --output " +
                          quoted(folder / ("texts" + n)));
    finish(processes, on_tiny("generate") + " --prompts " + quoted(prompts) + " --max_samples 1 --dtype float64 --threads 1 --quiet --num_samples 8 --max_new_tokens 12 --output " +
                          quoted(folder / ("one" + n)));
    for (char const* file : {"scores", "pairs", "texts", "one"}) {
      INFO(file << " of " << n);
      CHECK(read_file(folder / (std::string(file) + n)) == read_file(folder / (std::string(file) + "1")));
    }
  }
}

TEST_CASE("models are compared by several processes as by one with a judge in each or in one", "[scale]") {
  scratch_folder const folder;
  for (std::string const judges : {"all", "leading"})
    for (int const processes : {1, 2, 4})
      finish(processes, "compare " + quoted(tiny / "tied") + " " + quoted(tiny / "untied") + " --prompts " + quoted(prompts_in(folder.path(), 7)) +
                            " --dtype float64 --threads 1 --quiet --num_samples 2 --max_new_tokens 6 --judge_processes " + judges + counting_judge(folder.path()) +
                            " --output " + quoted(folder / (judges + std::to_string(processes))));
  json const one = json::parse(read_file(folder / "all1"));
  for (std::string const name : {"all2", "all4", "leading1", "leading2", "leading4"}) {
    INFO(name);
    json other = json::parse(read_file(folder / name));
    for (char const* figure : {"kl_per_token", "kl"})  // by other batches
      for (char const* of : {"value", "low", "high", "stderr"}) {
        CHECK(std::abs(other[figure][of].get<double>() - one[figure][of].get<double>()) < 1e-10);
        other[figure][of] = one[figure][of];
      }
    CHECK(other == one);
  }
  for (outcome const& result : together(2, "compare " + quoted(tiny / "tied") + " " + quoted(tiny / "tied") + " --prompts " + quoted(prompts_in(folder.path(), 7)) +
                                               " --threads 1 --quiet --ddp_timeout 60" + failing_judge(folder.path(), 1, 1)))
    check_one_line(result, 1, "exited with status 3 before answer 2");
}

TEST_CASE("generate and score leave nothing half-written where a process dies or is interrupted", "[scale]") {
  scratch_folder const folder;
  fs::path const prompts = prompts_in(folder.path(), 5000);
  std::string const generate = on_tiny("generate") + " --prompts " + quoted(prompts) + " --ignore_eos --threads 1 --quiet --batch_size 1 --max_new_tokens 50 --ddp_timeout 60";
  auto const once_it_writes = [](std::string const& then) { return "for i in $(seq 1200); do [ -s \"${said}0\" ] && break; sleep 0.05; done; " + then; };
  auto const killed = together(2, generate, once_it_writes("kill -KILL $p1"));
  CHECK(killed[1].code == 128 + 9);
  CHECK(killed[0].code == 1);
  CHECK_THAT(killed[0].text, contains("process 0 of 2: another process has gone"));
  auto const interrupted = together(2, generate, once_it_writes("kill -INT $p1"));
  for (outcome const& result : interrupted) CHECK(result.code == 130);
  CHECK(interrupted[1].text.empty());
  std::string many;
  for (int i = 0; i < 400; ++i) many += read_file(tiny / "pairs.jsonl");
  write_file(folder / "many", many);
  auto const scored = together(2, on_tiny("score") + " --dataset " + quoted(folder / "many") + " --threads 1 --quiet --batch_size 1 --ddp_timeout 60", once_it_writes("kill -KILL $p1"));
  CHECK(scored[1].code == 128 + 9);
  CHECK(scored[0].code == 1);
  CHECK_THAT(scored[0].text, contains("process 0 of 2: another process has gone"));
}
