// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/settings.hpp>

namespace kedge::cli {

inline constexpr int exit_done = 0, exit_error = 1, exit_usage = 2, exit_interrupted = 130;

using arguments = std::vector<std::string>;

/// A subcommand: its name, what it does in a line, and its main function, which returns an exit code or throws.
struct command {
  char const* name;
  char const* summary;
  int (*run)(arguments const& args);
  bool shares_work = false;  ///< several processes that torchrun started do it together
};

int run_sft(arguments const& args);
int run_reward(arguments const& args);
int run_dpo(arguments const& args);
int run_sdpo(arguments const& args);
int run_apo(arguments const& args);
int run_ppo(arguments const& args);
int run_salsa(arguments const& args);
int run_score(arguments const& args);
int run_generate(arguments const& args);
int run_soup(arguments const& args);
int run_shuffle(arguments const& args);
int run_tokenize(arguments const& args);
int run_inspect(arguments const& args);
int run_merge(arguments const& args);

/// Runs a subcommand and turns what it throws into one line on stderr and an exit code.
int run(command const& c, arguments const& args);

/// Parses `args` with the options of `app`, which gets --config; `-` and `_` are the same in flag names.
void parse(CLI::App& app, arguments const& args);

/// --dtype, --device, --threads, --micro_batch_tokens.
void add_compute_options(CLI::App& app, llm::device_settings& compute);

/// The options that every training subcommand shares: model, output, optimisation, checkpoints, computation.
void add_run_options(CLI::App& app, llm::run_settings& settings);

/// --prompts, --judge and what belongs to training on the model's own completions.
void add_sampling_options(CLI::App& app, llm::on_policy_settings& settings);

/// --use_peft, --lora_r and what belongs to adapters.
void add_lora_options(CLI::App& app, llm::run_settings& settings);

/// The same, and how completions become pairs.
void add_online_options(CLI::App& app, llm::round_settings& rounds);

/// add_run_options and what belongs to training on preference pairs.
void add_training_options(CLI::App& app, llm::training_settings& settings);

/// --chunks, --order, --difficulty.
void add_chunk_options(CLI::App& app, llm::round_settings& rounds);

/// Prints how a run without rounds ended (as JSON if asked) and returns the exit code; `what` are its examples.
int report(llm::run_settings const& settings, llm::one_round_result const& result, char const* what, bool json);

/// Trains, prints the summary (as JSON if asked) and returns the exit code.
int train(llm::training_settings const& settings, llm::round_settings const& rounds, bool json);

}  // namespace kedge::cli
