// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/unpaired.hpp>
#include <kedge/llm/train/reference.hpp>
#include <kedge/llm/train/run_settings.hpp>

#include "session.hpp"

namespace kedge::llm {

/// What a run was made with: every setting as it was resolved, and beside those that change the result the content of data and models.
/// Two runs are one where `fixed` is the same.
struct run_identity {
  nlohmann::ordered_json settings;  ///< all, for run.json
  nlohmann::ordered_json defaults;  ///< of those that differ, what they are where nobody sets them
  nlohmann::ordered_json fixed;     ///< what a resumed run must share
  nlohmann::ordered_json about{};   ///< what is trained, how, and on what, for people: see docs/reports.md
};

/// untouched: the same settings as they are where nobody sets them
/// contents: of data and models by what they are for, see content_of and model_content
[[nodiscard]] run_identity identify(settings_list const& list, settings_list const& untouched, run_settings const& run, compute_settings const& compute, nlohmann::ordered_json contents);

/// Name, family and size of what a run starts from, and whether it trains an adapter on it.
[[nodiscard]] nlohmann::ordered_json about_model(session const& opened, causal_lm const& model);

/// "11 pairs, 3f2a…": how many examples there are, and the hash of what is used of them: ids, order, scores.
[[nodiscard]] std::string content_of(std::span<preference_pair const> pairs);
[[nodiscard]] std::string content_of(std::span<std::shared_ptr<std::vector<preference_pair> const> const> rounds);
[[nodiscard]] std::string content_of(std::span<demonstration_ids const> examples);
[[nodiscard]] std::string content_of(std::span<unpaired_ids const> examples);
[[nodiscard]] std::string content_of(encoded_prompts const& prompts);

/// Kind, numbers and the models' content of a reference.
[[nodiscard]] nlohmann::ordered_json content_of(reference_choice const& reference);

/// The hash of a model, of an adapter's base as well; null for an empty path.
[[nodiscard]] nlohmann::ordered_json model_content(std::filesystem::path const& model);

/// throws  error in one line naming the first difference and both values
void require_same(nlohmann::ordered_json const& saved, nlohmann::ordered_json const& now, std::string const& checkpoint);

}  // namespace kedge::llm
