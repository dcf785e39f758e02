// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <string>       // string
#include <string_view>  // string_view

#include <kedge/llm/hub/hub_name.hpp>

namespace kedge::llm {

// How huggingface_hub lays its cache out: CACHE/models--ORG--NAME/{blobs,refs,snapshots} and CACHE/.locks/models--ORG--NAME.
inline constexpr char const* blobs_folder = "blobs";
inline constexpr char const* refs_folder = "refs";
inline constexpr char const* snapshots_folder = "snapshots";
inline constexpr char const* locks_folder = ".locks";

inline constexpr std::size_t commit_digits = 40, sha256_digits = 64;

/// "models--ORG--NAME"
[[nodiscard]] std::string repository_folder(hub_name const& name);

/// True of a relative path that stays in its folder: no "..", no ".", no empty part.
[[nodiscard]] bool is_inside(std::string_view path);

/// So many lower-case hexadecimal digits.
[[nodiscard]] bool is_hexadecimal(std::string_view text, std::size_t digits);

}  // namespace kedge::llm
