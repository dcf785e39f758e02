// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>   // uint64_t
#include <optional>  // optional
#include <string>    // string
#include <vector>    // vector

#include <kedge/llm/hub/hub_name.hpp>

#include "http.hpp"

namespace kedge::llm {

/// What the hub has under a name today.
struct repository_listing {
  std::string commit;
  std::vector<std::string> files;  ///< paths in the repository
};

/// What the hub says of one file.
struct remote_file {
  std::string path;
  std::string etag;                   ///< names the blob: the content's SHA-256, or Git's SHA-1 of it
  std::optional<std::uint64_t> size;  ///< bytes
};

/// The revision's commit and its files.
/// throws  error that says which it is: no such repository or revision, or a token that is missing or not enough
[[nodiscard]] repository_listing list_repository(http_client& client, hub_name const& name, hub_settings const& settings);

/// What the hub says of a file of a commit.
[[nodiscard]] remote_file describe_file(http_client& client, hub_name const& name, std::string const& commit,
                                        std::string const& path, hub_settings const& settings);

/// Where a file of a commit is fetched from.
[[nodiscard]] std::string file_url(hub_name const& name, std::string const& commit, std::string const& path,
                                   hub_settings const& settings);

/// throws  error for any status but 2xx, in the hub's own words where it has some
void require_success(http_answer const& answer, hub_name const& name, std::string const& what, hub_settings const& settings);

}  // namespace kedge::llm
