// SPDX-License-Identifier: Apache-2.0

// ShareGPT's messages, {"from", "value"}, under any key of TRL's; and LLaMA-Factory's and axolotl's pairs of them: conversations (or messages) as
// the prompt, chosen and rejected one message each.

#include <array>
#include <utility>

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

// Names of speakers as ShareGPT, LLaMA-Factory and Vicuna write them.
constexpr std::array speakers{
    std::pair{"human", "user"},          std::pair{"user", "user"},         std::pair{"gpt", "assistant"},
    std::pair{"assistant", "assistant"}, std::pair{"chatgpt", "assistant"}, std::pair{"bing", "assistant"},
    std::pair{"bard", "assistant"},      std::pair{"model", "assistant"},   std::pair{"system", "system"},
    std::pair{"tool", "tool"},           std::pair{"observation", "tool"},  std::pair{"function_response", "tool"}};

json of_message(json const& one) {
  if (one.is_object() && one.contains("role")) return one;
  std::string const from = text_at(one, "from");
  for (auto const& [name, role] : speakers)
    if (from == name) return message(role, text_at(one, "value"));
  throw error("a message is from '" + from + "', who is neither human, gpt, system nor tool; give it role and content");
}

json of_messages(json const& value, char const* what) {
  if (value.is_object()) return json::array({of_message(value)});
  if (!value.is_array() || value.empty()) throw error(std::string(what) + " is no list of messages");
  json out = json::array();
  for (json const& one : value) out.push_back(of_message(one));
  return out;
}

char const* conversation_key(json const& line) {
  for (char const* const key : {"conversations", "conversation", "prompt", "messages"})
    if (line.contains(key) && line[key].is_array()) return key;
  return nullptr;
}

bool one_message(json const& line, char const* key) {
  return line.contains(key) && line[key].is_object() && (line[key].contains("role") || line[key].contains("from"));
}

likeness looks(json const& line) {
  if (has_list_of(line, "conversations", {"from", "value"}) || has_list_of(line, "conversation", {"from", "value"}) ||
      has_list_of(line, "messages", {"from", "value"}) || has_list_of(line, "chosen", {"from", "value"}) ||
      has_list_of(line, "prompt", {"from", "value"}))
    return likeness::sure;
  if (conversation_key(line) != nullptr && one_message(line, "chosen") && one_message(line, "rejected")) return likeness::sure;
  return has_list_of(line, "conversations", {"role", "content"}) && !line.contains("messages") ? likeness::sure
                                                                                               : likeness::none;
}

ranked_answers read(json const& line) {
  ranked_answers out;
  char const* const key = conversation_key(line);
  bool const pair = line.contains("chosen") && line.contains("rejected");
  if (!pair && key == nullptr) throw error("the key 'conversations' is missing");
  if (key != nullptr) out.prompt = of_messages(line[key], key);
  if (has_text(line, "system") && line["system"] != "" && !out.prompt.is_null() &&
      out.prompt.front().value("role", "") != "system")
    out.prompt.insert(out.prompt.begin(), message("system", line["system"]));
  if (pair) {
    out.answers.push_back({of_messages(line["chosen"], "chosen"), 1});
    out.answers.push_back({of_messages(line["rejected"], "rejected"), 0});
  } else if (line.contains("completion")) {
    out.answers.push_back({of_messages(line["completion"], "completion")});
  } else {
    out.answers.push_back({std::exchange(out.prompt, nullptr)});
  }
  return out;
}

}  // namespace

extern schema const sharegpt{.format = data_format::sharegpt, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
