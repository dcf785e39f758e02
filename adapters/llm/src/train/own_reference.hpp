// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include <kedge/llm/train/preference.hpp>

#include "session.hpp"

namespace kedge::llm {

/// throws  error in one line where settings of reference and weights can't work together, or are out of range
void check_reference(training_settings const& settings, round_settings const& rounds);

/// The model of --ref_model_name_or_path, open.
struct own_reference {
  causal_lm model;
  pack masters;
  std::size_t at_once;  ///< tokens
};

/// trained: the checkpoint that is about to be trained; moves: the reference will go toward it; group: that divides it, where the settings say so
/// throws  error if its tokens are others than the trained model's, or it can't move because it is of another shape
[[nodiscard]] own_reference open_own_reference(run_settings const& settings, std::filesystem::path const& path, bool moves, session const& trained,
                                               process_group const& group);

/// Scores lists of pairs by --ref_model_name_or_path, which is opened for that and closed again: each pair then brings its reference.
/// trained: the checkpoint that is about to be trained, of which only the description is open
/// returns  with --sync_ref_model the masters of the reference, which goes on from there; else nothing
/// throws  error if its tokens are others than the trained model's, or it can't move because it is of another shape
pack score_by_own_reference(training_settings const& settings, session const& trained, process_group const& group,
                            std::span<std::vector<preference_pair>* const> lists);

}  // namespace kedge::llm
