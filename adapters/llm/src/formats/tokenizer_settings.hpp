// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>  // path
#include <map>         // map

#include <nlohmann/json.hpp>

#include "added_token_list.hpp"
#include "tokenizer_class.hpp"

namespace kedge::llm {

/// tokenizer_config.json with the files that older versions of transformers wrote beside it.
struct tokenizer_settings {
  nlohmann::ordered_json config;               ///< special_tokens_map.json put in, where tokenizer_config.json has no added_tokens_decoder
  std::map<std::int64_t, token_entry> listed;  ///< by id: added_tokens_decoder, or else added_tokens.json and the list of tokenizer.json
};

/// tokenizer_json: null where there is none
/// throws  kedge::llm::error naming the file and key of a token that is none
tokenizer_settings read_tokenizer_settings(std::filesystem::path const& folder, nlohmann::ordered_json const& tokenizer_json);

/// Adds to a tokenizer what its settings list and name, and frames texts with bos_token and eos_token where the settings ask for it or the
/// tokenizer has no post-processor, as the constructor of the class does.
/// from_file  there is a tokenizer.json: add_bos_token and add_eos_token then mean nothing
void apply_settings(tokenizer_class kind, tokenizer_settings const& settings, bool from_file, nlohmann::ordered_json& tokenizer_json);

}  // namespace kedge::llm
