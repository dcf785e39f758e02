// SPDX-License-Identifier: Apache-2.0
#include "schema.hpp"

#include <array>        // array
#include <string_view>  // string_view
#include <utility>      // move

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

json const& value_at(json const& line, char const* key) {
  auto const found = line.find(key);
  if (found == line.end()) throw error(std::string("the key '") + key + "' is missing");
  return *found;
}

// Where the next turn of a transcript begins, and what it is announced by; the end of the text if there is none.
struct turn_mark {
  std::size_t at;
  std::string_view mark;
  char const* role;
};

turn_mark next_turn(std::string_view text, std::size_t from) {
  turn_mark next{text.size(), "", ""};
  for (auto const& [mark, role] :
       {std::pair{std::string_view("\n\nHuman:"), "user"}, {std::string_view("\n\nAssistant:"), "assistant"}})
    if (std::size_t const at = text.find(mark, from); at < next.at) next = {at, mark, role};
  return next;
}

}  // namespace

std::span<schema const* const> all_schemas() {
  static constexpr std::array all{&schemas::ultrafeedback, &schemas::orca,   &schemas::hh,       &schemas::nectar,
                                  &schemas::helpsteer2,    &schemas::shp,    &schemas::pku,      &schemas::arena,
                                  &schemas::sharegpt,      &schemas::alpaca, &schemas::capybara, &schemas::summaries};
  return all;
}

std::string text_at(json const& line, char const* key) {
  json const& value = value_at(line, key);
  if (!value.is_string()) throw error(std::string(key) + " is no text");
  return value.get<std::string>();
}

double number_at(json const& line, char const* key) {
  json const& value = value_at(line, key);
  if (!value.is_number()) throw error(std::string(key) + " is no number");
  return value.get<double>();
}

json const& list_at(json const& line, char const* key) {
  json const& value = value_at(line, key);
  if (!value.is_array() || value.empty()) throw error(std::string(key) + " is no list, or an empty one");
  return value;
}

bool has_text(json const& line, char const* key) {
  auto const found = line.find(key);
  return found != line.end() && found->is_string();
}

bool has_list_of(json const& line, char const* key, std::initializer_list<char const*> keys) {
  auto const found = line.find(key);
  if (found == line.end() || !found->is_array() || found->empty() || !found->front().is_object()) return false;
  for (char const* const inner : keys)
    if (!found->front().contains(inner)) return false;
  return true;
}

json message(char const* role, json content) { return {{"role", role}, {"content", std::move(content)}}; }

json messages(char const* role, json content) { return json::array({message(role, std::move(content))}); }

json of_transcript(std::string const& text) {
  json turns = json::array();
  turn_mark here = next_turn(text, 0);
  if (here.at != 0 || here.mark.empty())
    throw error("the text is no transcript: it does not begin with \"\\n\\nHuman:\" or \"\\n\\nAssistant:\"");
  while (here.at < text.size()) {
    std::size_t begin = here.at + here.mark.size();
    turn_mark const next = next_turn(text, begin);
    if (begin < next.at && text[begin] == ' ') ++begin;
    std::string content = text.substr(begin, next.at - begin);
    bool const opens_answer = content.empty() && next.at == text.size() && std::string_view(here.role) == "assistant";
    if (!opens_answer) turns.push_back(message(here.role, std::move(content)));
    here = next;
  }
  return turns;
}

bool is_transcript(json const& value) {
  return value.is_string() && value.get_ref<std::string const&>().starts_with("\n\nHuman:");
}

}  // namespace kedge::llm
