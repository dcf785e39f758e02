// SPDX-License-Identifier: Apache-2.0

// Capybara (Daniele and Suphavadeeprasit 2023): turns, each with input and output.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return has_list_of(line, "conversation", {"input", "output"}) && !line.contains("chosen") ? likeness::sure : likeness::none;
}

ranked_answers read(json const& line) {
  json turns = json::array();
  for (json const& turn : list_at(line, "conversation")) {
    turns.push_back(message("user", text_at(turn, "input")));
    turns.push_back(message("assistant", text_at(turn, "output")));
  }
  return {nullptr, {{std::move(turns)}}};
}

}  // namespace

extern schema const capybara{.format = data_format::capybara, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
