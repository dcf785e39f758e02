// SPDX-License-Identifier: Apache-2.0

// Alpaca (Taori et al. 2023): an instruction, which an input may go with, and the output.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  for (char const* const own : {"text", "messages", "completion", "prompt", "chosen"})
    if (line.contains(own)) return likeness::none;
  return has_text(line, "instruction") && has_text(line, "output") ? likeness::sure : likeness::none;
}

ranked_answers read(json const& line) {
  std::string const about = line.contains("input") ? text_at(line, "input") : "";
  json prompt = json::array();
  if (has_text(line, "system") && line["system"] != "") prompt.push_back(message("system", line["system"]));
  prompt.push_back(message("user", text_at(line, "instruction") + (about.empty() ? "" : "\n" + about)));
  return {std::move(prompt), {{messages("assistant", text_at(line, "output"))}}};
}

}  // namespace

extern schema const alpaca{.format = data_format::alpaca, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
