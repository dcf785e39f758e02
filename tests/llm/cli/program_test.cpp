// SPDX-License-Identifier: Apache-2.0

// The program from the outside: exit codes, one clear line for each thing that is wrong, and what an interrupt leaves.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

namespace fs = std::filesystem;
using namespace kedge::testing;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

outcome kedge_program(std::string const& arguments) { return shell(quoted(KEDGE_PROGRAM) + " " + arguments); }

std::string dpo(fs::path const& output, std::string const& more) {
  return "dpo --model_name_or_path " + quoted(tiny / "tied") + " --dataset " + quoted(tiny / "pairs.jsonl") + " --output_dir " + quoted(output) +
         " --dtype float32 --learning_rate 1e-3 " + more;
}

}  // namespace

TEST_CASE("wrong usage exits with 2 and one line", "[program]") {
  scratch_folder const folder;
  check_one_line(kedge_program("train"), 2, "train");
  check_one_line(kedge_program("dpo"), 2, "required");
  check_one_line(kedge_program(dpo(folder / "out", "--betta 1")), 2, "betta");
  check_one_line(kedge_program(dpo(folder / "out", "--beta much")), 2, "beta");
  CHECK(kedge_program("--help").code == 0);
  CHECK_THAT(kedge_program("apo --help").text, contains("--extrapolate"));
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("bad input exits with 1 and one line", "[program]") {
  scratch_folder const folder;
  check_one_line(kedge_program(dpo(folder / "out", "--loss_type sigmoidal")), 1, "sigmoidal");
  check_one_line(kedge_program("score --model_name_or_path " + quoted(folder / "none") + " --dataset x"), 1, "none");
  check_one_line(kedge_program(dpo("/proc/kedge", "--max_steps 1")), 1, "/proc/kedge");
  std::ofstream(folder / "bad.jsonl") << "{\"prompt\": \"a\", \"chosen\": \"b\"}\n";
  check_one_line(kedge_program("score --model_name_or_path " + quoted(tiny / "tied") + " --dataset " + quoted(folder / "bad.jsonl")), 1, "rejected");
  check_one_line(kedge_program("tokenize --model_name_or_path " + quoted(tiny / "tied") + " --chat --input " + quoted(folder / "bad.jsonl")), 1, ":1");
}

TEST_CASE("dashes and underscores in flags are the same and a config file has the same keys", "[program]") {
  scratch_folder const folder;
  std::ofstream(folder / "run.toml") << "max_steps = 3\nlogging_steps = 1\n";
  outcome const result = kedge_program(dpo(folder / "out", "--max-steps 2 --quiet --config " + quoted(folder / "run.toml")));
  INFO(result.text);
  CHECK(result.code == 0);
  std::ifstream metrics(folder / "out" / "metrics.jsonl");
  std::size_t lines = 0;
  for (std::string line; std::getline(metrics, line);) ++lines;
  CHECK(lines == 2);  // the flag wins over the file's three steps, the file says that each is logged
}

TEST_CASE("an interrupted run saves and exits with 130 and goes on", "[program]") {
  scratch_folder const folder;
  std::string const metrics = quoted(folder / "out" / "metrics.jsonl"), program = quoted(KEDGE_PROGRAM);
  // Ctrl-C once the file of metrics has so many lines: the run is then inside a round.
  auto interrupted = [&](int lines, std::string const& more) {
    return shell(program + " " + dpo(folder / "out", "--max_steps 1000000 --logging_steps 1 --quiet " + more) + " & pid=$!; for i in $(seq 600); do [ $(cat " +
                 metrics + " 2>/dev/null | wc -l) -ge " + std::to_string(lines) + " ] && break; sleep 0.1; done; kill -INT $pid; wait $pid");
  };
  auto checkpoints = [&] { return std::distance(fs::directory_iterator(folder / "out" / "checkpoints"), {}); };
  CHECK(interrupted(2, "").code == 130);
  CHECK(checkpoints() == 1);
  CHECK_FALSE(fs::exists(folder / "out" / "config.json"));
  CHECK(interrupted(400, "--resume_from_checkpoint latest").code == 130);
  CHECK(checkpoints() == 2);
}

TEST_CASE("generate writes samples in order and the batch size changes no byte", "[program]") {
  scratch_folder const folder;
  std::string const command = "generate --model_name_or_path " + quoted(tiny / "untied") + " --prompts " + quoted(tiny / "pairs.jsonl") +
                              " --num-samples 3 --max_samples 4 --max_new_tokens 9 --dtype float64 --output ";
  outcome const printed = kedge_program(command + "-");
  INFO(printed.text);
  CHECK(printed.code == 0);
  CHECK(std::count(printed.text.begin(), printed.text.end(), '\n') == 12);
  CHECK(printed.text.rfind("{\"prompt\":[{\"role\":\"user\",\"content\":\"Say something about the sea.\"}],\"completion\":", 0) == 0);
  CHECK_THAT(printed.text, contains("\"tokens\":9,\"finished\":false"));
  CHECK_THAT(kedge_program(command + quoted(folder / "a.jsonl") + " --batch_size 1 --json").text, contains("tokens_per_second"));
  CHECK(kedge::testing::read_file(folder / "a.jsonl") == printed.text);
  outcome const more = kedge_program(command + "- --logprobs --ignore_eos --seed 8");
  for (char const* key : {"\"logp\":", "\"logp_tokens\":", "\"token_ids\":"}) CHECK_THAT(more.text, contains(key));
  std::ofstream(folder / "run.toml") << "top_k = 1\n";
  outcome const likeliest = kedge_program(command + "- --config " + quoted(folder / "run.toml"));
  CHECK(likeliest.text == kedge_program(command + "- --temperature 0").text);
}

TEST_CASE("compare takes two models and one who rewards", "[program]") {
  std::string const model = quoted(tiny / "untied"), prompts = " --prompts " + quoted(tiny / "pairs.jsonl");
  check_one_line(kedge_program("compare " + model + prompts + " --judge cat"), 2, "two models");
  check_one_line(kedge_program("compare " + model + " " + model + prompts + " --quiet"), 1, "--judge CMD");
  scratch_folder const folder;
  outcome const both = kedge_program("compare " + model + " " + model + prompts + " --judge " + quoted(R"(sed -u "s/.*/{\"score\": 0}/")") +
                                     " --max_samples 2 --max_new_tokens 3 --quiet --output " + quoted(folder / "report.json"));
  INFO(both.text);
  CHECK(both.code == 0);
  CHECK_THAT(both.text, contains("B wins (ties half)"));
  std::ifstream report(folder / "report.json");
  CHECK(nlohmann::ordered_json::parse(report).at("win_rate").at("value") == 0.5);
}

TEST_CASE("generate tells in one line what it can't use", "[program]") {
  scratch_folder const folder;
  std::string const command = "generate --model_name_or_path " + quoted(tiny / "untied") + " --output " + quoted(folder / "out") + " --prompts ";
  check_one_line(kedge_program(command + quoted(folder / "none.jsonl")), 1, "none.jsonl");
  std::ofstream(folder / "long.jsonl") << "{\"prompt\": \"short\"}\n{\"prompt\": \"" << std::string(3000, 'x') << "\"}\n";
  check_one_line(kedge_program(command + quoted(folder / "long.jsonl")), 1, "leaves no room");
  check_one_line(kedge_program(command + quoted(folder / "long.jsonl")), 1, ":2");
  CHECK(kedge_program(command + quoted(folder / "long.jsonl") + " --skip_bad_lines --max_new_tokens 3").code == 0);
  check_one_line(kedge_program(command + quoted(tiny / "pairs.jsonl") + " --top_p 2"), 2, "top_p");
  check_one_line(kedge_program(command + quoted(tiny / "pairs.jsonl") + " --tempreture 2"), 2, "tempreture");
  check_one_line(kedge_program("generate --model_name_or_path x --prompts y --json"), 2, "--output");
}

TEST_CASE("fine-tuning and reward models run from the command line", "[program]") {
  scratch_folder const folder;
  std::string const tied = " --model_name_or_path " + quoted(tiny / "tied"), quick = " --dtype float32 --threads 1 --max_steps 2 --quiet --json";
  std::ofstream(folder / "demonstrations.jsonl") << "{\"prompt\": \"The anchor\", \"completion\": \" went ahead.\"}\n{\"text\": \"We hauled.\"}\n";
  std::string const demonstrations = " --dataset " + quoted(folder / "demonstrations.jsonl"), pairs = " --dataset " + quoted(tiny / "pairs.jsonl");
  outcome const sft = kedge_program("sft" + tied + demonstrations + " --output_dir " + quoted(folder / "sft") + quick);
  INFO(sft.text);
  CHECK(sft.code == 0);
  CHECK_THAT(sft.text, contains("\"steps\":2"));
  CHECK(fs::exists(folder / "sft" / "model.safetensors"));
  outcome const scratch = kedge_program("sft --config-name " + quoted(tiny / "tied") + demonstrations + " --output-dir " + quoted(folder / "scratch") + quick);
  INFO(scratch.text);
  CHECK(scratch.code == 0);
  outcome const reward = kedge_program("reward" + tied + pairs + " --output_dir " + quoted(folder / "reward") + quick);
  INFO(reward.text);
  CHECK(reward.code == 0);

  check_one_line(kedge_program("sft" + demonstrations + " --output_dir " + quoted(folder / "out")), 2, "--config_name");
  check_one_line(kedge_program("reward" + tied + " --output_dir " + quoted(folder / "out")), 2, "required");
  check_one_line(kedge_program("sft" + tied + pairs + " --output_dir " + quoted(folder / "out")), 1, "pairs.jsonl':1");
  check_one_line(kedge_program("reward" + tied + demonstrations + " --output_dir " + quoted(folder / "out")), 1, "demonstrations.jsonl':1");
  check_one_line(kedge_program("sft --model_name_or_path " + quoted(folder / "reward") + demonstrations + " --output_dir " + quoted(folder / "out")), 1, "language model");
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("a step smaller than bf16 resolves draws one warning", "[program]") {
  scratch_folder const folder;
  outcome const result = kedge_program("dpo --model_name_or_path " + quoted(tiny / "tied") + " --dataset " + quoted(tiny / "pairs.jsonl") + " --output_dir " +
                                       quoted(folder / "out") + " --dtype bfloat16 --weights_dtype bfloat16 --learning_rate 1e-9 --max_steps 4 --threads 1");
  INFO(result.text);
  CHECK(result.code == 0);
  std::string const warning = "warning: rounding to bf16";
  std::size_t const at = result.text.find(warning);
  REQUIRE(at != std::string::npos);
  CHECK(result.text.find(warning, at + 1) == std::string::npos);
  CHECK_THAT(result.text, kedge::testing::contains("rounding to bf16 moves margins by"));
}

TEST_CASE("a run takes the memory that its plan says within a tenth", "[program][model]") {
  scratch_folder const folder;
  char const* const model = std::getenv("KEDGE_TEST_MODEL");
  REQUIRE(model);
  auto const last_line = [](std::string const& text) {
    std::size_t const end = text.find_last_not_of('\n'), begin = text.rfind('\n', end);
    return nlohmann::ordered_json::parse(text.substr(begin == std::string::npos ? 0 : begin + 1));
  };
  fs::path const data = fs::path(KEDGE_PROJECT_DIR) / "examples/data/sentiment-train.jsonl";
  for (std::string const optim : {"adamw_torch_fused", "adamw_8bit"})
    for (std::string const dtype : {"float32", "bfloat16"}) {
      if (optim == "adamw_8bit" && dtype == "float32") continue;
      INFO(optim << " " << dtype);
      auto const plan = last_line(kedge_program("inspect --json --optim " + optim + " " + quoted(model)).text).at("memory");
      auto const run = last_line(kedge_program("dpo --model_name_or_path " + quoted(model) + " --dataset " + quoted(data) + " --output_dir " +
                                               quoted(folder / (optim + dtype)) + " --max_train_samples 4 --max_steps 1 --quiet --json --optim " + optim +
                                               " --dtype " + dtype)
                                     .text);
      double const planned = plan.at("host, " + dtype + ", 512 tokens at once"), measured = run.at("peak_memory_bytes");
      INFO("planned " << planned / 1e9 << " GB, measured " << measured / 1e9);
      CHECK(std::abs(measured / planned - 1) < 0.1);
    }
}

TEST_CASE("inspect tells what a data set is wherever it comes from", "[program]") {
  scratch_folder const folder;
  std::string const pairs = quoted(tiny / "pairs.jsonl"), model = quoted(tiny / "tied");
  outcome const plain = kedge_program("inspect " + pairs);
  CHECK(plain.code == 0);
  CHECK_THAT(plain.text, contains("pairs                    16\n"));
  CHECK_THAT(plain.text, contains("rejected, characters"));
  CHECK(shell("gzip -c " + pairs + " | " + quoted(KEDGE_PROGRAM) + " inspect -").text == plain.text);
  CHECK_THAT(kedge_program("inspect " + pairs + " --model " + model + " --json").text, contains("\"tokens\":{\"prompt\":{\"least\":"));
  outcome const scored = kedge_program("inspect " + pairs + " --model " + model + " --score 5 --json --threads 1 --dtype float32");
  CHECK_THAT(scored.text, contains("\"scores\":{\"pairs\":5,\"mean_gap\":-11.28") && contains("\"contamination_alarm\":false"));
  check_one_line(kedge_program("inspect " + pairs + " --score 5"), 2, "--model_name_or_path");
  check_one_line(kedge_program("inspect --model " + model + " --score 5 - < " + pairs), 2, "pass a file");
  std::ofstream(folder / "bad.jsonl") << "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\nnonsense\n";
  outcome const bad = kedge_program("inspect " + quoted(folder / "bad.jsonl"));
  CHECK(bad.code == 1);
  CHECK_THAT(bad.text, contains("unusable lines           1\n") && contains("bad.jsonl':2: "));
  CHECK_THAT(kedge_program("inspect " + model).text, contains("LlamaForCausalLM"));
}

TEST_CASE("shuffle writes every line once in an order of the seed", "[program]") {
  scratch_folder const folder;
  std::string const pairs = quoted(tiny / "pairs.jsonl");
  outcome const one = kedge_program("shuffle " + pairs + " --seed 1");
  CHECK(one.code == 0);
  CHECK(one.text != shell("cat " + pairs).text);
  CHECK(shell("gzip -c " + pairs + " | " + quoted(KEDGE_PROGRAM) + " shuffle - --seed 1").text == one.text);
  CHECK(kedge_program("shuffle " + pairs + " --seed 1 --output " + quoted(folder / "out.jsonl")).text.empty());
  CHECK(shell("sort " + quoted(folder / "out.jsonl")).text == shell("sort " + pairs).text);
  CHECK(shell("cat " + quoted(folder / "out.jsonl")).text == one.text);
  CHECK(one.text.starts_with(kedge_program("shuffle " + pairs + " --seed 1 --max_samples 2").text));
  check_one_line(kedge_program("shuffle " + quoted(folder / "absent")), 1, "absent");
}
