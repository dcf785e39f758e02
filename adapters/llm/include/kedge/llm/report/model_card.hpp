// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include <kedge/llm/report/run_folder.hpp>

namespace kedge::llm {

/// What a model says of itself that a model made from it has to repeat.
struct base_card {
  std::string id;                          ///< ORG/NAME of the hub; empty where it isn't known
  std::string license;                     ///< the hub's word for it; empty where the model names none
  std::string license_name, license_link;  ///< where the word is "other"
};

/// Reads a model's card (README.md), config.json, or GGUF metadata; of an adapter, the name of its base too. What can't be read counts as not said.
[[nodiscard]] base_card read_base_card(std::filesystem::path const& model);

/// The card of a run's model, as README.md: the hub's YAML, then what was trained, from what, on what and how, in Markdown.
/// source  https://huggingface.co/docs/hub/model-cards; keys and names of tags are those of TRL 1.16's cards where it has them
[[nodiscard]] std::string model_card(run_folder const& run, base_card const& base);

/// Writes a card to README.md of a folder, unless one is there that somebody wrote or changed: then to README.kedge.md. A card that kedge wrote
/// holds the hash of its text.
/// returns  the file
[[nodiscard]] std::filesystem::path write_model_card(std::filesystem::path const& folder, std::string const& card);

}  // namespace kedge::llm
