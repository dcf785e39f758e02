// SPDX-License-Identifier: Apache-2.0

// SHP (Ethayarajh et al. 2022): a post and two comments; labels is 1 where the first was preferred. Scores are the comments' votes.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return has_text(line, "history") && has_text(line, "human_ref_A") && has_text(line, "human_ref_B") && line.contains("labels")
             ? likeness::sure
             : likeness::none;
}

std::optional<double> votes(json const& line, char const* key) {
  return line.contains(key) ? std::optional(number_at(line, key)) : std::nullopt;
}

ranked_answers read(json const& line) {
  double const first = number_at(line, "labels");
  return {messages("user", text_at(line, "history")),
          {{messages("assistant", text_at(line, "human_ref_A")), first, votes(line, "score_A")},
           {messages("assistant", text_at(line, "human_ref_B")), 1 - first, votes(line, "score_B")}}};
}

}  // namespace

extern schema const shp{.format = data_format::shp, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
