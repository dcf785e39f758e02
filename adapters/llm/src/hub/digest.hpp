// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>     // uint64_t
#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string

namespace kedge::llm {

/// What the hub says of a file's content: SHA-256 of a large file, Git's SHA-1 of a small one, which is that of "blob SIZE\0" and the content.
enum class digest_kind { sha256, git_blob };

/// The digest of a file, lower-case hexadecimal, by OpenSSL's libcrypto, which is loaded when it is first needed.
/// stop    asked every few megabytes; true: hub_interrupted
/// throws  kedge::llm::error if libcrypto is missing, or the file can't be read
[[nodiscard]] std::string digest_of(std::filesystem::path const& file, digest_kind kind, std::function<bool()> const& stop);

/// Loads the library.
/// throws  kedge::llm::error if it is missing
void require_digests();

}  // namespace kedge::llm
