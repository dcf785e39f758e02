// SPDX-License-Identifier: Apache-2.0

// HelpSteer2 (Wang et al. 2024): a rated response a line, those of a prompt in a row, compared by helpfulness; or two responses a line, the
// second of which is better where preference_strength is above 0. Prompts of several turns mark them by <extra_id_1>.

#include <string_view>

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  if (!has_text(line, "prompt")) return likeness::none;
  if (has_text(line, "response_1") && has_text(line, "response_2") && line.contains("preference_strength"))
    return likeness::sure;
  return has_text(line, "response") && line.contains("helpfulness") ? likeness::choice : likeness::none;
}

json conversation(std::string const& prompt) {
  constexpr std::string_view mark = "\n<extra_id_1>";
  json turns = json::array();
  char const* role = "user";
  for (std::size_t begin = 0;;) {
    std::size_t const end = prompt.find(mark, begin);
    turns.push_back(message(role, prompt.substr(begin, end - begin)));
    if (end == std::string::npos) return turns;
    std::size_t const name = end + mark.size(), line_end = prompt.find('\n', name);
    std::string const speaker = prompt.substr(name, line_end - name);
    if (line_end == std::string::npos || (speaker != "User" && speaker != "Assistant"))
      throw error("the prompt has a turn of neither User nor Assistant");
    role = speaker == "User" ? "user" : "assistant";
    begin = line_end + 1;
  }
}

ranked_answers read(json const& line) {
  ranked_answers out{conversation(text_at(line, "prompt")), {}};
  if (line.contains("response_1")) {
    double const strength = number_at(line, "preference_strength");
    out.answers.push_back({messages("assistant", text_at(line, "response_1")), -strength});
    out.answers.push_back({messages("assistant", text_at(line, "response_2")), strength});
    return out;
  }
  double const helpful = number_at(line, "helpfulness");
  out.answers.push_back({messages("assistant", text_at(line, "response")), helpful, helpful});
  return out;
}

}  // namespace

extern schema const helpsteer2{.format = data_format::helpsteer2,
                               .looks = looks,
                               .read = read,
                               .joins = true,
                               .choice = "that responses are compared by their helpfulness"};

}  // namespace kedge::llm::schemas
