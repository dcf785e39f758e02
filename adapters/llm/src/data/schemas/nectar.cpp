// SPDX-License-Identifier: Apache-2.0

// Nectar (Zhu et al. 2023): the prompt is a transcript that ends where the assistant begins; answers have ranks, 1 being the best.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return has_list_of(line, "answers", {"answer", "rank"}) && has_text(line, "prompt") ? likeness::choice : likeness::none;
}

ranked_answers read(json const& line) {
  std::string const prompt = text_at(line, "prompt");
  ranked_answers out{is_transcript(prompt) ? of_transcript(prompt) : messages("user", prompt), {}};
  for (json const& one : list_at(line, "answers"))
    out.answers.push_back({messages("assistant", text_at(one, "answer")), -number_at(one, "rank")});
  return out;
}

}  // namespace

extern schema const nectar{
    .format = data_format::nectar, .looks = looks, .read = read, .choice = "which of the ranked answers make pairs"};

}  // namespace kedge::llm::schemas
