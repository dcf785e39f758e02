// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>   // map
#include <span>  // span

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>
#include <kedge/llm/soup/vocabulary.hpp>

namespace kedge::llm {

/// What an adapter adds to one weight, in memory.
class low_rank_update {
 public:
  explicit low_rank_update(low_rank_entry const& from);

  /// Adds elements begin … begin + out.size() − 1 of s B A, row-major, to `out`.
  void add(std::size_t begin, std::span<float> out) const;

 private:
  std::size_t rank_ = 0, in_ = 0;
  std::vector<float> a_, b_;  ///< B holds the scale
};

/// An adapter that a soup adds to a model as it reads it, weight by weight.
class lora_adapter {
 public:
  /// throws  kedge::llm::error naming the folder and what is missing, more than products on weights, or of another shape than the base
  lora_adapter(std::filesystem::path const& folder, checkpoint const& base);

  /// What is added to the weight of this name; null where nothing is.
  [[nodiscard]] low_rank_entry const* of(std::string_view weight) const;

 private:
  peft_adapter adapter_;
  std::map<std::string, low_rank_entry, std::less<>> changes_;
};

/// A model and an adapter that is merged into it.
/// throws  kedge::llm::error if either is not there, or the second is no adapter's folder
[[nodiscard]] model_reference with_adapter(std::filesystem::path const& model, std::filesystem::path const& adapter);

}  // namespace kedge::llm
