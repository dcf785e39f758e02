// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // any_of, mismatch, min, upper_bound
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "token_ends.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

conversation_encoder::conversation_encoder(tokenizer const& words, chat_template const* templating, json variables)
    : words_(words), templating_(templating), variables_(std::move(variables)) {}

std::vector<std::int32_t> conversation_encoder::encode(json const& value, bool add_generation_prompt, json const& extra) const {
  if (value.is_string()) return words_.encode(value.get_ref<std::string const&>(), true);
  if (templating_ == nullptr)
    throw error("the example is a list of messages, but the model has no chat template; use a chat model, or plain text");
  std::string const text = templating_->render(value, add_generation_prompt, variables_for(extra));
  return words_.encode(text, false);
}

json conversation_encoder::variables_for(json const& extra) const {
  json out = variables_;
  if (!extra.is_object()) return out;
  if (auto const tools = extra.find("tools"); tools != extra.end() && !tools->is_null())
    out["tools"] = tools->is_string() ? parse_json(tools->get_ref<std::string const&>(), "tools") : *tools;
  if (auto const more = extra.find("chat_template_kwargs"); more != extra.end() && more->is_object())
    for (auto const& [name, value] : more->items()) out[name] = value;
  return out;
}

namespace {

using runs = std::vector<std::pair<std::size_t, std::size_t>>;

// What each message of the assistant's adds to the conversation before it with its generation prompt, as bytes of the whole.
runs runs_by_turns(chat_template const& templating, json const& messages, json const& variables, std::string const& whole) {
  runs found;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].value("role", "") != "assistant") continue;
    json so_far(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i));
    std::string const before = so_far.empty() ? "" : templating.render(so_far, true, variables);
    so_far.push_back(messages[i]);
    std::string const after = templating.render(so_far, false, variables);
    if (!after.starts_with(before) || !whole.starts_with(after))
      throw error("the chat template writes a conversation that goes on otherwise than one that ends, so that the assistant's turns can't be told apart; "
                  "give it {% generation %} blocks, or leave out --assistant_only_loss");
    if (before.size() < after.size()) found.emplace_back(before.size(), after.size());
  }
  return found;
}

// The tokens from the one that has the first byte of a run to the one that has its last character.
runs tokens_of(runs const& bytes, std::string const& text, std::vector<std::size_t> const& ends) {
  auto const token_at = [&](std::size_t byte) { return static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), byte) - ends.begin()); };
  runs found;
  for (auto [begin, end] : bytes) {
    if (begin == end) continue;
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xc0U) == 0x80U) --last;
    found.emplace_back(token_at(begin), std::min(token_at(last) + 1, ends.size()));
  }
  return found;
}

}  // namespace

conversation_encoder::marked_ids conversation_encoder::encode_marked(json const& messages, json const& extra) const {
  if (templating_ == nullptr)
    throw error("the example is a list of messages, but the model has no chat template; use a chat model, or plain text");
  json const variables = variables_for(extra);
  marked_chat const chat = templating_->render_marked(messages, variables);
  marked_ids out{words_.encode(chat.text, false), {}};
  runs const bytes = chat.has_marks ? chat.generated : runs_by_turns(*templating_, messages, variables, chat.text);
  out.of_assistant = tokens_of(bytes, chat.text, token_ends(words_, out.ids, chat.text));
  return out;
}

bool conversation_encoder::loses_thinking(json const& prompt, json const& completion, json const& extra) const {
  if (!completion.is_array() || templating_ == nullptr) return false;
  std::vector<std::string> thoughts;
  for (json const& message : completion) {
    std::string const content = message.contains("content") && message["content"].is_string() ? message["content"].get<std::string>() : "";
    std::size_t const end = content.find("</think>"), begin = content.find("<think>");
    if (end != std::string::npos) thoughts.push_back(content.substr(begin < end ? begin + 7 : 0, end - (begin < end ? begin + 7 : 0)));
    for (char const* const key : {"reasoning_content", "thinking", "reasoning"})
      if (message.contains(key) && message[key].is_string()) thoughts.push_back(message[key].get<std::string>());
  }
  if (thoughts.empty()) return false;
  std::string const text = templating_->render(prompt.is_null() ? completion : joined(prompt, completion), false, variables_for(extra));
  return std::any_of(thoughts.begin(), thoughts.end(), [&](std::string const& one) {
    std::size_t const begin = one.find_first_not_of(" \t\r\n");
    return begin != std::string::npos && text.find(one.substr(begin, one.find_last_not_of(" \t\r\n") + 1 - begin)) == std::string::npos;
  });
}

json conversation_encoder::with_end(json const& completion) const {
  if (!completion.is_string()) return completion;
  auto const end = variables_.find("eos_token");
  if (end == variables_.end() || !end->is_string())
    throw error(
        "the example is plain text, but the model's tokenizer names no end-of-sequence token (eos_token); add it to "
        "tokenizer_config.json");
  auto const& text = completion.get_ref<std::string const&>();
  auto const& mark = end->get_ref<std::string const&>();
  return text.ends_with(mark) ? json(text) : json(text + mark);
}

json joined(json const& first, json const& second) {
  if (first.is_string()) return first.get_ref<std::string const&>() + second.get_ref<std::string const&>();
  json out = first;
  for (auto const& message : second) out.push_back(message);
  return out;
}

std::size_t common_prefix(std::span<std::int32_t const> a, std::span<std::int32_t const> b) {
  auto const length = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + length, b.begin()).first - a.begin());
}

namespace {

/// throws  kedge::llm::error for a part of a message's content that is no text
void check_parts(json const& content, std::string const& what) {
  for (json const& part : content) {
    if (!part.is_object()) throw error(what + " has a message whose content is a list of something that is no part");
    json const type = part.value("type", json("text"));
    if (type != "text" || !part.contains("text") || !part.at("text").is_string())
      throw error(what + " has a message with a part of type " + type.dump() + "; kedge trains on text alone");
  }
}

void check_message(json const& message, std::string const& what) {
  if (message.is_object() && message.contains("from") && message.contains("value"))
    throw error(what + " has messages with 'from' and 'value'; kedge reads 'role' (user, assistant, system, tool) and 'content'");
  if (!message.is_object() || !message.contains("role") || !message.at("role").is_string())
    throw error(what + " holds something that is no message with a role");
  if (message.contains("content") && message.at("content").is_array()) check_parts(message.at("content"), what);
}

}  // namespace

void check_text_or_messages(json const& value, char const* what) {
  if (value.is_string()) return;
  if (value.is_object() && value.size() == 1 && value.contains("bytes")) throw error(std::string{what} + " holds bytes that are no text");
  if (value.is_object()) throw error(std::string{what} + " is one object; kedge reads a text, or a list of messages, each with role and content");
  if (!value.is_array()) throw error(std::string{what} + " is neither a text nor a list of messages");
  for (auto const& message : value) check_message(message, what);
}

}  // namespace kedge::llm
