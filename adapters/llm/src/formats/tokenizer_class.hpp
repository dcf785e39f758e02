// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>       // array
#include <functional>  // function

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// The classes of transformers 5.23 whose tokenizers kedge builds. `backend` takes tokenizer.json as it stands; the others take its
/// vocabulary, merges and post-processor alone, and put their own normalizer, pre-tokenizer and decoder around them.
enum class tokenizer_class { backend, llama, code_llama, gemma, gpt2, codegen, gpt_neox, qwen2, qwen3_5, cohere };

constexpr auto names(tokenizer_class) {
  return std::array<named<tokenizer_class>, 14>{{{tokenizer_class::backend, "TokenizersBackend"},
                                                 {tokenizer_class::backend, "PreTrainedTokenizerFast"},
                                                 {tokenizer_class::backend, "PreTrainedTokenizer"},
                                                 {tokenizer_class::backend, "PythonBackend"},
                                                 {tokenizer_class::backend, "BloomTokenizer"},
                                                 {tokenizer_class::llama, "LlamaTokenizer"},
                                                 {tokenizer_class::code_llama, "CodeLlamaTokenizer"},
                                                 {tokenizer_class::gemma, "GemmaTokenizer"},
                                                 {tokenizer_class::gpt2, "GPT2Tokenizer"},
                                                 {tokenizer_class::codegen, "CodeGenTokenizer"},
                                                 {tokenizer_class::gpt_neox, "GPTNeoXTokenizer"},
                                                 {tokenizer_class::qwen2, "Qwen2Tokenizer"},
                                                 {tokenizer_class::qwen3_5, "Qwen3_5Tokenizer"},
                                                 {tokenizer_class::cohere, "CohereTokenizer"}}};
}

/// The class that AutoTokenizer chooses for a folder: what tokenizer_config.json names, else config.json; but some types of models
/// have a class of their own that counts more, and a LlamaTokenizer over bytes is read as it stands.
/// spells_byte_level  whether the text of tokenizer.json holds "ByteLevel" in quotes; asked only where it matters
/// throws  kedge::llm::error naming a class that transformers has and kedge does not build, or code of the folder's own
tokenizer_class class_of_folder(nlohmann::ordered_json const& config, nlohmann::ordered_json const& tokenizer_config,
                                std::function<bool()> const& spells_byte_level);

}  // namespace kedge::llm
