// SPDX-License-Identifier: Apache-2.0

// LMArena's votes (Zheng et al. 2023): two conversations and the winner, a tie being none.

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return has_list_of(line, "conversation_a", {"role"}) && has_list_of(line, "conversation_b", {"role"}) &&
                 has_text(line, "winner")
             ? likeness::sure
             : likeness::none;
}

ranked_answers read(json const& line) {
  std::string const winner = text_at(line, "winner");
  bool const a = winner == "model_a", b = winner == "model_b";
  if (!a && !b && winner.find("tie") == std::string::npos && winner.find("bad") == std::string::npos)
    throw error("winner is neither model_a, model_b nor a tie, but '" + winner + "'");
  return {nullptr, {{list_at(line, "conversation_a"), a ? 1.0 : 0.0}, {list_at(line, "conversation_b"), b ? 1.0 : 0.0}}};
}

}  // namespace

extern schema const arena{.format = data_format::arena, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
