// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>     // optional
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// How a byte-level vocabulary of a GGUF file cuts a text before its merges begin, and what else goes with the name that the file gives
/// (tokenizer.ggml.pre). The names are llama.cpp's, the expressions those of the tokenizers that they stand for.
struct gguf_split {
  std::string_view name;
  std::span<char const* const> expressions;  ///< each cuts the pieces that those before it left; what matches and what lies between are pieces
  bool whole_words = false;                  ///< a piece that is a token is taken whole, though no merges lead to it
  bool adds_bos = false;                     ///< where the file doesn't say
  bool composes = false;                     ///< characters are composed (NFC) first
};

/// The entry of a name; "" is llama.cpp's for a file that names none.
/// returns null for a name that isn't known
gguf_split const* find_split(std::string_view pre);

/// What is wrong with a name that find_split doesn't know, in one line: the known name that is nearest, or why it can't be read.
std::string why_unknown_split(std::string_view pre);

/// tokenizer.json's `pre_tokenizer`.
nlohmann::ordered_json pre_tokenizer_of(gguf_split const& split);

/// The other way: the first entry that cuts as tokenizer.json's `pre_tokenizer` does and takes whole words as `whole_words` says; null if
/// there is none.
gguf_split const* recognise_split(nlohmann::ordered_json const& pre_tokenizer, bool whole_words);

}  // namespace kedge::llm
