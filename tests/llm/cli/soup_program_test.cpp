// SPDX-License-Identifier: Apache-2.0

// `kedge soup` from the outside: exit codes, one clear line for each thing that is wrong, and what an interrupt leaves.

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

namespace fs = std::filesystem;
using namespace kedge::testing;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny/tied";
fs::path const recipes = fs::path(KEDGE_TESTS_DIR) / "golden/soup";

outcome soup(std::string const& arguments, std::string const& before = "") {
  return shell("cd " + quoted(recipes) + " && " + before + quoted(KEDGE_PROGRAM) + " soup " + arguments);
}

}  // namespace

TEST_CASE("kedge soup merges by flags and by recipe and says what it did", "[program][soup]") {
  scratch_folder const folder;
  outcome const flags = soup("--method linear --dtype bfloat16 --json --output-dir " + quoted(folder / "flags") + " a:0.3 b:0.7");
  REQUIRE(flags.code == 0);
  auto const summary = nlohmann::json::parse(flags.text);
  CHECK(summary["method"] == "linear");
  CHECK(summary["tensors"] == 29);
  CHECK(summary["bytes_out"] == 3376);
  CHECK(soup("--config linear-bfloat16.yml --quiet --output_dir " + quoted(folder / "recipe")).text.empty());
  // The same numbers; the headers differ in what they say of the recipe.
  std::string const a = read_file(folder / "flags/model.safetensors"), b = read_file(folder / "recipe/model.safetensors");
  CHECK(a.substr(a.size() - 3376) == b.substr(b.size() - 3376));
  outcome const dry = soup("--dry_run --config=ties.yml");
  CHECK(dry.code == 0);
  CHECK_THAT(dry.text, contains("bytes_out    3376"));
  CHECK_THAT(soup("--help").text, contains("--allow_unnormalized"));
}

TEST_CASE("kedge soup takes adapters, a vocabulary and a template by flags", "[program][soup]") {
  scratch_folder const folder;
  REQUIRE(soup("--quiet --output_dir " + quoted(folder / "lora") + " base+lora:0.5 base:0.5").code == 0);
  outcome const mixed = soup("--quiet --tokenizer_source union --pad_to_multiple_of 8 --chat_template chatml --output_dir " + quoted(folder / "union") + " words more");
  INFO(mixed.text);
  REQUIRE(mixed.code == 0);
  CHECK(nlohmann::json::parse(read_file(folder / "union/config.json"))["vocab_size"] == 16);
  CHECK_THAT(read_file(folder / "union/chat_template.jinja"), contains("<|im_start|>"));
  check_one_line(soup("--output_dir x words more"), 1, "tokenizer_source");
  write_file(folder / "r.yml", "name: x\nmerge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n");
  CHECK_THAT(soup("--config " + quoted(folder / "r.yml") + " --output_dir " + quoted(folder / "r")).text, contains("note: '") && contains("line 1: 'name' is no key"));
}

TEST_CASE("wrong usage of kedge soup exits with 2 and one line", "[program][soup]") {
  check_one_line(soup(""), 2, "--output_dir is required");
  check_one_line(soup("--output_dir x"), 2, "models or --recipe is required");
  check_one_line(soup("--output_dir x --methud linear a"), 2, "methud");
  check_one_line(soup("--output_dir x --threads many a"), 2, "threads");
  check_one_line(soup("--output_dir x --config ties.yml a"), 2, "leave out models");
  check_one_line(soup("--output_dir x --method greedy a b"), 2, "--evaluate");
  check_one_line(soup("--output_dir x --pad_to_multiple_of 8 a b"), 2, "--tokenizer_source");
  check_one_line(soup("--output_dir x --config ties.yml --chat_template chatml"), 2, "leave out models");
  check_one_line(soup("--output_dir x --evaluate true a b"), 2, "--method greedy");
  CHECK_FALSE(fs::exists(recipes / "x"));
}

TEST_CASE("bad input of kedge soup exits with 1 and one line", "[program][soup]") {
  scratch_folder const folder;
  std::string const to = "--output_dir " + quoted(folder / "out") + " ";
  check_one_line(soup(to + "--method stew a b"), 2, "--method stew");
  check_one_line(soup(to + "a nowhere"), 1, "no model at 'nowhere'");
  check_one_line(soup(to + "a:0.5 b:0.6"), 1, "sum to 1.1");
  check_one_line(soup(to + "a " + quoted(tiny)), 1, "tensor 'model.embed_tokens.weight' is [24, 8]");
  check_one_line(soup(to + "--max_shard_size large a b"), 1, "a size of 'large'");
  check_one_line(soup(to + "--density 0.5 a b"), 1, "--density has no effect on linear");
  check_one_line(soup(to + "--recipe nowhere.yml"), 1, "nowhere.yml");
  check_one_line(soup(to + "--dtype float16 --allow_unnormalized a:1e9 b:1"), 1, "too large for float16");
  check_one_line(soup("--output_dir /proc/kedge a b"), 1, "/proc/kedge");
  check_one_line(soup("--output_dir a a b"), 1, "already exists");
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("an interrupt of kedge soup exits with 130 and leaves nothing", "[program][soup]") {
  scratch_folder const folder;
  // The evaluation interrupts the program that waits for it, as Ctrl-C would.
  write_file(folder / "judge", "kill -INT $(cat \"$(dirname \"$0\")/pid\")\necho 1\n");
  outcome const result = soup("--quiet --method greedy --evaluate " + quoted(fs::path("sh " + (folder / "judge").string())) + " --output_dir " + quoted(folder / "out") + " a b",
                              "echo $$ > " + quoted(folder / "pid") + " && exec ");
  check_one_line(result, 130, "interrupted");
  CHECK(names_in(folder.path()) == "judge pid");
}
