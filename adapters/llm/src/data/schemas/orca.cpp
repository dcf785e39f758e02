// SPDX-License-Identifier: Apache-2.0

// Pairs after OpenOrca, as Intel and Argilla publish them: a system text, which may be empty, a question, and two texts.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

constexpr char const* questions[] = {"question", "input", "instruction"};

likeness looks(json const& line) {
  if (line.contains("prompt") || !has_text(line, "chosen") || !has_text(line, "rejected")) return likeness::none;
  for (char const* const key : questions)
    if (has_text(line, key)) return line.contains("system") ? likeness::sure : likeness::choice;
  return likeness::none;
}

// LLaMA-Factory's pairs have instruction and input, which is then what the instruction is about.
std::string question_of(json const& line) {
  if (has_text(line, "instruction")) {
    std::string const about = line.value("input", "");
    return text_at(line, "instruction") + (about.empty() ? "" : "\n" + about);
  }
  return text_at(line, has_text(line, "input") ? "input" : line.contains("prompt") ? "prompt" : "question");
}

ranked_answers read(json const& line) {
  ranked_answers out{json::array(), {}};
  if (has_text(line, "system") && line["system"] != "") out.prompt.push_back(message("system", line["system"]));
  out.prompt.push_back(message("user", question_of(line)));
  out.answers.push_back({messages("assistant", text_at(line, "chosen")), 1});
  out.answers.push_back({messages("assistant", text_at(line, "rejected")), 0});
  return out;
}

}  // namespace

extern schema const orca{.format = data_format::orca,
                         .looks = looks,
                         .read = read,
                         .choice = "that the question makes a conversation with the answers"};

}  // namespace kedge::llm::schemas
