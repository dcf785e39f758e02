// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// A figure over the steps of a run. A value that isn't finite is NaN.
struct run_figure {
  std::string name;  ///< as in metrics.jsonl
  std::vector<double> step, value;
};

/// Completions of held-out prompts after a round; round 0 is the start.
struct run_samples {
  std::size_t round = 0;
  std::vector<nlohmann::ordered_json> lines;  ///< {"prompt", "completion", "score", …}, of the first prompts
  std::size_t all = 0;                        ///< how many lines the file has
};

/// What a run has left in its folder: run.json, metrics.jsonl, samples/. Of a run of TRL's, or of any Trainer of transformers', it is
/// trainer_state.json of the folder or of its newest checkpoint.
struct run_folder {
  std::filesystem::path path;
  std::string name;                                 ///< the folder's
  nlohmann::ordered_json facts;                     ///< run.json; {} where there is none
  std::vector<run_figure> figures;                  ///< in the order in which they first appear
  std::vector<double> round_starts;                 ///< last step before each round, from the second one on
  std::vector<nlohmann::ordered_json> evaluations;  ///< lines of metrics.jsonl with held-out figures
  std::vector<nlohmann::ordered_json> sampled;      ///< lines about completions that were sampled for a round
  std::vector<run_samples> samples;                 ///< of the first round and the last
  nlohmann::ordered_json profile;                   ///< null where there is none
  std::vector<std::string> notes;                   ///< what couldn't be read, a sentence each

  /// The figure of a name; null where there is none.
  [[nodiscard]] run_figure const* figure(std::string_view name) const;
  /// A fact of run.json's by its place, as in "/about/method"; null where there is none.
  [[nodiscard]] nlohmann::ordered_json fact(std::string_view place) const;
  /// The same as a text, empty where there is none or it is no text.
  [[nodiscard]] std::string text(std::string_view place) const;
  /// The last step that is there.
  [[nodiscard]] double last_step() const;
};

/// Reads a run's folder. A last line that isn't finished is passed over: the run may be going on.
/// throws  error in one line if there is no run
/// cost    linear in its files, of samples the first lines alone
[[nodiscard]] run_folder read_run(std::filesystem::path const& folder);

}  // namespace kedge::llm
