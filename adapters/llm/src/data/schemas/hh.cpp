// SPDX-License-Identifier: Apache-2.0

// HH-RLHF (Bai et al. 2022): chosen and rejected are transcripts of a whole conversation.

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  bool const transcripts =
      line.contains("chosen") && is_transcript(line["chosen"]) && line.contains("rejected") && is_transcript(line["rejected"]);
  return transcripts && !line.contains("prompt") ? likeness::also_plain : likeness::none;
}

ranked_answers read(json const& line) {
  return {nullptr, {{of_transcript(text_at(line, "chosen")), 1}, {of_transcript(text_at(line, "rejected")), 0}}};
}

}  // namespace

extern schema const hh{.format = data_format::hh, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
