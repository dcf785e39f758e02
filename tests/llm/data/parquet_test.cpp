// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/report.hpp>
#include <kedge/llm/data/shuffled_lines.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

std::filesystem::path const golden = KEDGE_TESTS_DIR "/golden/data/parquet";

bool has_reader() {
  return std::filesystem::exists(std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libkedge-parquet.so");
}

bool skipped() {
  if (has_reader()) return false;
  WARN("kedge was built without pyarrow: nothing is tested here");
  return true;
}

std::vector<json> objects(std::filesystem::path const& file) {
  std::vector<json> out;
  read_json_lines(file, false, [&](json_line line) { out.push_back(std::move(line.object)); });
  return out;
}

}  // namespace

TEST_CASE("Rows of Parquet are the lines that pyarrow and json make of them", "[data]") {
  if (skipped()) return;
  for (char const* const name : {"pairs", "groups", "values", "many"}) {
    INFO(name);
    auto const rows = objects(golden / (std::string(name) + ".parquet")),
               wanted = objects(golden / (std::string(name) + ".jsonl"));
    REQUIRE(rows.size() == wanted.size());
    for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i].dump() == wanted[i].dump());
  }
}

TEST_CASE("A row of Parquet has its number where a line has it", "[data]") {
  if (skipped()) return;
  std::vector<std::string> places;
  read_json_lines(golden / "many.parquet", false, [&](json_line line) { places.push_back(line.place); });
  CHECK(places.back() == "'" + (golden / "many.parquet").string() + "':600");
  auto const pairs = read_preferences(golden / "pairs.parquet", false);
  REQUIRE(pairs.size() == 3);
  CHECK(pairs[0].prompt[0].size() == 2);  // the null tool_calls of a struct is an absent key
  CHECK(pairs[1].chosen[0].at("tool_calls")[0].at("name") == "f");
  CHECK_THROWS_WITH(read_preferences(golden / "values.parquet", false),
                    contains("values.parquet':1: the line has image, which a model of text does not see"));
  CHECK_THROWS_WITH(objects(golden / "none.parquet"), contains("has no lines"));
}

TEST_CASE("Parquet is read to the limit, in parts, by a report and in a random order", "[data]") {
  if (skipped()) return;
  json_line_reader some(golden / "many.parquet", {.most = 300});
  std::size_t count = 0;
  while (some.next([&](json_line const&) { ++count; })) {
  }
  CHECK(count == 300);
  CHECK(report_on_file(golden / "many.parquet").examples == 600);
  shuffled_lines const lines(golden / "many.parquet", 1);
  CHECK(lines.size() == 600);
  CHECK(json::parse(lines[0]).contains("prompt"));
}

TEST_CASE("Damaged Parquet is refused in one line", "[data]") {
  if (skipped()) return;
  scratch_folder const folder;
  std::string const whole = read_file(golden / "many.parquet");
  write_file(folder / "cut.parquet", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(objects(folder / "cut.parquet"), contains("cut.parquet' cannot be read as Parquet:"));
  for (std::size_t i = 4; i + 8 < whole.size(); i += 97) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x55);
    write_file(folder / "bad.parquet", bad);
    try {
      static_cast<void>(objects(folder / "bad.parquet"));
    } catch (error const& problem) {
      CHECK(std::string(problem.what()).find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("Parquet without its reader is refused with what to do", "[data]") {
  if (has_reader()) return;
  CHECK_THROWS_WITH(
      objects(golden / "many.parquet"),
      contains("is a Parquet file, and libkedge-parquet.so, which reads them, is not there; ./dev build makes it"));
}
