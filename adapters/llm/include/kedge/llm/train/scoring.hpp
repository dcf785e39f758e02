// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <optional>

#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/data/reading.hpp>
#include <kedge/llm/scale/launch.hpp>
#include <kedge/llm/train/device_settings.hpp>

namespace kedge::llm {

/// What `kedge score` is asked: which model, which pairs, in what arithmetic.
struct score_settings {
  std::filesystem::path model, dataset;
  device_settings compute;
  std::size_t batch_size = 8;
  std::size_t max_length = 0;    ///< 0: no limit
  llm::truncation_mode truncation_mode = llm::truncation_mode::keep_start;
  data_format dataset_format = data_format::automatic;
  llm::ranked_pairs ranked_pairs = llm::ranked_pairs::best_worst;
  std::size_t max_samples = 0;   ///< 0: all
  std::optional<double> ld_alpha{};  ///< LD-DPO's weight of tokens beyond the shorter completion of a pair; unset: 1
  std::filesystem::path ref_logps{};  ///< where the data's lines go with ref_chosen_logps and ref_rejected_logps added; empty: nowhere
  bool skip_bad_lines = false;
  bool quiet = false;
  screen tells{};                ///< progress, and how many lines were skipped
  launch where{};                ///< which of several processes this is; they divide the batches
  std::size_t ddp_timeout = 1800;
};

/// Log-probabilities of chosen and rejected for every pair, one JSON object a line, in order:
/// {"logp_chosen", "logp_rejected", "tokens_chosen", "tokens_rejected", "tokens_prompt"}, sums in nats over the completion's tokens.
/// With ref_logps the lines of those pairs too, in order, all other keys kept: what training takes as its reference.
/// Several processes have the same numbers as one, bit for bit: a batch is computed by one of them. The leading one writes.
/// returns the number of pairs
std::size_t score_preferences(score_settings const& settings, std::ostream& out);

}  // namespace kedge::llm
