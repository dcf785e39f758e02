// SPDX-License-Identifier: Apache-2.0
#include "night.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>

namespace kedge_nights {
namespace {

// Four decimals: a tenth of the last digit that an interval can tell.
json rounded(json const& evaluations, char const* key) {
  json all = json::array();
  for (json const& e : evaluations) all.push_back(std::round(e.at(key).get<double>() * 1e4) / 1e4);
  return all;
}

course course_of(json const& run) { return {run.at("reward").get<std::vector<double>>(), run.at("kl").get<std::vector<double>>()}; }

}  // namespace

double course::area() const {
  double sum = 0;
  for (std::size_t i = 1; i < reward.size(); ++i) sum += (reward[i - 1] + reward[i]) / 2;
  return sum / static_cast<double>(reward.size() - 1);
}

book::book(fs::path file) : file_(std::move(file)), all_(json::object()) {
  if (!fs::exists(file_)) return;
  std::ifstream in(file_);
  all_ = json::parse(in, nullptr, false);
  if (!all_.is_object()) throw kedge::llm::error(file_.string() + ": not the figures of a night; name another file, or move this one away");
}

bool book::has(night_run const& run) const {
  json const* at = &all_;
  for (std::string const& key : {run.condition, run.method}) {
    auto const next = at->find(key);
    if (next == at->end()) return false;
    at = &*next;
  }
  return at->at("settings") == run.work.settings && at->at("seeds").contains(std::to_string(run.seed));
}

void book::put(night_run const& run, json const& figures) {
  json& cell = all_[run.condition][run.method];
  if (!cell.is_object() || cell.at("settings") != run.work.settings) cell = {{"settings", run.work.settings}, {"seeds", json::object()}};
  json const& evaluations = figures.at("evaluations");
  cell["seeds"][std::to_string(run.seed)] = {
      {"reward", rounded(evaluations, "reward")}, {"kl", rounded(evaluations, "kl")}, {"seconds", std::round(figures.at("seconds").get<double>() * 10) / 10}};
}

void book::write() const {
  std::string text = "{";
  char const* before = "\n";
  for (auto const& [condition, methods] : all_.items()) {
    text += std::exchange(before, ",\n") + json(condition).dump() + ": {";
    char const* inner = "\n ";
    for (auto const& [method, cell] : methods.items()) {
      text += std::exchange(inner, ",\n ") + json(method).dump() + ": {\"settings\": " + cell.at("settings").dump() + ", \"seeds\": {";
      char const* innermost = "\n  ";
      for (auto const& [seed, figures] : cell.at("seeds").items()) text += std::exchange(innermost, ",\n  ") + json(seed).dump() + ": " + figures.dump();
      text += "}}";
    }
    text += "}";
  }
  kedge::llm::write_file_atomically(file_, text + "\n}\n");
}

std::vector<course> book::courses(std::string const& condition, std::string const& method) const {
  std::vector<course> all;
  if (auto const at = all_.find(condition); at != all_.end() && at->contains(method))
    for (json const& run : at->at(method).at("seeds")) all.push_back(course_of(run));
  return all;
}

std::vector<double> book::compare(std::string const& condition, std::string const& a, std::string const& b,
                                  std::function<double(course const&, course const&)> const& with) const {
  std::vector<double> all;
  auto const at = all_.find(condition);
  if (at == all_.end() || !at->contains(a) || !at->contains(b)) return all;
  json const& others = at->at(b).at("seeds");
  for (auto const& [seed, run] : at->at(a).at("seeds").items())
    if (others.contains(seed)) all.push_back(with(course_of(run), course_of(others.at(seed))));
  return all;
}

std::vector<double> book::differences(std::string const& condition, std::string const& a, std::string const& b,
                                      std::function<double(course const&)> const& figure) const {
  return compare(condition, a, b, [&](course const& x, course const& y) { return figure(x) - figure(y); });
}

double book::hours() const {
  double seconds = 0;
  for (json const& methods : all_)
    for (json const& cell : methods)
      for (json const& run : cell.at("seeds")) seconds += run.at("seconds").get<double>();
  return seconds / 3600;
}

void run_night(std::vector<night_run> const& runs, std::size_t at_once, book& into) {
  std::map<std::uint64_t, std::vector<night_run const*>> by_seed;
  for (night_run const& run : runs)
    if (!into.has(run)) by_seed[run.seed].push_back(&run);
  for (auto const& [seed, waiting] : by_seed) {
    std::vector<job> jobs;
    for (night_run const* run : waiting) jobs.push_back(run->work);
    std::vector<json> const figures = kedge_on_policy::run_jobs(jobs, "seed " + std::to_string(seed), at_once, false);
    for (std::size_t i = 0; i < waiting.size(); ++i) into.put(*waiting[i], figures[i]);
    into.write();
  }
}

job night_job(fs::path const& folder, json settings, std::function<json()> train) {
  return {folder, std::move(settings), [folder, train = std::move(train)] {
            json evaluations = train();
            if (evaluations.is_null()) return json();
            for (fs::path const& file : std::set<fs::path>(fs::directory_iterator(folder), fs::directory_iterator()))
              if (file.filename() != "log.txt") fs::remove_all(file);
            return json{{"evaluations", std::move(evaluations)}, {"seconds", static_cast<double>(std::clock()) / CLOCKS_PER_SEC}};
          }};
}

}  // namespace kedge_nights
