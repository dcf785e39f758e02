// SPDX-License-Identifier: Apache-2.0

// PKU-SafeRLHF (Ji et al. 2024): two responses, and which of them is the better, that is the more helpful, one. What is said of safety is not
// read.

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return has_text(line, "prompt") && has_text(line, "response_0") && has_text(line, "response_1") &&
                 line.contains("better_response_id")
             ? likeness::sure
             : likeness::none;
}

ranked_answers read(json const& line) {
  double const better = number_at(line, "better_response_id");
  if (better != 0 && better != 1) throw error("better_response_id is neither 0 nor 1");
  return {messages("user", text_at(line, "prompt")),
          {{messages("assistant", text_at(line, "response_0")), 1 - better},
           {messages("assistant", text_at(line, "response_1")), better}}};
}

}  // namespace

extern schema const pku{.format = data_format::pku, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
