// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/preference.hpp>

#include "command_line.hpp"

namespace kedge::cli {

inline constexpr int exit_done = 0, exit_error = 1, exit_usage = 2, exit_interrupted = 130;

/// A subcommand: its name, what it does in a line, and its main function, which returns an exit code or throws.
struct command {
  char const* name;
  char const* summary;
  int (*run)(arguments const& args);
  bool shares_work = false;  ///< several processes that torchrun started do it together
};

int run_sft(arguments const& args);
int run_reward(arguments const& args);
int run_kto(arguments const& args);
int run_dpo(arguments const& args);
int run_sdpo(arguments const& args);
int run_apo(arguments const& args);
int run_ppo(arguments const& args);
int run_salsa(arguments const& args);
int run_score(arguments const& args);
int run_generate(arguments const& args);
int run_chat(arguments const& args);
int run_compare(arguments const& args);
int run_soup(arguments const& args);
int run_convert(arguments const& args);
int run_shuffle(arguments const& args);
int run_tokenize(arguments const& args);
int run_inspect(arguments const& args);
int run_export(arguments const& args);
int run_report(arguments const& args);
int run_pull(arguments const& args);
int run_merge(arguments const& args);
int run_extract(arguments const& args);

/// Runs a subcommand and turns what it throws into one line on stderr and an exit code.
int run(command const& c, arguments const& args);

/// Reads what was given to a training command, whose flags are declared but for --json and TRL's. The settings get what a run has from where
/// it was started: the screen, and its place among the processes of torchrun. Tells what was given without effect.
void parse_training(command_line& line, arguments const& args, llm::run_settings& settings, bool& json);

/// --json: the summary as one JSON object.
void add_json(command_line& line, bool& json);

/// Puts into a summary which model was best, where evaluations watched for it.
void add_best(nlohmann::ordered_json& summary, llm::run_result const& result);

/// Prints how a run without rounds ended (as JSON if asked) and returns the exit code; `what` are its examples.
int report(llm::run_settings const& settings, llm::one_round_result const& result, char const* what, bool json);

/// Trains, prints the summary (as JSON if asked) and returns the exit code.
int train(llm::training_settings const& settings, llm::round_settings const& rounds, bool json);

}  // namespace kedge::cli
