// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t
#include <cstdint>  // int32_t
#include <span>     // span
#include <string>   // string
#include <utility>  // pair
#include <vector>   // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/text/tokenizer.hpp>

namespace kedge::llm {

class chat_template;

/// Turns a text, or a list of messages, into token ids. What the encoders of pairs, demonstrations and prompts share.
class conversation_encoder {
 public:
  /// `templating` may be null where all data are plain text, and has to outlive the encoder.
  conversation_encoder(tokenizer const& words, chat_template const* templating, nlohmann::ordered_json variables);

  /// Messages: rendered by the template and encoded as they stand. Text: encoded with the tokenizer's special tokens.
  /// `extra` may hold "tools" (a list, or one written as a JSON text) and "chat_template_kwargs" for the template.
  /// throws  kedge::llm::error if there is no template for messages, or it raises an error
  std::vector<std::int32_t> encode(nlohmann::ordered_json const& text_or_messages, bool add_generation_prompt,
                                   nlohmann::ordered_json const& extra) const;

  /// A conversation whole, and which of its tokens are the assistant's, as transformers' return_assistant_tokens_mask has it where the
  /// template marks them, and else by turns.
  /// throws  kedge::llm::error as encode does; and where neither way tells them apart
  struct marked_ids {
    std::vector<std::int32_t> ids;
    std::vector<std::pair<std::size_t, std::size_t>> of_assistant;  ///< [begin, end) each, in order
  };
  marked_ids encode_marked(nlohmann::ordered_json const& messages, nlohmann::ordered_json const& extra) const;

  /// Whether the template leaves out some of the thinking that the completion has.
  bool loses_thinking(nlohmann::ordered_json const& prompt, nlohmann::ordered_json const& completion,
                      nlohmann::ordered_json const& extra) const;

  /// The text with the end-of-sequence token behind it, unless it is there already; messages are returned as they are.
  /// throws  kedge::llm::error if the variables name no eos_token
  nlohmann::ordered_json with_end(nlohmann::ordered_json const& completion) const;

 private:
  nlohmann::ordered_json variables_for(nlohmann::ordered_json const& extra) const;

  tokenizer words_;
  chat_template const* templating_;
  nlohmann::ordered_json variables_;
};

/// A text continued by a text, or messages by messages.
nlohmann::ordered_json joined(nlohmann::ordered_json const& first, nlohmann::ordered_json const& second);

/// How many leading tokens two sequences have in common.
std::size_t common_prefix(std::span<std::int32_t const> a, std::span<std::int32_t const> b);

/// throws  kedge::llm::error unless the value is a text or a list of messages, each with a role; `what` names it
void check_text_or_messages(nlohmann::ordered_json const& value, char const* what);

}  // namespace kedge::llm
