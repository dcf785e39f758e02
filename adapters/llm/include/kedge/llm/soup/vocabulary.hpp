// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>       // array
#include <compare>     // strong_ordering
#include <cstddef>     // size_t
#include <cstdint>     // int64_t
#include <filesystem>  // path
#include <optional>    // optional
#include <string>      // string
#include <utility>     // pair
#include <vector>      // vector

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// A model as recipes and the command line name it.
struct model_reference {
  std::filesystem::path model;    ///< a Hugging Face folder or a GGUF file
  std::filesystem::path adapter;  ///< a LoRA adapter's folder, merged into the model as it is read; empty: none

  model_reference() = default;
  model_reference(std::filesystem::path of, std::filesystem::path with = {}) : model(std::move(of)), adapter(std::move(with)) {}

  auto operator<=>(model_reference const&) const = default;
  bool operator==(model_reference const&) const = default;

  /// "MODEL", or "MODEL+ADAPTER" as mergekit writes it.
  [[nodiscard]] std::string text() const { return adapter.empty() ? model.string() : model.string() + "+" + adapter.string(); }
};

/// "DIR", "MODEL+ADAPTER", or an adapter's folder alone, whose base is the one that it names, from here or from its folder. A path that exists is never
/// taken apart.
/// throws  kedge::llm::error if there is no such model, or no such base
model_reference find_model(std::string const& text);

/// Whose vocabulary the result has. All but `models` bring the rows of every model in its order.
enum class vocabulary_source {
  models,      ///< theirs; they have to agree in it
  base,        ///< the base's, else the first model's
  every_model  ///< the base's, and what the others have besides
};

constexpr auto names(vocabulary_source) {
  return std::array{named{vocabulary_source::models, "models"}, named{vocabulary_source::base, "base"},
                    named{vocabulary_source::every_model, "union"}};
}

/// Where a token's row comes from in models that lack it.
struct token_source {
  enum class kind { of_model, of_token, of_id, zero, unsaid };

  kind from = kind::unsaid;
  model_reference model;
  std::string token;    ///< of_token: another one of that model
  std::int64_t id = 0;  ///< of_id: a row of that model
  bool force = false;   ///< in models that have it, too
};

/// mergekit's `tokenizer`.
struct soup_vocabulary {
  vocabulary_source source = vocabulary_source::models;
  std::optional<model_reference> model;                      ///< a third model's vocabulary instead
  std::vector<std::pair<std::string, token_source>> tokens;  ///< by their texts; those that are new are added
  std::size_t pad_to_multiple_of = 0;  ///< rows; those without a token are the mean of the others. 0: none

  [[nodiscard]] bool rearranges() const { return source != vocabulary_source::models || model.has_value(); }
};

}  // namespace kedge::llm
