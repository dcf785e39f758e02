// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// What becomes of an adapter.
struct merge_settings {
  std::filesystem::path adapter;
  std::filesystem::path base;         ///< empty: what the adapter names
  std::filesystem::path output_dir;
  saved_type save_dtype = saved_type::float32;
};

/// Writes the base of an adapter with the adapter in its weights, as a Hugging Face folder.
/// throws  error in one line
void merge(merge_settings const& settings);

}  // namespace kedge::llm
