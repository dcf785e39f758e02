// SPDX-License-Identifier: Apache-2.0
#include "kedge/llm/text/chat_template.hpp"

#include <utility>  // move

#include <nlohmann/json.hpp>

#include "kedge/llm/base/error.hpp"
#include "template/evaluator.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

/// Fills `reasoning_content` and `thinking` of a message from each other, as transformers does before it renders.
json with_reasoning_names(json const& message) {
  if (!message.is_object()) throw error("chat template: a message is not an object: " + in_quotes(message.dump(-1, ' ', false, json::error_handler_t::replace)));
  for (char const* const name : {"reasoning_content", "thinking", "reasoning"}) {
    auto const found = message.find(name);
    if (found == message.end() || found->is_null()) continue;
    json const reasoning = *found;
    json out = json::object();
    out["thinking"] = reasoning;
    for (auto const& [key, v] : message.items()) out[key] = v;
    out["reasoning_content"] = reasoning;
    return out;
  }
  return message;
}

}  // namespace

class chat_template::implementation {
 public:
  explicit implementation(std::string_view source) : body_(text::jinja::parse_template(source)) {}

  [[nodiscard]] std::string render(json const& messages, bool add_generation_prompt, json const& variables) const {
    using text::jinja::value;
    if (!messages.is_array()) throw error("chat template: the messages are not a list");
    if (!variables.is_object() && !variables.is_null()) throw error("chat template: the variables are not an object");
    json aliased = json::array();
    for (json const& message : messages) aliased.push_back(with_reasoning_names(message));
    std::vector<std::pair<std::string, value>> names;
    try {
      names.emplace_back("messages", text::jinja::from_json(aliased));
      names.emplace_back("add_generation_prompt", add_generation_prompt);
      for (auto const& [key, v] : variables.items())
        if (key != "messages" && key != "add_generation_prompt") names.emplace_back(key, text::jinja::from_json(v));
    } catch (text::jinja::fault const& f) {
      throw error(std::string("chat template: its input holds ") + f.what());
    }
    for (char const* const name : {"tools", "documents"})
      if (!variables.contains(name)) names.emplace_back(name, nullptr);
    return text::jinja::evaluator(std::move(names)).render(body_);
  }

 private:
  text::jinja::block body_;
};

chat_template::chat_template(std::string_view source) : shared_(std::make_shared<implementation const>(source)) {}

std::string chat_template::render(json const& messages, bool add_generation_prompt, json const& variables) const {
  return shared_->render(messages, add_generation_prompt, variables);
}

}  // namespace kedge::llm
