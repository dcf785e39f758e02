// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>        // array
#include <filesystem>   // path
#include <optional>     // optional
#include <string>       // string
#include <string_view>  // string_view

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// What a repository of the hub holds.
enum class hub_kind { model, dataset };

constexpr auto names(hub_kind) { return std::array{named{hub_kind::model, "model"}, named{hub_kind::dataset, "dataset"}}; }

/// A repository of the hub at a revision, or a file or folder in it: "ORG/NAME[/PATH][@REVISION]", or "NAME[@REVISION]" of the oldest ones.
struct hub_name {
  hub_kind kind = hub_kind::model;
  std::string repository;         ///< "ORG/NAME"
  std::string revision = "main";  ///< a branch, a tag, "refs/pr/1", or a commit's 40 hexadecimal digits
  std::string path;               ///< in the repository; empty: all of it

  bool operator==(hub_name const&) const = default;

  /// "ORG/NAME", "ORG/NAME@REVISION" where it isn't main
  [[nodiscard]] std::string text() const;
  /// The revision is a commit, which never changes.
  [[nodiscard]] bool is_commit() const;
};

/// Reads a name by the hub's rules: two parts of at most 96 letters, digits, `-`, `_` and `.`, without "--" and "..", neither beginning nor ending with `-` or
/// `.`. A leading "hf://" and "datasets/" are taken as huggingface_hub takes them. Nothing where a text is no such name: an absolute path, say.
[[nodiscard]] std::optional<hub_name> parse_hub_name(std::string_view text, hub_kind kind = hub_kind::model);

/// The repository, and the commit, whose snapshot in a cache a path lies in; nothing elsewhere. By it files that are to be read on other machines
/// name the model and not a place on this one.
[[nodiscard]] std::optional<hub_name> hub_name_of(std::filesystem::path const& path);

/// What a file that others will read calls a model: the hub's name where it is from there, else its absolute path.
[[nodiscard]] std::string portable_name(std::filesystem::path const& model);

/// What people call a model: the hub's name where it is from there, else the last part of its path.
[[nodiscard]] std::string short_name(std::filesystem::path const& model);

}  // namespace kedge::llm
