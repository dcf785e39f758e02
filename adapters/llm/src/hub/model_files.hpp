// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>   // path
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

namespace kedge::llm {

/// Files that may be fetched at all: safetensors, GGUF, JSON, text, tokenizers of SentencePiece, Parquet. No pickle and no code.
[[nodiscard]] bool may_be_fetched(std::string_view file);

/// What of a repository's files a model takes.
struct model_files {
  std::vector<std::string> first;  ///< descriptions, tokenizer, templates, and weights whose names are known
  std::string index;               ///< one of them, which names further weights; empty: none
  std::vector<std::string> notes;  ///< what is left out and why
};

/// Chooses the files of a model or an adapter in `folder` of a repository (empty: at its root), or of one GGUF file with its further parts.
/// throws  error if there is no model that kedge reads, or several GGUF files of which none is named
[[nodiscard]] model_files choose_model_files(std::vector<std::string> const& listing, std::string const& path,
                                             std::string const& repository);

/// The weights that an index names, in its folder of the repository.
/// throws  error if the file is no index, or names what is no file of that folder
[[nodiscard]] std::vector<std::string> weights_of_index(std::filesystem::path const& index, std::string const& folder);

}  // namespace kedge::llm
