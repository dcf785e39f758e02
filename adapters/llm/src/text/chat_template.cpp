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

json without_nulls(json const& message) {
  if (!message.is_object()) return message;
  json out = json::object();
  for (auto const& [key, v] : message.items())
    if (!v.is_null()) out[key] = v;
  return out;
}

/// Content in parts of text as one text; any other content as it is.
json with_plain_text(json const& message) {
  auto const content = message.is_object() ? message.find("content") : message.end();
  if (content == message.end() || !content->is_array() || content->empty()) return message;
  std::string whole;
  for (json const& part : *content) {
    bool const is_text = part.is_object() && part.contains("text") && part.at("text").is_string() && part.value("type", json("text")) == "text";
    if (!is_text) return message;
    whole += part.at("text").get_ref<std::string const&>();
  }
  json out = message;
  out["content"] = std::move(whole);
  return out;
}

}  // namespace

class chat_template::implementation {
 public:
  explicit implementation(template_sources const& named) {
    for (auto const& [name, source] : named) {
      if (named.size() == 1) {
        parsed_.push_back({name, text::jinja::parse_template(source), "", false, has_marks(source)});
        continue;
      }
      try {
        parsed_.push_back({name, text::jinja::parse_template(source), "", false, has_marks(source)});
      } catch (error const& problem) {
        parsed_.push_back({name, {}, problem.what()});
      }
    }
    for (one& t : parsed_)
      if (t.problem.empty()) t.reads_parts = reads_parts(t.body);
  }

  [[nodiscard]] marked_chat render(json const& messages, bool add_generation_prompt, json const& variables, bool marked) const {
    if (!messages.is_array()) throw error("chat template: the messages are not a list");
    if (!variables.is_object() && !variables.is_null()) throw error("chat template: the variables are not an object");
    if (json const* const wanted = given(variables, "chat_template"); wanted != nullptr && wanted->is_string() && find(wanted->get_ref<std::string const&>()) == nullptr) {
      auto const& source = wanted->get_ref<std::string const&>();
      auto const body = text::jinja::parse_template(source);
      return render(body, reads_parts(body), messages, add_generation_prompt, variables, marked && has_marks(source));
    }
    one const& chosen = choose(variables);
    if (!chosen.problem.empty()) throw error("the chat template " + in_quotes(chosen.name) + ": " + chosen.problem);
    return render(chosen.body, chosen.reads_parts, messages, add_generation_prompt, variables, marked && chosen.has_marks);
  }

 private:
  struct one {
    std::string name;
    text::jinja::block body;
    std::string problem;  ///< why it can't be used
    bool reads_parts = false;  ///< of contents
    bool has_marks = false;    ///< of what the assistant says
  };

  static json const* given(json const& variables, char const* key) {
    if (!variables.is_object()) return nullptr;
    auto const found = variables.find(key);
    return found == variables.end() || found->is_null() ? nullptr : &*found;
  }

  [[nodiscard]] one const* find(std::string_view name) const {
    for (one const& t : parsed_)
      if (t.name == name) return &t;
    return nullptr;
  }

  [[nodiscard]] one const& choose(json const& variables) const {
    if (json const* const wanted = given(variables, "chat_template"); wanted != nullptr && wanted->is_string()) return *find(wanted->get_ref<std::string const&>());
    if (given(variables, "tools") != nullptr)
      if (one const* const t = find("tool_use"); t != nullptr) return *t;
    if (one const* const t = find("default"); t != nullptr) return *t;
    std::string names;
    for (one const& t : parsed_) names += (names.empty() ? "" : ", ") + t.name;
    throw error("there are several chat templates and none of them is the default: " + names +
                "; choose one by \"chat_template\" in chat_template_kwargs, or save one as chat_template.jinja");
  }

  static marked_chat render(text::jinja::block const& body, bool parts, json const& messages, bool add_generation_prompt, json const& variables, bool marked) {
    using text::jinja::value;
    json seen = json::array();
    for (json const& message : messages) seen.push_back(with_reasoning_names(without_nulls(parts ? message : with_plain_text(message))));
    std::vector<std::pair<std::string, value>> names;
    try {
      names.emplace_back("messages", text::jinja::from_json(seen));
      names.emplace_back("add_generation_prompt", add_generation_prompt);
      for (auto const& [key, v] : variables.items())
        if (key != "messages" && key != "add_generation_prompt" && key != "chat_template") names.emplace_back(key, text::jinja::from_json(v));
    } catch (text::jinja::fault const& f) {
      throw error(std::string("chat template: its input holds ") + f.what());
    }
    for (char const* const name : {"tools", "documents"})
      if (!variables.contains(name)) names.emplace_back(name, nullptr);
    text::jinja::evaluator one(std::move(names));
    marked_chat out{one.render(body), {}, marked};
    try {
      if (marked) out.generated = one.generated();
    } catch (text::jinja::fault const& f) {
      throw error(std::string("chat template: ") + f.what());
    }
    return out;
  }

  /// Whether a template has a tag {% generation %}, however its blanks are cut.
  static bool has_marks(std::string_view source) {
    constexpr std::string_view word = "generation", blank = " \t\r\n";
    for (std::size_t at = source.find(word); at != std::string_view::npos; at = source.find(word, at + 1)) {
      std::string_view before = source.substr(0, at), after = source.substr(at + word.size());
      std::size_t const end = before.find_last_not_of(blank), begin = after.find_first_not_of(blank);
      if (end == std::string_view::npos || begin == std::string_view::npos) continue;
      before = before.substr(0, end + 1);
      after = after.substr(begin);
      if (before.ends_with('-') || before.ends_with('+')) before.remove_suffix(1);
      if (after.starts_with('-') || after.starts_with('+')) after.remove_prefix(1);
      if (before.ends_with("{%") && after.starts_with("%}")) return true;
    }
    return false;
  }

  /// Whether the template writes the text of a content in parts, and not the list as it is spelled.
  static bool reads_parts(text::jinja::block const& body) {
    constexpr char const* needle = "a text in parts";
    json const messages = json::array({{{"role", "user"}, {"content", json::array({{{"type", "text"}, {"text", needle}}})}}});
    try {
      std::string const out = render(body, true, messages, false, json::object(), false).text;
      return out.find(needle) != std::string::npos && out.find("'text'") == std::string::npos && out.find("\"text\"") == std::string::npos;
    } catch (error const&) {
      return false;
    }
  }

  std::vector<one> parsed_;
};

chat_template::chat_template(std::string_view source) : shared_(std::make_shared<implementation const>(template_sources{{"default", std::string(source)}})) {}
chat_template::chat_template(template_sources const& named) : shared_(std::make_shared<implementation const>(named)) {}

std::string chat_template::render(json const& messages, bool add_generation_prompt, json const& variables) const {
  return shared_->render(messages, add_generation_prompt, variables, false).text;
}

marked_chat chat_template::render_marked(json const& messages, json const& variables) const { return shared_->render(messages, false, variables, true); }

}  // namespace kedge::llm
