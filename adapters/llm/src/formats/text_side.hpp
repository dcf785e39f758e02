// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/text/chat_template.hpp>

namespace kedge::llm {

/// What a folder says about text, gathered from all the files that transformers 5.23 reads.
struct text_side {
  nlohmann::ordered_json tokenizer;         ///< as AutoTokenizer would save it; null if there is none or it can't be built
  std::string problem;                      ///< why it can't be built, or that there is none
  nlohmann::ordered_json tokenizer_config;  ///< {} if there is none
  template_sources chat_templates;
  std::vector<std::string> notes;           ///< what is not used, or not as it stands: a line each
};

/// Reads tokenizer.json, or else tokenizer.model, or vocab.json with merges.txt; tokenizer_config.json, special_tokens_map.json and
/// added_tokens.json; chat_template.jinja and additional_chat_templates/NAME.jinja.
/// config  config.json, {} for an adapter's folder
/// throws  kedge::llm::error for a file that is no JSON, or no UTF-8
text_side read_text_side(std::filesystem::path const& folder, nlohmann::ordered_json const& config);

/// The chat templates of a folder: those of the files where there is one, else those of tokenizer_config.json, which may be a source, or a list
/// or an object of named ones.
/// throws  kedge::llm::error for an entry of another kind
template_sources read_chat_templates(std::filesystem::path const& folder, nlohmann::ordered_json const& tokenizer_config);

}  // namespace kedge::llm
