// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>      // int64_t
#include <optional>     // optional
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// A token beside the vocabulary, as tokenizer_config.json, special_tokens_map.json and tokenizer.json write it.
struct token_entry {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, special = false;
  std::optional<bool> normalized{};  ///< none: the opposite of `special`
  bool plain = false;                ///< written as a text, not as an object

  bool is_normalized() const { return normalized.value_or(!special); }
  /// The same content and flags: such a token need not be added again.
  bool operator==(token_entry const& other) const;
};

/// An object with a content and flags. Flags that are absent or null are false; other keys mean nothing.
/// throws  kedge::llm::error naming `where` for a flag or content of another type
token_entry token_of_object(nlohmann::ordered_json const& object, std::string const& where);

/// A text, which stands for a special token, or an object; nothing for anything else.
/// throws  as token_of_object
std::optional<token_entry> token_of_value(nlohmann::ordered_json const& value, std::string const& where);

/// The tokens that the "added_tokens" of a tokenizer.json leave: of those with the same content the last.
std::vector<token_entry> added_tokens_of(nlohmann::ordered_json const& tokenizer_json);

/// Adds tokens to "added_tokens" in their order, as `tokenizers` adds them: a token that is there gets the new flags and keeps its
/// id; one that the model's vocabulary has gets that id; any other gets the next free one.
/// cost    one pass over the vocabulary
void add_tokens(nlohmann::ordered_json& tokenizer_json, std::span<token_entry const> tokens);

/// The id of a text among added tokens or in the vocabulary.
/// cost    one pass over the vocabulary
std::optional<std::int64_t> id_of_token(nlohmann::ordered_json const& tokenizer_json, std::string_view content);

}  // namespace kedge::llm
