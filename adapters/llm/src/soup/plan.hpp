// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>      // map
#include <memory>   // shared_ptr
#include <utility>  // pair
#include <vector>   // vector

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "tensor_job.hpp"

namespace kedge::llm {

/// A recipe's models, opened once each and held against each other.
class soup_models {
 public:
  soup_models(soup_recipe const& recipe, soup_settings const& settings);

  checkpoint const& at(std::filesystem::path const& model) const { return *opened_.at(model); }
  /// The one whose config and tokenizer the result gets: the base, else the first.
  checkpoint const& donor() const { return at(donor_); }
  checkpoint const& tokenizer_donor() const { return at(tokenizer_donor_); }

 private:
  std::map<std::filesystem::path, std::shared_ptr<checkpoint const>> opened_;
  std::filesystem::path donor_, tokenizer_donor_;
};

/// A tensor of the result: what it is made of, by name, and how. Weights are looked at when it is cooked.
struct planned_tensor {
  tensor_plan output;
  std::vector<std::pair<checkpoint const*, std::string>> inputs;
  std::optional<std::size_t> base;
  merge_values values;
  dtype computed = dtype::f32;  ///< the inputs' format, to which mergekit rounds before the output's
  bool copied = false;          ///< not floating: the inputs have to be equal

  std::size_t bytes_in = 0;
};

/// Everything that a recipe decides, before any weight is read.
struct soup_plan {
  std::vector<planned_tensor> tensors;
  std::size_t layers = 0;
  bool head_of_its_own = false;  ///< some models tie the output head to the embedding, and others don't

  soup_size size(std::size_t max_shard_bytes) const;
};

/// throws  kedge::llm::error where models lack tensors or disagree in shapes, or parameters are missing
soup_plan plan(soup_recipe const& recipe, soup_models const& models);

}  // namespace kedge::llm
