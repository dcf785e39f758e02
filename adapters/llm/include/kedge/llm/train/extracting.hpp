// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// An adapter from the difference of two models.
struct extract_settings {
  std::filesystem::path base, tuned;
  std::filesystem::path output_dir;
  std::int64_t rank = 16;
  saved_type save_dtype = saved_type::float32;
  screen tells{};
};

/// What an adapter of that rank leaves out.
struct extracted {
  std::size_t maps = 0;       ///< linear maps that differ
  std::size_t whole = 0;      ///< other tensors that differ, which the adapter holds as they are
  double relative_error = 0;  ///< ‖D − B A‖ / ‖D‖ over all maps, D the difference (Frobenius norms)
};

/// Writes the adapter of PEFT's that comes closest to the difference of two models of one shape: for every linear map of the layers that differs
/// the best product of this rank, by its singular value decomposition. What else differs (norms, embedding, head, biases) is held whole.
/// throws  error in one line: models of other shapes or vocabularies, no difference, a folder that holds something
/// cost    a singular value decomposition a map
extracted extract(extract_settings const& settings);

}  // namespace kedge::llm
