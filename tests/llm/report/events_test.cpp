// SPDX-License-Identifier: Apache-2.0

// TensorBoard's event files, against those that TensorBoard's own writer made (tests/golden/make_events.py).

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/report/event_file.hpp>
#include <kedge/llm/report/run_record.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_file;
using kedge::testing::scratch_folder;
namespace fs = std::filesystem;

namespace {

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden/report";

// The names of events in all files of a folder, as many as there are; tags stand in the file as they are.
std::size_t count_of(fs::path const& folder, std::string const& tag) {
  std::size_t count = 0;
  for (auto const& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::string const bytes = read_file(entry.path());
    for (auto at = bytes.find(tag); at != std::string::npos; at = bytes.find(tag, at + 1)) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a CRC-32C is that of RFC 3720", "[report]") {
  std::string const zeros(32, '\0'), ones(32, '\xFF');
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xE3069283U);
  CHECK(crc32c(zeros) == 0x8A9136AAU);
  CHECK(crc32c(ones) == 0x62A8AB43U);
}

TEST_CASE("an event file has the bytes that TensorBoards writer gives it", "[report]") {
  scratch_folder const folder;
  event_file file(folder.path(), 1700000000.25);
  CHECK(file.path().filename().string().starts_with("events.out.tfevents.1700000000."));
  file.add_text("args", "    {\"β\": 0.1}", 0, 1700000000.5);
  file.add_scalar(tensorboard_tag("loss"), std::log(2.0), 1, 1700000001.0);
  file.add_scalar(tensorboard_tag("num_tokens"), 123456789, 1, 1700000001.0);
  file.add_scalar(tensorboard_tag("eval_rewards/accuracies"), 0, 300, 1700000002.0);
  file.add_scalar(tensorboard_tag("grad_norm"), std::numeric_limits<double>::infinity(), std::int64_t{1} << 40, 1700000003.125);
  file.flush();
  CHECK((read_file(file.path()) == read_file(golden / "events")));
  event_file resumed(folder.path(), 1700000000.25, 2);
  CHECK(resumed.path() != file.path());
  resumed.add_scalar("train/loss", -1.5, 3, 1700000004.0);
  resumed.flush();
  CHECK((read_file(resumed.path()) == read_file(golden / "events-resumed")));
}

TEST_CASE("an event file that can't be written is an error that names it", "[report]") {
  scratch_folder const folder;
  kedge::testing::write_file(folder / "taken", "");
  CHECK_THROWS_WITH(event_file(folder / "taken", 1), contains("taken") && contains("--report_to none"));
}

TEST_CASE("each number of a line of metrics is an event, and a resumed run writes beside the first file", "[report]") {
  scratch_folder const folder;
  nlohmann::ordered_json const facts{{"settings", {{"beta", 0.1}}}};
  {
    run_record record(folder.path(), facts, true, {});
    record.add({{"step", 1}, {"loss", 0.5}, {"round", 1}, {"name", "text"}, {"list", {1, 2}}, {"empty", nullptr}});
    record.add({{"step", 2}, {"eval_loss", 0.25}});
    CHECK(record.write(run_status::interrupted, {{"steps", 2}}) == "");
  }
  CHECK(count_of(folder / "runs", "train/loss") == 1);
  CHECK(count_of(folder / "runs", "train/round") == 1);
  CHECK(count_of(folder / "runs", "eval/loss") == 1);
  CHECK(count_of(folder / "runs", "args/text_summary") == 1);
  CHECK(count_of(folder / "runs", "train/name") == 0);
  CHECK(count_of(folder / "runs", "train/list") == 0);
  double const before = nlohmann::ordered_json::parse(read_file(folder / "run.json")).at("outcome").at("seconds").get<double>();
  {
    run_record record(folder.path(), facts, true, 1);
    record.add({{"step", 2}, {"loss", 0.25}});
    CHECK(record.seconds() > before);
    CHECK(record.write(run_status::finished, {{"steps", 2}}) == "");
  }
  CHECK(count_of(folder / "runs", "train/loss") == 2);
  CHECK(std::distance(fs::directory_iterator(folder / "runs"), {}) == 1);
  auto const facts_at_end = nlohmann::ordered_json::parse(read_file(folder / "run.json"));
  CHECK(facts_at_end.at("status") == "finished");
  CHECK(facts_at_end.at("settings") == facts.at("settings"));
}

TEST_CASE("a run that reports to nothing leaves no events", "[report]") {
  scratch_folder const folder;
  run_record record(folder.path(), {}, false, {});
  record.add({{"step", 1}, {"loss", 0.5}});
  CHECK(record.write(run_status::finished, {}) == "");
  CHECK_FALSE(fs::exists(folder / "runs"));
  CHECK(fs::exists(folder / "report.html"));
}
