// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <cstdint>       // int32_t, int64_t
#include <memory>        // shared_ptr
#include <optional>      // optional
#include <span>          // span
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

#include <nlohmann/json_fwd.hpp>

namespace kedge::llm {

/// What stands beside tokenizer.json and changes what is done with it.
struct tokenizer_use {
  bool split_special_tokens = false;  ///< special tokens spelled out in a text are encoded as text
  bool clean_up_spaces = false;       ///< decoded texts lose the space before punctuation and before n't, 'm, 's, 've and 're
  std::int64_t rows = 0;              ///< of the model's embedding: a text that needs a token beyond is an error; 0: no limit
};

/// Text ↔ token ids as a tokenizer.json says, with the ids that Hugging Face's `tokenizers` gives.
///
/// A value that shares what it read: copies are cheap, and const calls from several threads at once are safe.
/// "truncation" and "padding" in the file are left to the caller, as transformers does.
class tokenizer {
 public:
  /// throws  kedge::llm::error that names the component (model, normalizer, pre_tokenizer, …) that is malformed or not supported
  /// cost    linear in the vocabulary
  static tokenizer from_json(nlohmann::ordered_json const& tokenizer_json, tokenizer_use use = {});

  /// Ids of a text. `add_special_tokens` frames it as the post-processor says (Llama's leading `<s>`, for example); special
  /// tokens spelled out in the text are recognised either way.
  /// throws  kedge::llm::error if the text is not valid UTF-8, or needs a token that the model has no row for
  /// cost    O(n log n) in the worst case, linear in practice; no allocation per word once warm
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view utf8, bool add_special_tokens) const;

  /// Text of ids. Ids without a token are passed over; bytes that make no UTF-8 become U+FFFD.
  [[nodiscard]] std::string decode(std::span<std::int32_t const> ids, bool skip_special_tokens) const;

  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const;
  /// throws  kedge::llm::error if no token has the id
  [[nodiscard]] std::string token_of(std::int32_t id) const;
  /// True for the special tokens of "added_tokens".
  [[nodiscard]] bool is_special(std::int32_t id) const;
  /// Number of tokens, added ones included.
  [[nodiscard]] std::size_t size() const;
  /// The least id from `rows` on that a token has: the first that a model with so many rows does not know.
  [[nodiscard]] std::optional<std::int32_t> first_beyond(std::int64_t rows) const;

 private:
  class implementation;
  explicit tokenizer(std::shared_ptr<implementation const> shared) : shared_(std::move(shared)) {}
  std::shared_ptr<implementation const> shared_;
};

}  // namespace kedge::llm
