// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <iosfwd>

#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

/// What `kedge score` is asked: which model, which pairs, in what arithmetic.
struct score_settings {
  std::filesystem::path model, dataset;
  device_settings compute;
  std::size_t batch_size = 8;
  std::size_t max_length = 0;    ///< 0: no limit
  std::size_t max_samples = 0;   ///< 0: all
  bool skip_bad_lines = false;
  bool quiet = false;
};

/// Log-probabilities of chosen and rejected for every pair, one JSON object a line, in order:
/// {"logp_chosen", "logp_rejected", "tokens_chosen", "tokens_rejected", "tokens_prompt"}, sums in nats over the completion's tokens.
/// returns the number of pairs
std::size_t score_preferences(score_settings const& settings, std::ostream& out);

}  // namespace kedge::llm
