// SPDX-License-Identifier: Apache-2.0
#include "fields.hpp"

#include <algorithm>  // equal
#include <cmath>    // isfinite, isnan
#include <iterator>  // next
#include <limits>   // numeric_limits
#include <string>   // string
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/conversation.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

json message(char const* role, json content) { return {{"role", role}, {"content", std::move(content)}}; }

void become_messages(json& value, char const* role) {
  if (value.is_string()) value = json::array({message(role, std::move(value))});
}

}  // namespace

void drop_nulls(json& value) {
  if (value.is_object())
    for (auto member = value.begin(); member != value.end();)
      member = member->is_null() ? value.erase(member) : std::next(member);
  if (value.is_structured())
    for (json& inner : value) drop_nulls(inner);
}

bool same_content(json const& a, json const& b) {
  if (a.type() != b.type() || !a.is_structured()) return a == b;
  if (a.size() != b.size()) return false;
  if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), same_content);
  for (auto const& [key, value] : a.items()) {
    auto const other = b.find(key);
    if (other == b.end() || !same_content(value, *other)) return false;
  }
  return true;
}

void refuse_media(json const& object) {
  for (char const* const key : {"images", "image", "videos", "video", "audios", "audio"}) {
    auto const found = object.find(key);
    if (found != object.end() && !found->is_null() && !(found->is_structured() && found->empty()))
      throw error(std::string("the line has ") + key + ", which a model of text does not see; drop the key, or the line");
  }
}

json take_field(json& object, char const* key) {
  auto const found = object.find(key);
  if (found == object.end()) throw error(std::string{"the key '"} + key + "' is missing");
  check_text_or_messages(*found, key);
  if (found->empty()) throw error(std::string{key} + " is empty");
  json out = std::move(*found);
  object.erase(found);
  return out;
}

bool repeats(json const& prompt, json const& completion) {
  constexpr std::size_t telling = 4;  // bytes: a word that both begin with is none
  if (prompt.is_string() != completion.is_string() || prompt.empty() || completion.empty()) return false;
  if (prompt.is_array()) return same_content(prompt.front(), completion.front());
  auto const& text = prompt.get_ref<std::string const&>();
  return text.size() >= telling && completion.get_ref<std::string const&>().starts_with(text);
}

bool ends_with_other(json const& completion) {
  return completion.is_array() && !completion.empty() && completion.back().value("role", "assistant") != "assistant";
}

double number_or_nan(json const& object, char const* key) {
  auto const found = object.find(key);
  if (found == object.end() || found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (found->is_number() && std::isnan(found->get<double>())) return std::numeric_limits<double>::quiet_NaN();
  if (!found->is_number() || !std::isfinite(found->get<double>())) throw error(std::string{key} + " is not a finite number");
  return found->get<double>();
}

void take_system(json& object, json& prompt, std::initializer_list<json*> completions) {
  auto const found = object.find("system");
  if (found == object.end()) return;
  if (!found->is_string() && !found->is_null()) throw error("system is not a text");
  json const system = std::move(*found);
  object.erase(found);
  become_messages(prompt, "user");
  for (json* const completion : completions) become_messages(*completion, "assistant");
  if (system.is_null() || system == "") return;
  if (!prompt.empty() && prompt.front().at("role") == "system")
    throw error("there is a key 'system', but the prompt has a system message already");
  prompt.insert(prompt.begin(), message("system", system));
}

}  // namespace kedge::llm
