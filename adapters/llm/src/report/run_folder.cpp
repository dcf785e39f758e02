// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/report/run_folder.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::size_t most_samples = 64;  // lines of a file of samples
constexpr std::string_view held_out = "eval_";

// Collects lines into figures.
class collector {
 public:
  explicit collector(run_folder& run) : run_(run) {}

  void add(json const& line) {
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number()) return;
    auto const step = line["step"].get<double>();
    if (line.contains("profile")) run_.profile = line["profile"];
    if (line.contains("sampled_pairs")) run_.sampled.push_back(line);
    if (has_held_out(line)) run_.evaluations.push_back(line);
    if (line.contains("loss")) take_round(line, step);
    for (auto const& [name, value] : line.items())
      if (name != "step" && name != "round" && (value.is_number() || value.is_null())) take(name, step, value);
  }

 private:
  static bool has_held_out(json const& line) {
    for (auto const& [name, value] : line.items())
      if (name.starts_with(held_out)) return true;
    return false;
  }

  void take_round(json const& line, double step) {
    double const round = line.value("round", 1.0);
    if (round > round_ && round_ > 0) run_.round_starts.push_back(last_step_);
    round_ = round;
    last_step_ = step;
  }

  void take(std::string const& name, double step, json const& value) {
    auto const [place, is_new] = index_.try_emplace(name, run_.figures.size());
    if (is_new) run_.figures.push_back({name, {}, {}});
    run_figure& f = run_.figures[place->second];
    double const number = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
    f.step.push_back(step);
    f.value.push_back(std::isfinite(number) ? number : std::numeric_limits<double>::quiet_NaN());
  }

  run_folder& run_;
  std::map<std::string, std::size_t> index_;
  double round_ = 0, last_step_ = 0;
};

// Calls `use` with each whole line of a file.
template <class Use>
void each_line(fs::path const& file, Use const& use) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw error(file.string() + ": can't be read");
  std::string text;
  for (std::size_t number = 1; std::getline(in, text) && !in.eof(); ++number) use(text, number);
}

void read_metrics(run_folder& run, fs::path const& file) {
  collector collect(run);
  each_line(file, [&](std::string const& text, std::size_t number) {
    try {
      collect.add(parse_json(text, file.string() + ":" + std::to_string(number)));
    } catch (error const& problem) {
      run.notes.emplace_back(problem.what());
    }
  });
}

// Of a folder of the Trainer's, or its newest checkpoint; empty where there is none.
fs::path trainer_state(fs::path const& folder) {
  if (fs::exists(folder / "trainer_state.json")) return folder / "trainer_state.json";
  fs::path newest;
  long most = -1;
  for (auto const& entry : fs::directory_iterator(folder)) {
    std::string const name = entry.path().filename().string();
    constexpr std::string_view prefix = "checkpoint-";
    long step = 0;
    if (!name.starts_with(prefix) || !fs::exists(entry.path() / "trainer_state.json")) continue;
    if (std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step).ec != std::errc() || step <= most)
      continue;
    most = step;
    newest = entry.path() / "trainer_state.json";
  }
  return newest;
}

void read_trainer(run_folder& run, fs::path const& file) {
  json const state = read_json_file(file);
  collector collect(run);
  for (json const& line : state.value("log_history", json::array())) collect.add(line);
  run.facts = {{"trainer", file.filename().string()},
               {"outcome", {{"steps", state.value("global_step", 0)}}},
               {"about", {{"steps", state.value("max_steps", 0)}}}};
}

run_samples samples_of(run_folder& run, fs::path const& file, std::size_t round) {
  run_samples found;
  found.round = round;
  each_line(file, [&](std::string const& text, std::size_t number) {
    ++found.all;
    if (found.lines.size() == most_samples) return;
    try {
      json line = parse_json(text, file.string() + ":" + std::to_string(number));
      if (line.is_object() && line.contains("prompt") && line.contains("completion")) found.lines.push_back(std::move(line));
    } catch (error const& problem) {
      run.notes.emplace_back(problem.what());
    }
  });
  return found;
}

// Before and after: the first round and the last.
void read_samples(run_folder& run) {
  std::map<std::size_t, fs::path> rounds;
  std::error_code none;
  for (auto const& entry : fs::directory_iterator(run.path / "samples", none)) {
    std::string const name = entry.path().filename().string();
    constexpr std::string_view prefix = "round-";
    std::size_t round = 0;
    if (name.starts_with(prefix) &&
        std::from_chars(name.data() + prefix.size(), name.data() + name.size(), round).ec == std::errc())
      rounds[round] = entry.path();
  }
  if (rounds.empty()) return;
  run.samples.push_back(samples_of(run, rounds.begin()->second, rounds.begin()->first));
  if (rounds.size() > 1) run.samples.push_back(samples_of(run, rounds.rbegin()->second, rounds.rbegin()->first));
}

}  // namespace

run_figure const* run_folder::figure(std::string_view name_of_it) const {
  for (run_figure const& f : figures)
    if (f.name == name_of_it) return &f;
  return nullptr;
}

json run_folder::fact(std::string_view place) const {
  json::json_pointer const at{std::string(place)};
  return facts.is_object() && facts.contains(at) ? facts.at(at) : json();
}

std::string run_folder::text(std::string_view place) const {
  json const found = fact(place);
  return found.is_string() ? found.get<std::string>() : "";
}

double run_folder::last_step() const {
  double last = 0;
  for (run_figure const& f : figures)
    if (!f.step.empty()) last = std::max(last, f.step.back());
  return last;
}

run_folder read_run(fs::path const& folder) {
  if (!fs::is_directory(folder)) throw error(folder.string() + ": no folder; give the --output_dir of a run");
  run_folder run;
  run.path = folder;
  run.facts = json::object();
  fs::path const settled = fs::absolute(folder).lexically_normal();
  run.name = (settled.has_filename() ? settled : settled.parent_path()).filename().string();
  bool const has_record = fs::exists(folder / "run.json"), has_metrics = fs::exists(folder / "metrics.jsonl");
  if (has_record) run.facts = read_json_file(folder / "run.json");
  if (has_metrics) read_metrics(run, folder / "metrics.jsonl");
  if (!has_record && !has_metrics) {
    fs::path const state = trainer_state(folder);
    if (state.empty())
      throw error(folder.string() + ": holds no run (no metrics.jsonl, no trainer_state.json); give the --output_dir of one");
    read_trainer(run, state);
  }
  read_samples(run);
  return run;
}

}  // namespace kedge::llm
