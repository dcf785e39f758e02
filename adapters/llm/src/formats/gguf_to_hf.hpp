// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>   // size_t
#include <cstdint>   // int64_t
#include <optional>  // optional
#include <string>    // string
#include <string_view>  // string_view
#include <vector>    // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/gguf.hpp>

namespace kedge::llm {

/// What a GGUF tensor is called in Hugging Face's model, and how its numbers differ there.
struct gguf_spelling {
  std::string name;
  std::int64_t paired_heads = 0;  ///< see tensor_source
  float shift = 0;
  bool experts = false;           ///< a stack of experts: each has a tensor of its own, with its number in place of * in the name; or, without a
                                  ///< *, all stacks of that name are one tensor, in the order of their names in GGUF
  bool turned = false;            ///< see expert_assembly
};

/// Nothing for tensors that Hugging Face's model does not have (tables of rotary frequencies).
/// throws  kedge::llm::error for a name that the architecture does not explain
std::optional<gguf_spelling> spell(gguf_file const& file, gguf_tensor const& tensor);

/// The row of a GGUF file that holds row `wanted` of a tensor of Hugging Face's. A rotary pair (i, i + d/2) of a head of size d lies in
/// neighbouring rows (2i, 2i + 1) of a GGUF file; Hugging Face keeps the first halves of all pairs together.
std::size_t stored_row(std::size_t wanted, std::size_t rows, std::size_t heads);

/// The other way: what a tensor of a family of Hugging Face is called in GGUF, and how it lies there.
struct gguf_place {
  std::string name;
  bool query = false, key = false;  ///< rows in rotary pairs, by the heads of queries or of keys
  float shift = 0;                  ///< added
};
/// throws  kedge::llm::error for a name that GGUF has none for
gguf_place place_of(std::string_view model_type, std::string_view tensor);

/// GGUF's name of a family, and whether it knows windows of keys.
struct gguf_architecture {
  std::string_view name;
  bool windows = false;
  bool multipliers = false;  ///< scales of embedding, residuals, scores and logits are metadata
};
/// throws  kedge::llm::error for a family that GGUF files can't be written of
gguf_architecture architecture_of(std::string_view model_type);

/// config.json as transformers 5 writes it.
/// throws  kedge::llm::error for an architecture that kedge does not know, or metadata that are missing
nlohmann::ordered_json config_from(gguf_file const& file);

/// throws  kedge::llm::error for a file that holds something else than a model: an adapter, a projector of pictures, statistics
void check_kind(gguf_file const& file);

/// Sentences about the metadata of architecture and vocabulary that nobody has read; ask when all has been.
/// throws  kedge::llm::error for one that changes what the model computes
std::vector<std::string> check_unread(gguf_file const& file);

struct gguf_vocabulary {
  nlohmann::ordered_json tokenizer, tokenizer_config, generation_config;
  std::string chat_template;
  std::vector<std::string> notes;  ///< what of the metadata is not used, or filled in
};

/// tokenizer.json and tokenizer_config.json that give llama.cpp's ids; null and {} for a file without a vocabulary. generation_config.json
/// names the tokens that end a text where there are others than eos_token_id; else null.
/// throws  kedge::llm::error for a vocabulary or a split that kedge does not know, or one that contradicts itself
gguf_vocabulary vocabulary_from(gguf_file const& file);

}  // namespace kedge::llm
