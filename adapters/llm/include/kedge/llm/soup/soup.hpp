// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // uint64_t
#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string
#include <utility>     // pair
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/soup/recipe.hpp>

namespace kedge::llm {

/// Where a soup goes and how it is made; nothing here but `seed` changes a number of it.
struct soup_settings {
  std::filesystem::path output_dir;
  bool overwrite_output_dir = false;
  std::size_t max_shard_bytes = 50'000'000'000;
  bool allow_tokenizer_mismatch = false;  ///< merge models whose vocabularies differ in content but not in size
  bool allow_crimes = false;              ///< merge models of different architectures, as far as their tensors have one name and shape
  unsigned threads = 0;                   ///< 0: as many as there are processors
  std::uint64_t seed = 0;                 ///< of dare and della
  bool quiet = false;                     ///< no progress, no notes
  screen tells{};                         ///< where they go
  std::function<bool()> stop;             ///< asked all the time; true ends the work with soup_interrupted
};

/// Thrown when settings.stop said so. Nothing is left on disk.
struct soup_interrupted {};

/// Sizes of a soup, known before any weight is read.
struct soup_size {
  std::size_t tensors = 0;
  std::size_t parameters = 0;
  std::size_t bytes_in = 0;   ///< of the tensors read, as they are stored
  std::size_t bytes_out = 0;  ///< of the tensors written
  std::size_t shards = 0;
};

/// What a recipe would read and write. The models are opened and held against each other, no weight is read.
/// throws  kedge::llm::error as make_soup does
soup_size plan_soup(soup_recipe const& recipe, soup_settings const& settings);

/// Merges checkpoints tensor by tensor, from the mapped files to a folder that transformers opens.
/// math    as soup_method says; sums in float32, norms and angles in float64, each number of the result rounded once to
///         the output's format (twice where the recipe rounds to a narrower input format in between, as mergekit does)
/// cost    memory: a few megabytes a thread, and one byte an element of the largest tensor and model where entries are
///         dropped; whole tensors × inputs only where they are quantised, or treated row by row. The inputs are read once
///         (linear, task arithmetic, passthrough) or a few times
/// throws  kedge::llm::error if models disagree (naming both), a number is NaN or infinite (naming the tensor), the recipe
///         lacks something, or the folder cannot be written; soup_interrupted. The result does not depend on the threads
soup_size make_soup(soup_recipe const& recipe, soup_settings const& settings);

/// A model of a greedy soup, with the score that decided on it.
struct greedy_step {
  model_reference model;
  double own_score = 0;
  double score = 0;  ///< of the mean with it
  bool kept = false;
};

/// Greedy soup: the models in order of their own score, each kept if the score of the mean with it is not lower.
/// The mean is summed in float32 in the order of keeping, as a running sum would be, and rounded once a candidate.
/// `evaluate` is a shell command that gets a checkpoint as its last argument and prints one number; larger is better.
/// throws  kedge::llm::error if the command fails or prints something else; and as make_soup does
/// source  Wortsman et al. 2022 (arXiv 2203.05482), algorithm 1
std::pair<soup_size, std::vector<greedy_step>> make_greedy_soup(soup_recipe const& recipe, std::string const& evaluate,
                                                                soup_settings const& settings);

}  // namespace kedge::llm
