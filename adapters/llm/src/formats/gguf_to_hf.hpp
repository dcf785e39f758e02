// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>   // int64_t
#include <optional>  // optional
#include <string>    // string
#include <vector>    // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/gguf.hpp>

namespace kedge::llm {

/// What a GGUF tensor is called in Hugging Face's model, and how its numbers differ there.
struct gguf_spelling {
  std::string name;
  std::int64_t paired_heads = 0;  ///< see tensor_source
  float shift = 0;
};

/// Nothing for tensors that Hugging Face's model does not have (tables of rotary frequencies).
/// throws  kedge::llm::error for a name that the architecture does not explain
std::optional<gguf_spelling> spell(gguf_file const& file, gguf_tensor const& tensor);

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
