// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>      // atomic
#include <cstdint>     // uint64_t
#include <filesystem>  // path

#include "repository.hpp"

namespace kedge::llm {

/// How far fetches have come, for all files of a pull together.
struct fetch_progress {
  std::atomic<std::uint64_t> expected{
      0};                               ///< bytes of the files that are being fetched or done; files not begun aren't known yet
  std::atomic<std::uint64_t> there{0};  ///< bytes of them on the disk
  std::atomic<std::uint64_t> came{0};   ///< bytes that came over the network
  std::atomic<std::size_t> fetched{0};  ///< files that weren't there
  std::atomic<bool> unchecked{false};   ///< a file's ETag is no hash that kedge knows, so that its size alone was checked
};

/// Brings a file into the cache, blob and link, unless it is there. One process at a time fetches a blob; the others wait for it.
/// repository  CACHE/models--ORG--NAME
/// throws      error, hub_interrupted; what has come stays beside the blob as ETAG.incomplete
void fetch_file(http_client& client, hub_name const& name, std::string const& commit, std::string const& path,
                std::filesystem::path const& repository, hub_settings const& settings, fetch_progress& progress);

}  // namespace kedge::llm
