// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../on_policy/experiment.hpp"

// Grids of runs over many seeds, which take a night: what they gave is kept in one small JSON file, and a run that stands there isn't run again.

namespace kedge_nights {

using kedge_on_policy::job;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// One run of a grid: a method under a condition, with a seed. The work's settings are all that its figures depend on but the seed.
struct night_run {
  std::string condition, method;
  std::uint64_t seed;
  job work;
};

/// What a run did at its evaluations, the start in front.
struct course {
  std::vector<double> reward, kl;  ///< kl: to the start, nats a completion
  [[nodiscard]] double end() const { return reward.back(); }
  [[nodiscard]] double end_kl() const { return kl.back(); }
  /// The mean height of the reward's curve: its area divided by the steps, or samples, of the run.
  [[nodiscard]] double area() const;
};

/// All figures of a night.
class book {
 public:
  /// throws  kedge::llm::error if the file is there and no such book
  explicit book(fs::path file);
  /// Whether the run stands here, with the settings that it has now.
  [[nodiscard]] bool has(night_run const& run) const;
  void put(night_run const& run, json const& figures);
  void write() const;

  /// The runs of a method under a condition, by seed; only seeds that stand here.
  [[nodiscard]] std::vector<course> courses(std::string const& condition, std::string const& method) const;
  /// Of the seeds that both have.
  [[nodiscard]] std::vector<double> compare(std::string const& condition, std::string const& a, std::string const& b,
                                            std::function<double(course const&, course const&)> const& with) const;
  /// The same: a − b of a figure.
  [[nodiscard]] std::vector<double> differences(std::string const& condition, std::string const& a, std::string const& b,
                                                std::function<double(course const&)> const& figure) const;
  [[nodiscard]] double hours() const;  ///< of a processor

 private:
  fs::path file_;
  json all_;  // {condition: {method: {"settings", "seeds": {seed: {"reward", "kl", "seconds"}}}}}
};

/// Runs what isn't in the book, seed by seed, `at_once` at a time, and writes the book after each seed.
/// throws  kedge_on_policy::interrupted: what had finished is in the book
void run_night(std::vector<night_run> const& runs, std::size_t at_once, book& into);

/// A training run as a job: its figures are the evaluations and seconds of a processor, and its folder is emptied.
/// train: gives the evaluations, null where it was stopped
[[nodiscard]] job night_job(fs::path const& folder, json settings, std::function<json()> train);

/// What each night is told.
struct night {
  kedge_on_policy::world where;
  fs::path results;
  bool run = true;  ///< false: only tables
};

/// The nights. Each prints its tables as Markdown.
void apo_offline(night const& given);
void apo_online(night const& given);
void sdpo_sources(night const& given);
void salsa_gold(night const& given);

}  // namespace kedge_nights
