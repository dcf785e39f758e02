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
#include "vocabulary.hpp"

namespace kedge::llm {

/// A model of a recipe: its checkpoint, and the adapter that is merged into it.
struct opened_model {
  checkpoint weights;
  std::optional<lora_adapter> adapter;

  [[nodiscard]] low_rank_entry const* added_to(std::string_view weight) const { return adapter ? adapter->of(weight) : nullptr; }
};

/// A recipe's models, opened once each and held against each other.
class soup_models {
 public:
  soup_models(soup_recipe const& recipe, soup_settings const& settings);

  opened_model const& opened(model_reference const& model) const { return *opened_.at(model); }
  checkpoint const& at(model_reference const& model) const { return opened(model).weights; }
  /// The one whose config and tokenizer the result gets: the base, else the first.
  checkpoint const& donor() const { return at(donor_); }
  /// The common vocabulary, where one is asked for; else null.
  vocabulary_alignment const* alignment() const { return alignment_.get(); }
  /// What replaces the models' templates; empty: nothing.
  std::string const& chat_template() const { return chat_template_; }
  /// In what they differ without being refused.
  std::vector<std::string> const& notes() const { return notes_; }

 private:
  void hold_against_donor(checkpoint const& model, soup_recipe const& recipe, soup_settings const& settings);
  void settle_template(soup_recipe const& recipe);

  std::map<model_reference, std::shared_ptr<opened_model const>> opened_;
  std::vector<model_reference> references_, merged_;
  std::shared_ptr<vocabulary_alignment const> alignment_;
  std::vector<std::string> notes_;
  std::string chat_template_;
  model_reference donor_;
};

/// A tensor of the result: what it is made of, by name, and how. Weights are looked at when it is cooked.
struct planned_tensor {
  tensor_plan output;
  std::vector<std::pair<opened_model const*, std::string>> inputs;
  std::vector<std::shared_ptr<row_order const>> orders;  ///< of each input's rows, where they are brought into the common vocabulary's order
  std::optional<std::size_t> base;
  merge_values values;
  dtype computed = dtype::f32;  ///< the inputs' format, to which mergekit rounds before the output's
  bool copied = false;          ///< not floating: the inputs have to be equal

  std::size_t bytes_in = 0;

  /// Elements of a row of the first axis.
  [[nodiscard]] std::size_t width() const;
  /// What is merged, opened.
  [[nodiscard]] std::vector<tensor_input> open_inputs(std::optional<dtype> rounding) const;
};

/// Everything that a recipe decides, before any weight is read.
struct soup_plan {
  std::vector<planned_tensor> tensors;
  std::size_t layers = 0;
  bool head_of_its_own = false;  ///< some models tie the output head to the embedding, and others don't
  std::vector<std::string> notes;  ///< what is left out

  soup_size size(std::size_t max_shard_bytes) const;
};

/// throws  kedge::llm::error where models lack tensors or disagree in shapes, or parameters are missing
soup_plan plan(soup_recipe const& recipe, soup_models const& models);

}  // namespace kedge::llm
