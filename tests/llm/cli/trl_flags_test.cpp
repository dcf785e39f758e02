// SPDX-License-Identifier: Apache-2.0

// The command line of TRL 1.16: every flag of its scripts, as golden/trl_flags.json lists them, in the process of the test.

#include <fstream>
#include <map>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/kto.hpp>
#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/sft.hpp>

#include "command_line.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"
#include "trl_dataset.hpp"

using namespace kedge::cli;
using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;
using json = nlohmann::ordered_json;

namespace {

json const& trl() {
  static json const all = json::parse(kedge::testing::read_file(std::string(KEDGE_TESTS_DIR) + "/golden/trl_flags.json"));
  return all;
}

// A command's line, with the settings that it has.
struct command_of {
  explicit command_of(std::string const& name) : line("kedge " + name, "A test.") {
    if (name == "sft") declare(line.settings, sft);
    if (name == "reward") declare(line.settings, reward);
    if (name == "ppo") declare(line.settings, ppo);
    if (name == "kto") declare(line.settings, kto);
    if (name == "dpo" || name == "apo") declare(line.settings, training);
    if (name == "dpo") declare_reference(line.settings, rounds);
    if (name == "apo") declare_rounds(line.settings, rounds);
    if (name != "ppo") declare(line.settings, named);
    line.take_trl_flags();
  }

  training_settings training;
  round_settings rounds;
  sft_settings sft;
  reward_settings reward;
  kto_settings kto;
  ppo_settings ppo;
  dataset_choice named;
  command_line line;
};

// What the line ends with: "" where it starts.
std::string refusal(command_line& line, arguments const& args) {
  try {
    line.parse(args);
    return "";
  } catch (usage_error const& e) {
    return e.what();
  }
}

std::set<std::string> names_in(std::string const& script) {
  std::set<std::string> names;
  for (char const* const part : {"common", script.c_str()})
    for (auto const& [name, value] : trl().at(part).items()) names.insert(name);
  return names;
}

// The flags that a command can't do without, but for one.
arguments needed(std::string const& but) {
  arguments args;
  for (auto const& [name, value] :
       std::map<std::string, std::string>{{"model_name_or_path", "model"}, {"dataset", "data.jsonl"}})
    if (name != but && but != "dataset_" + value && !(name == "dataset" && but.starts_with("dataset_")))
      args.insert(args.end(), {"--" + name, value});
  return args;
}

arguments with_partners(std::string const& name) {
  arguments args = needed(name);
  if (name.starts_with("lora_") || name == "use_rslora") args.insert(args.end(), {"--use_peft"});
  if (name.starts_with("ref_model_")) args.insert(args.end(), {"--sync_ref_model"});
  if (name.starts_with("dataset_") && name.ends_with("_split")) args.insert(args.end(), {"--dataset_name", "data.jsonl"});
  return args;
}

bool starts_or_says_why(std::string const& command, std::string const& name, arguments const& flag) {
  arguments args = with_partners(name);
  args.insert(args.end(), flag.begin(), flag.end());
  command_of one(command);
  std::string const message = refusal(one.line, args);
  INFO("kedge " << command << " " << flag[0] << (flag.size() > 1 ? " " + flag[1] : "") << ": " << message);
  bool const right =
      message.empty() ||
      (message.find(name) != std::string::npos && message.find("--" + name + " is not known") == std::string::npos &&
       message.find('\n') == std::string::npos && message.find("value is missing") == std::string::npos &&
       message.size() > name.size() + 12);
  CHECK(right);
  return message.empty();
}

}  // namespace

TEST_CASE("every flag of TRLs scripts starts or is refused with the reason", "[trl]") {
  std::size_t started = 0, all = 0;
  for (auto const& [command, script] : std::vector<std::pair<std::string, std::string>>{
           {"dpo", "dpo"}, {"sft", "sft"}, {"reward", "reward"}, {"kto", "kto"}, {"dpo", "kto"}, {"apo", "online_dpo"}, {"dpo", "online_dpo"}})
    for (std::string const& name : names_in(script)) {
      json const& flag = trl().at("flags").at(name);
      arguments values{"--" + name};
      for (auto const& one : flag.at("typical")) values.push_back(one.get<std::string>());
      ++all;
      started += starts_or_says_why(command, name, values) ? 1 : 0;
      starts_or_says_why(command, name, {"--" + name + "=" + values.at(1)});
      if (flag.at("takes") != "truth") continue;
      starts_or_says_why(command, name, {"--" + name, "--quiet"});
      starts_or_says_why(command, name, {"--" + name, "False"});
      starts_or_says_why(command, name, {"--no_" + name});
    }
  CHECK(all > 900);
  CHECK(started > all * 3 / 4);
}

TEST_CASE("a choice of TRLs is taken or refused with the reason", "[trl]") {
  for (std::string const command : {"dpo", "sft", "reward", "kto"})
    for (std::string const& name : names_in(command))
      for (auto const& choice : trl().at("flags").at(name).value("choices", json::array()))
        starts_or_says_why(command, name, {"--" + name, choice.get<std::string>()});
}

TEST_CASE("settings that TRL has as well have its defaults but for those of the page", "[trl]") {
  // Where nothing is set, TRL quantizes, downloads or computes in another way; the page on coming from TRL lists these.
  std::set<std::string> const others{
      "gradient_checkpointing", "lora_dropout", "dtype", "tf32", "weight_decay", "output_dir", "top_k", "temperature",
      "max_new_tokens", "report_to"};
  auto const plain = [](json value) {
    if (value.is_array() && value.size() == 1) value = value[0];
    if (value.is_null() || value == "" || value == -1 || value == 0 || value == false || value == "no" || value == "no_shard" ||
        (value.is_array() && value.empty()))
      return json();
    return value.is_number() ? json(value.get<double>()) : value;
  };
  for (std::string const command : {"dpo", "sft", "reward", "kto"}) {
    command_of one(command);
    for (std::string const& name : names_in(command)) {
      setting const* const ours = one.line.settings.find(name);
      if (ours == nullptr || others.contains(name)) continue;
      INFO(command << " " << name);
      json const& theirs = trl().at(command).contains(name) ? trl().at(command).at(name) : trl().at("common").at(name);
      json const of_losses =
          json::parse(ours->default_text(), nullptr, false);  // a parameter of some losses shows its default so
      CHECK(plain(of_losses.is_discarded() ? ours->value() : of_losses) == plain(theirs));
    }
  }
}

TEST_CASE("flags that are others here are these", "[trl]") {
  auto const parsed = [](arguments args) {
    auto one = std::make_unique<command_of>("dpo");
    args.insert(args.end(), {"--model_name_or_path", "m", "--dataset", "d"});
    one->line.parse(args);
    return one;
  };
  CHECK(parsed({"--bf16"})->training.compute.dtype == compute_type::bfloat16);
  CHECK(parsed({"--bf16", "False"})->training.compute.dtype == compute_type::float32);
  CHECK(parsed({"--no_bf16"})->training.compute.dtype == compute_type::float32);
  CHECK(parsed({"--train_sampling_strategy", "sequential"})->training.shuffle == false);
  CHECK(parsed({"--max_seq_length", "77"})->training.max_length == 77);
  CHECK(parsed({"--evaluation_strategy", "steps"})->training.eval_strategy == interval::steps);
  CHECK(parsed({"--activation_checkpointing"})->training.compute.gradient_checkpointing == when::on);
  CHECK(parsed({"--gradient_checkpointing", "--use_peft"})->training.use_peft);
  CHECK(parsed({"--no_gradient_checkpointing"})->training.compute.gradient_checkpointing == when::off);
  CHECK(parsed({"--gradient_checkpointing", "True"})->training.compute.gradient_checkpointing == when::on);
  CHECK(parsed({"--shuffle_dataset", "false"})->training.shuffle);
  CHECK(parsed({"--max_length", "None"})->training.max_length == 0);
  CHECK(parsed({"--save_steps", "0.25", "--logging_steps", "1e-1"})->training.save_steps.of(9) == 3);
  CHECK(parsed({"--lr_scheduler_kwargs", "{\"num_cycles\": 2}"})->training.lr_kwargs ==
        read_lr_scheduler_kwargs("{\"num_cycles\": 2}"));
  CHECK(parsed({"--report_to", "none", "wandb", "--padding_free", "--packing"})->line.remark() ==
        "without effect here: --report_to (nothing is sent anywhere; wandb, trackio and others read metrics.jsonl or runs/ of "
        "--output_dir afterwards, see docs/reports.md); --padding_free (nothing is ever "
        "padded); --packing (nothing is padded, so there is nothing to "
        "pack; a step has --per_device_train_batch_size examples still)");
  CHECK(parsed({})->training.writes_events());
  CHECK_FALSE(parsed({"--report_to", "none"})->training.writes_events());
  CHECK_FALSE(parsed({"--report_to", "None"})->training.writes_events());
  CHECK(parsed({"--report_to", "all"})->training.writes_events());
  CHECK(parsed({"--report_to", "tensorboard"})->line.remark().empty());
  CHECK(parsed({"--report_to", "tensorboard", "wandb"})->training.writes_events());
  auto const twice = parsed({"--logging_steps", "1", "--logging-steps=0.5"});  // as argparse has it
  CHECK(twice->training.logging_steps == step_count(0.5));
  CHECK(twice->line.remark() == "without effect here: --logging_steps 1 (another value of it follows, which counts)");
  CHECK(parsed({"--fp16", "false", "--load_in_4bit=0"})->line.remark().empty());
  CHECK(parsed({"--hub_token", "secret"})->line.remark().find("secret") == std::string::npos);
  for (auto const& [args, message] : std::vector<std::pair<arguments, std::string>>{
           {{"--bf16", "--dtype", "float32"}, "--bf16 is --dtype bfloat16 here, and --dtype float32 is given"},
           {{"--load_in_4bit"}, "--load_in_4bit"},
           {{"--lora_dropout", "0.05", "--use_peft"}, "with dropout the reference would be another model"},
           {{"--lr_scheduler_type", "greedy"}, "cosine_with_min_lr, or constant_with_warmup, is nearest"},
           {{"--optim", "adafactor"}, "adamw_torch is nearest"},
           {{"--train_sampling_strategy", "group_by_length"}, "use random or sequential"},
           {{"--loss_type", "kto"}, "it is a loss of single completions with labels: kedge kto"},
           {{"--fp16", "perhaps"}, "perhaps"},
           {{"--save_steps", "1.5"}, "--save_steps 1.5: it takes an integer of at least 0, or a share below 1"},
           {{"--logging_steps", "0"}, "--logging_steps 0: it takes an integer of at least 1, or a share below 1"},
           {{"--run_name"}, "--run_name: a value is missing"}}) {
    INFO(message);
    CHECK_THROWS_WITH(parsed(args), contains(message));
  }
}

TEST_CASE("a configuration file of TRLs is taken as its flags are", "[trl]") {
  scratch_folder const folder;
  auto const parsed = [&](char const* file, std::string const& text, arguments args = {}) {
    std::ofstream(folder / file) << text;
    auto one = std::make_unique<command_of>("dpo");
    args.insert(args.end(), {"--config", (folder / file).string()});
    one->line.parse(args);
    return one;
  };
  std::string const yaml =
      "# TRL\nmodel_name_or_path: m\ndataset_name: d.jsonl\nbf16: true\nlearning_rate: 5.0e-2\nlr_scheduler_kwargs: "
      "{num_cycles: 2}\n"
      "gradient_checkpointing: True\ngradient_checkpointing_kwargs:\n  use_reentrant: false\nreport_to:\n- wandb\nloss_type: "
      "[sigmoid, sft]\nloss_weights: [1.0, 0.5]\n"
      "lora_target_modules: all-linear\nuse_peft: yes\nmax_steps: -1\nwarmup_steps: 0.1\nrun_name: null\n";
  auto const one = parsed("trl.yaml", yaml);
  CHECK(one->training.compute.dtype == compute_type::bfloat16);
  CHECK(one->training.learning_rate == 0.05);
  CHECK(one->training.lr_kwargs == read_lr_scheduler_kwargs("{\"num_cycles\": 2}"));
  CHECK(one->training.compute.gradient_checkpointing == when::on);
  CHECK(one->training.loss.loss_weights == std::vector{1.0, 0.5});
  CHECK(one->training.use_peft);
  CHECK(one->training.max_steps == 0);
  CHECK(one->training.warmup_steps == 0.1);
  CHECK(one->named.name == "d.jsonl");
  CHECK_THAT(one->line.remark(), contains("--report_to") && contains("--gradient_checkpointing_kwargs"));
  CHECK(parsed("trl.yaml", yaml, {"--dtype", "float32"})->training.compute.dtype == compute_type::float32);  // flags win
  CHECK(parsed("trl.yaml", yaml, {"--no_bf16"})->training.compute.dtype == compute_type::float32);
  CHECK(parsed("trl.json", R"({"model_name_or_path": "m", "dataset": "d", "bf16": true, "dataset_num_proc": 4})")
            ->training.compute.dtype == compute_type::bfloat16);
  CHECK(parsed("trl.toml", "model_name_or_path = \"m\"\ndataset = \"d\"\nbf16 = true\n")->training.compute.dtype ==
        compute_type::bfloat16);
  CHECK_THROWS_WITH(parsed("a.yaml", "model_name_or_path: m\ndatasets:\n- path: a\n  split: train\n- path: b\n"),
                    contains("a.yaml: --datasets") && contains("mixtures of data sets"));
  CHECK_THROWS_WITH(parsed("a.yaml", "env: {CUDA_VISIBLE_DEVICES: 0}\n"),
                    contains("set the environment where you start kedge"));
  CHECK_THROWS_WITH(parsed("a.yaml", "fp16: true\n"), contains("a.yaml: --fp16: there is no float16 here"));
  CHECK_THROWS_WITH(parsed("a.yaml", "learning_rate: {a: 1}\n"), contains("learning_rate holds other keys"));
  CHECK_THROWS_WITH(parsed("a.yaml", "bf16: true\ndtype: float32\nmodel_name_or_path: m\ndataset: d\n"),
                    contains("leave one of the two out"));
}

TEST_CASE("a data set is named as TRL does by a file or a folder with a file for each split", "[trl]") {
  scratch_folder const folder;
  std::filesystem::create_directories(folder / "set/data");
  for (char const* const name :
       {"set/train.jsonl", "set/data/test-00000-of-00001.parquet", "set/training.jsonl", "set/dev-0.jsonl", "set/dev-1.jsonl",
        "set/more-00000-of-00002.parquet", "set/more-00001-of-00002.parquet"})
    std::ofstream(folder / name) << "{}\n";
  CHECK(file_of_split(folder / "set", "train") == folder / "set/train.jsonl");
  CHECK(file_of_split(folder / "set", "test") == folder / "set/data/test-00000-of-00001.parquet");
  CHECK(file_of_split(folder / "set", "more") == folder / "set/more-*-of-*.parquet");  // which are one data set
  CHECK_THROWS_WITH(file_of_split(folder / "set", "validation"), contains("no file of the split validation"));
  CHECK_THROWS_WITH(file_of_split(folder / "set", "dev"), contains("2 files of the split dev, dev-0.jsonl and dev-1.jsonl"));
  auto const chosen = [&](arguments args) {
    command_of one("sft");
    args.insert(args.end(), {"--model_name_or_path", "m"});
    one.line.parse(args);
    choose_files(one.line, one.named, one.sft, one.sft.dataset, one.sft.eval_dataset);
    return std::pair{one.sft.dataset.filename().string(), one.sft.eval_dataset.filename().string()};
  };
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  ::setenv("HF_HOME", (folder / "home").c_str(), 1);
  std::string const set = (folder / "set").string(), file = (folder / "set/train.jsonl").string();
  CHECK(chosen({"--dataset_name", set}) == std::pair<std::string, std::string>{"train.jsonl", ""});
  CHECK(chosen({"--dataset_name", set, "--eval_strategy", "steps"}) ==
        std::pair<std::string, std::string>{"train.jsonl", "test-00000-of-00001.parquet"});
  CHECK(chosen({"--dataset_name", set, "--dataset_train_split", "training"}).first == "training.jsonl");
  CHECK(chosen({"--dataset_name", file}).first == "train.jsonl");
  CHECK(chosen({"--dataset_name", file, "--eval_strategy", "epoch", "--eval_dataset", "e.jsonl"}).second == "e.jsonl");
  for (auto const& [args, message] : std::vector<std::pair<arguments, std::string>>{
           {{"--dataset_name", "trl-lib/Capybara"}, "kedge pull trl-lib/Capybara"},
           {{"--dataset_name", (folder / "none").string()}, "no name of the hub"},
           {{"--dataset_name", file, "--dataset_config", "more"}, "has no configurations"},
           {{"--dataset_name", file, "--dataset_train_split", "other"}, "has no split other"},
           {{"--dataset_name", file, "--eval_strategy", "steps"}, "--eval_strategy steps needs held-out data"},
           {{"--dataset_name", set, "--dataset", file}, "exclude each other"},
           {{}, "--dataset is required"}}) {
    INFO(message);
    CHECK_THROWS_WITH(chosen(args), contains(message));
  }
}

TEST_CASE("no command offers a flag that it does not read", "[trl]") {
  command_of ppo("ppo");
  for (char const* const name : {"max_steps", "max_length", "per_device_eval_batch_size"})
    CHECK(ppo.line.settings.find(name) == nullptr);
  CHECK_THAT(refusal(ppo.line, {"--model_name_or_path", "m", "--prompts", "p", "--max_steps", "2"}),
             contains("--max_steps 2: how long it trains is said in completions"));
  command_of named("ppo");
  named.line.parse({"--model_name_or_path", "m", "--dataset_name", "p.jsonl", "--max_steps", "-1"});
  CHECK(named.ppo.sampling.prompts == "p.jsonl");
}
