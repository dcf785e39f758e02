// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>     // int32_t, int64_t
#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include "tokenizer_class.hpp"
#include "tokenizer_settings.hpp"

namespace kedge::llm {

/// What tokenizer.model holds of a SentencePiece model: sentencepiece_model.proto, in the wire format of protocol buffers.
struct sentencepiece_model {
  enum class kind { unigram = 1, bpe = 2, word = 3, character = 4 };
  enum class piece_kind { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

  struct piece {
    std::string text;
    float score = 0;
    piece_kind type = piece_kind::normal;
  };

  std::vector<piece> pieces;
  kind type = kind::unigram;
  bool byte_fallback = false;
  std::int64_t unk_id = 0, bos_id = 1, eos_id = 2;
  std::string unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>";
  std::string precompiled_charsmap;  ///< bytes
};

/// throws  kedge::llm::error naming the file if it is no such model
sentencepiece_model read_sentencepiece(std::filesystem::path const& file);

/// tokenizer.json of a folder that has tokenizer.model, as transformers 5.23 converts it for a class; the model's control and user-defined pieces
/// become further tokens of the settings.
/// throws  kedge::llm::error for a model that transformers does not convert either, or a class that needs another kind
nlohmann::ordered_json from_sentencepiece(std::filesystem::path const& file, tokenizer_class kind, tokenizer_settings& settings);

}  // namespace kedge::llm
