// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <kedge/llm/base/model_names.hpp>
#include <kedge/llm/hub/hub.hpp>

namespace kedge::cli {

/// What the environment says of the hub, by the names that huggingface_hub reads: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE and
/// others (docs/hub.md). It speaks on standard error, in the first of several processes.
[[nodiscard]] llm::hub_settings hub_of_environment();

/// Finds models of the hub by their names. "ORG/NAME" is fetched if it isn't in the cache; a name of one word is only looked for there.
[[nodiscard]] llm::model_finder hub_models();

/// The files of a part of a data set of the hub.
/// throws  as llm::find_hub_dataset
[[nodiscard]] std::vector<std::filesystem::path> hub_dataset(llm::hub_name const& name, llm::dataset_part const& part);

}  // namespace kedge::cli
