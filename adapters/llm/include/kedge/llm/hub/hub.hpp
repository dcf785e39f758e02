// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // uint64_t
#include <filesystem>  // path
#include <optional>    // optional
#include <string>      // string
#include <vector>      // vector

#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/hub/hub_settings.hpp>

namespace kedge::llm {

/// Which files of a data set are meant: those of one split of one configuration, as the `configs` of its README.md say, else by their names.
struct dataset_part {
  std::string config;           ///< empty: the only one, or the one that is the default
  std::string split = "train";  ///< empty: every split
};

/// What `pull` did.
struct pulled {
  std::filesystem::path folder;              ///< the snapshot, or the file or folder in it that the name meant
  std::vector<std::filesystem::path> files;  ///< all that were asked for, there now
  std::string commit;                        ///< that the revision is today
  std::size_t fetched = 0;                   ///< files that weren't there
  std::uint64_t bytes = 0;                   ///< that came over the network
  std::vector<std::string> notes;            ///< what was left out and why, a line each
};

/// Brings a model of the hub into the cache, as huggingface_hub lays it out: blobs/ by content, snapshots/COMMIT/ with links to them, refs/. Only what
/// kedge reads is fetched: safetensors, GGUF, JSON, text and tokenizers; never pickles, never code. Each file is checked by its size and by the hash
/// that the hub states, appears under its name when it is whole, and goes on where an earlier fetch broke off. The revision is written last: what
/// stands in refs/ is all there.
/// throws  error in one line: no such repository, revision or file, a token that is missing or not enough, no network, a full disk, content that isn't
///         what the hub promised, a library (libcurl, libcrypto) that is missing; hub_interrupted
/// cost    a request for the list of files and two for each file that isn't there
[[nodiscard]] pulled pull_model(hub_name const& name, hub_settings const& settings);

/// The same for the files of a part of a data set: Parquet, JSON and JSON lines.
/// throws  besides, error naming the configurations or splits that there are
[[nodiscard]] pulled pull_dataset(hub_name const& name, dataset_part const& part, hub_settings const& settings);

/// A model's folder or GGUF file in the cache, the newest that was fetched of the revision, if all of its weights are there; else it is fetched,
/// after a line that says so.
/// throws  as pull_model; offline, error naming what is missing
[[nodiscard]] std::filesystem::path find_hub_model(hub_name const& name, hub_settings const& settings);

/// The files of a part of a data set, the same way.
[[nodiscard]] std::vector<std::filesystem::path> find_hub_dataset(hub_name const& name, dataset_part const& part,
                                                                  hub_settings const& settings);

/// The snapshot of a revision in the cache, whole or not; nothing where there is none.
[[nodiscard]] std::optional<std::filesystem::path> cached_snapshot(hub_name const& name, std::filesystem::path const& cache);

/// What a folder lacks of a model's or an adapter's weights, in words; empty if it has all. A folder that says nothing of a model lacks "config.json".
[[nodiscard]] std::string missing_weights(std::filesystem::path const& folder);

}  // namespace kedge::llm
