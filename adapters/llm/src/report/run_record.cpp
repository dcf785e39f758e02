// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/report/model_card.hpp>
#include <kedge/llm/report/report_page.hpp>
#include <kedge/llm/report/run_record.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

double wall_time() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string utc(char const* format) {
  std::time_t const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

// "Intel(R) Xeon(R) …"; empty where the system doesn't say.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  constexpr std::string_view key = "model name";
  for (std::string line; std::getline(file, line);)
    if (auto const colon = line.find(": "); line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  return "";
}

// The folder of this run's events: the one that a run which goes on has begun, or a new one named by the time.
fs::path events_folder(fs::path const& runs, bool goes_on) {
  fs::path newest;
  std::error_code none;
  if (goes_on)
    for (auto const& entry : fs::directory_iterator(runs, none))
      if (entry.is_directory() && entry.path() > newest) newest = entry.path();
  return newest.empty() ? runs / utc("%Y-%m-%d_%H-%M-%S") : newest;
}

// What the run's record said before it stopped; {} where there is none that can be read.
json earlier_record(fs::path const& file) try {
  return fs::exists(file) ? read_json_file(file) : json::object();
} catch (error const&) {
  return json::object();
}

}  // namespace

run_record::run_record(fs::path folder, json facts, bool with_events, std::optional<std::size_t> goes_on_after)
    : folder_(std::move(folder)), facts_(std::move(facts)) {
  json const earlier = goes_on_after ? earlier_record(folder_ / "run.json") : json::object();
  if (earlier.contains("outcome")) seconds_before_ = earlier["outcome"].value("seconds", 0.0);
  facts_["processor"] = processor_name();
  facts_["started"] = earlier.value("started", utc("%Y-%m-%d %H:%M UTC"));
  if (!with_events) return;
  std::optional<std::int64_t> after;
  if (goes_on_after) after = static_cast<std::int64_t>(*goes_on_after);
  events_.emplace(events_folder(folder_ / "runs", goes_on_after.has_value()), wall_time(), after);
  if (!goes_on_after && facts_.contains("settings"))
    events_->add_text("args", "    " + facts_["settings"].dump(), 0, wall_time());
  events_->flush();
}

void run_record::add(json const& line) {
  if (!events_ || !line.contains("step")) return;
  auto const step = line["step"].get<std::int64_t>();
  double const now = wall_time();
  for (auto const& [name, value] : line.items())
    if (name != "step" && value.is_number()) events_->add_scalar(tensorboard_tag(name), value.get<double>(), step, now);
  events_->flush();
}

double run_record::seconds() const {
  return seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

std::string run_record::write(run_status status, json outcome) try {
  outcome["seconds"] = seconds();
  json record = facts_;
  record["status"] = name_of(status);
  record["updated"] = utc("%Y-%m-%d %H:%M UTC");
  record["outcome"] = std::move(outcome);
  write_file_atomically(folder_ / "run.json", record.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  write_report(std::array{folder_}, folder_ / "report.html");
  return "";
} catch (std::exception const& problem) {
  return std::string("the report of the run was not written: ") + problem.what();
}

std::string run_record::write_card() try {
  run_folder const run = read_run(folder_);
  fs::path const file = write_model_card(folder_, model_card(run, read_base_card(run.text("/settings/model_name_or_path"))));
  if (file.filename() == "README.md") return "";
  return (folder_ / "README.md").string() + " is not kedge's, or was changed, and stays as it is; the model card is " +
         file.filename().string() + " beside it";
} catch (std::exception const& problem) {
  return std::string("the model card was not written: ") + problem.what();
}

}  // namespace kedge::llm
