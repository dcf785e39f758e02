// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>   // string
#include <utility>  // move

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/files/error.hpp>

namespace kedge::llm {

/// Takes a text or a list of messages out of a line's object.
/// throws  kedge::llm::error if the key is missing, or holds anything else, or an empty list
inline nlohmann::ordered_json take_field(nlohmann::ordered_json& object, char const* key) {
  auto const found = object.find(key);
  if (found == object.end()) throw error(std::string{"the key '"} + key + "' is missing");
  check_text_or_messages(*found, key);
  if (found->empty()) throw error(std::string{key} + " is empty");
  nlohmann::ordered_json out = std::move(*found);
  object.erase(found);
  return out;
}

}  // namespace kedge::llm
