// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>     // function
#include <map>            // map
#include <memory>         // shared_ptr
#include <unordered_map>  // unordered_map

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/soup/recipe.hpp>

#include "growing_tokenizer.hpp"
#include "row_order.hpp"

namespace kedge::llm {

/// One vocabulary for models that have several: its tokenizer, and for each model the row of each of its tokens.
/// source  mergekit 0.1.5's tokenizer_source and tokenizer, whose rules these are
class vocabulary_alignment {
 public:
  /// A model's tensor that has a row a token.
  struct source {
    model_reference model;
    std::size_t rows = 0;
  };

  /// models  all of the recipe, the base or first one at the front;  opened: by reference
  /// notes   gets a line for what is left out or unknown
  /// throws  kedge::llm::error where a vocabulary cannot be had or a token's source has no such token
  vocabulary_alignment(soup_recipe const& recipe, std::vector<model_reference> const& models,
                       std::function<checkpoint const&(model_reference const&)> const& opened, std::vector<std::string>& notes);

  /// Whose files the tokenizer comes from.
  [[nodiscard]] model_reference const& donor() const { return donor_; }
  /// tokenizer.json, with what was added; null where the donor's is it as it is.
  [[nodiscard]] nlohmann::ordered_json const& changed_tokenizer() const { return changed_; }
  /// Tokens, padded.
  [[nodiscard]] std::size_t rows() const { return rows_; }

  /// Every source has these tokens in this order and as many rows.
  [[nodiscard]] bool is_identity(std::vector<source> const& sources) const;
  /// For each source, where the rows of its tensor in the common order come from: its own rows, and for tokens that it lacks, or that are forced,
  /// rows of the others.
  [[nodiscard]] std::vector<std::shared_ptr<row_order const>> orders(std::vector<source> const& sources,
                                                                     std::optional<model_reference> const& base) const;

 private:
  void settle_tokenizer(soup_recipe const& recipe, std::vector<model_reference> const& models,
                        std::function<checkpoint const&(model_reference const&)> const& opened,
                        std::vector<std::string>& notes);

  std::vector<std::pair<std::string, token_source>> chosen_;
  model_reference donor_;
  nlohmann::ordered_json changed_;
  std::vector<std::string> tokens_;                           ///< by id
  std::map<model_reference, std::vector<std::int64_t>> own_;  ///< for each token its row in a model, −1 where it has none
  std::map<model_reference, token_ids> ids_;                  ///< of every model
  std::size_t rows_ = 0;
};

}  // namespace kedge::llm
