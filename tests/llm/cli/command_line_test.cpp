// SPDX-License-Identifier: Apache-2.0

// The command line in a test's own process: flags, configuration files, and what is refused. The subcommand is the one of docs/extending.md.

#include <fstream>
#include <string>

#include <kedge/llm/base/error.hpp>

#include "llm/train/extending/haiku.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::cli;
using kedge::llm::settings_list;
using kedge::llm::usage_error;
using kedge::testing::contains;
using kedge::testing::scratch_folder;

namespace {

// Settings of every kind.
struct some {
  std::size_t count = 1;
  double rate = 0.5;
  bool on = true, off = false;
  season when = season::spring;
  std::vector<double> list{1};
  std::string name;
  std::filesystem::path path;
};

some parsed(arguments const& args) {
  some s;
  command_line line("kedge some", "A test.");
  line.settings.add("count", s.count, "a count; -1: none").also("-1", "0");
  line.settings.add("rate", s.rate, "a share").alias("share").at_most(1);
  line.settings.add("on", s.on, "a switch that is on");
  line.settings.add("off", s.off, "a switch that is off");
  line.settings.add("when", s.when, "a choice").bare("autumn");
  line.settings.add("list", s.list, "numbers").at_least(-10);
  line.settings.add("name", s.name, "a name").needs("off");
  line.settings.add("path", s.path, "a path").positional();
  line.parse(args);
  return s;
}

}  // namespace

TEST_CASE("flags take values and switches stand bare or with true and false", "[command_line]") {
  some const s = parsed({"--count=3", "--share", "0.25", "--no-on", "--off", "true", "--when", "--list", "-1", "2e-1", "3", "--name", "x y", "--path=a"});
  CHECK(s.count == 3);
  CHECK(s.rate == 0.25);
  CHECK_FALSE(s.on);
  CHECK(s.off);
  CHECK(s.when == season::autumn);
  CHECK(s.list == std::vector{-1.0, 0.2, 3.0});
  CHECK(s.name == "x y");
  CHECK(parsed({"--count", "-1"}).count == 0);
  CHECK(parsed({"--on", "false", "word"}).path == "word");
  CHECK(parsed({"--off", "word"}).path == "word");
}

TEST_CASE("what a command line can't mean is refused with the flag's name", "[command_line]") {
  for (auto const& [args, message] : std::vector<std::pair<arguments, std::string>>{
           {{"--cuont", "3"}, "--cuont is not known; did you mean count?"},
           {{"--count"}, "--count: a value is missing; it takes an integer"},
           {{"--count", "--off"}, "--count: a value is missing"},
           {{"--count", "-2"}, "--count -2: it takes an integer of at least 0"},
           {{"--rate", "1.5"}, "--rate 1.5: it takes a number of at least 0 and at most 1"},
           {{"--rate", "-inf"}, "--rate"},
           {{"--when", "winter"}, "--when winter: it takes spring or autumn"},
           {{"--off", "--on=perhaps"}, "--on perhaps: it takes true or false"},
           {{"--count", "3", "--count", "4"}, "--count is given twice; leave one of the two out"},
           {{"--name", "x"}, "--name means nothing without --off"},
           {{"a", "b"}, "b"}}) {
    INFO(message);
    CHECK_THROWS_WITH(parsed(args), contains(message));
    CHECK_THROWS_AS(parsed(args), usage_error);
  }
}

TEST_CASE("a configuration file has the same keys in three notations and flags win", "[command_line]") {
  scratch_folder const folder;
  std::ofstream(folder / "run.toml") << "count = 7\nrate = 2.5e-1\nwhen = \"autumn\"\nlist = [1, -2]\noff = true\n";
  std::ofstream(folder / "run.yaml") << "# a comment\ncount: 7\nrate: 2.5e-1\nwhen: autumn\nlist: [1, -2]\noff: True\nname: null\n";
  std::ofstream(folder / "run.json") << R"({"count": 7, "rate": 2.5e-1, "when": "autumn", "list": [1, -2], "off": true, "name": null})";
  for (char const* const file : {"run.toml", "run.yaml", "run.json"}) {
    INFO(file);
    some const s = parsed({"--config", (folder / file).string(), "--count", "9"});
    CHECK(s.count == 9);
    CHECK(s.rate == 0.25);
    CHECK(s.when == season::autumn);
    CHECK(s.list == std::vector{1.0, -2.0});
    CHECK(s.off);
    CHECK(s.name.empty());
  }
}

TEST_CASE("an unknown key or a section or a number out of range in a configuration file is refused and names it", "[command_line]") {
  scratch_folder const folder;
  auto const refused = [&](char const* file, char const* text, char const* message) {
    INFO(file << ": " << text);
    std::ofstream(folder / file) << text;
    CHECK_THROWS_WITH(parsed({"--config", (folder / file).string()}), contains(message));
    CHECK_THROWS_AS(parsed({"--config", (folder / file).string()}), usage_error);
  };
  for (auto const& [file, text] : {std::pair{"a.toml", "raet = 0.1\n"}, {"a.yaml", "raet: 0.1\n"}, {"a.json", "{\"raet\": 0.1}"}}) refused(file, text, "raet is not known; did you mean rate?");
  refused("b.toml", "[training]\nrate = 0.1\n", "sections are not known");
  refused("b.yaml", "training:\n  rate: 0.1\n", "sections are not known");
  refused("b.json", "{\"training\": {\"rate\": 0.1}}", "sections are not known");
  refused("c.yaml", "rate: .nan\n", "--rate .nan: it takes a number");
  refused("c.json", "{\"count\": -5}", "--count -5: it takes");
  refused("d.json", "{\"count\": ", "damaged");
  refused("d.yaml", "a: [1\n", "damaged");
  refused("d.json", "[1]", "not a JSON object");
  refused("e.ini", "count=1\n", "must end in .toml");
  CHECK_THROWS_WITH(parsed({"--config", (folder / "none.yaml").string()}), contains("can't be read"));
}

TEST_CASE("the subcommand of the page on extending runs and the page shows it", "[command_line]") {
  CHECK(run_haiku({"--lines", "2", "--season", "autumn"}) == exit_done);
  CHECK_THROWS_WITH(run_haiku({"--wind", "2"}), contains("--wind 2: it takes a number of at least 0 and at most 1"));
  std::string const source = kedge::testing::read_file(std::string(KEDGE_TESTS_DIR) + "/llm/train/extending/haiku.hpp");
  CHECK(kedge::testing::read_file(std::string(KEDGE_PROJECT_DIR) + "/docs/extending.md").find(source.substr(source.find("enum class season"))) != std::string::npos);
}
