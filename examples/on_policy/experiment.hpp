// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/sft.hpp>

namespace CLI {
class App;
}

namespace kedge_on_policy {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// What both programs are told.
struct options {
  bool tiny = false, quick = false, fresh = false;
  std::size_t seeds = 0, at_once = 0;  ///< 0: as the world says
  int threads = 0;                     ///< of each run; 0: the cores shared out
  fs::path output, model, data, judge;
};

/// Adds a program's own flags.
using more_flags = void (*)(CLI::App& app);

/// The options of a command line.
/// throws  CLI::ParseError
[[nodiscard]] options parse(int argc, char** argv, char const* name, char const* what, more_flags more = nullptr);

/// Thrown where Ctrl-C or SIGTERM ended the work: what had finished is kept.
struct interrupted {};

/// main(): errors as one line, exit codes 0, 1, 2 and 130.
int guarded(int argc, char** argv, char const* name, char const* what, void (*work)(options const&), more_flags more = nullptr);

// --- runs ----------------------------------------------------------------------------------------------------------------------

/// A piece of work with figures for a result, which are kept in a folder.
struct job {
  fs::path folder;
  json settings;              ///< all that the figures depend on: kept figures with other settings don't count
  std::function<json()> run;  ///< null: it was stopped
};

/// Figures of all jobs, in order. Each job runs in a process of its own, `at_once` of them at a time; those that have run before are
/// not run again, unless `fresh`.
/// throws  interrupted; kedge::llm::error if a job fails
std::vector<json> run_jobs(std::vector<job> const& jobs, std::string const& what, std::size_t at_once, bool fresh);

/// The figures of a run under a judge.
[[nodiscard]] json figures_of(std::vector<kedge::llm::policy_evaluation> const& evaluations);

// --- worlds --------------------------------------------------------------------------------------------------------------------

/// A language, prompts, a judge, and settings that fit them.
struct world {
  options given;
  std::string name, description;
  fs::path prompts, eval_prompts;
  std::string judge;
  fs::path frontier;  ///< exact reward and KL of the best policies, JSONL; empty: not known
  std::size_t seeds, at_once;
  int threads;

  [[nodiscard]] fs::path base(std::uint64_t seed) const;  ///< the model that all training of a seed begins with
  [[nodiscard]] fs::path folder(std::string const& run, std::uint64_t seed) const;
  void common(kedge::llm::run_settings& s, fs::path const& output, std::uint64_t seed) const;
  void sampling(kedge::llm::on_policy_settings& s) const;
};

/// Data written, base models trained.
[[nodiscard]] world prepare(options const& given);

/// The same fine-tuning, of a model or of random numbers, as a job; its figures are empty.
[[nodiscard]] job fine_tuning(kedge::llm::sft_settings const& settings);

/// What kedge-grammar prints when it is told so.
[[nodiscard]] std::string grammar_output(std::string const& arguments);

/// Sentences of the tiny language as a file of demonstrations.
void write_sentences(fs::path const& file, std::size_t count, std::uint64_t seed);

}  // namespace kedge_on_policy
