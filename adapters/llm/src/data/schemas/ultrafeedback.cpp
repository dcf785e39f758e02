// SPDX-License-Identifier: Apache-2.0

// UltraFeedback (Cui et al. 2024). Binarized, as HuggingFaceH4 has published it: the prompt is a text, chosen and rejected are whole
// conversations, which say what the prompt is; the text repeats the last question alone. Whole, as openbmb has: an instruction, and completions
// with ratings.

#include <utility>

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

bool is_binarized(json const& line) { return has_list_of(line, "chosen", {"role"}) && has_list_of(line, "rejected", {"role"}); }

likeness looks(json const& line) {
  if (is_binarized(line)) return has_text(line, "prompt") ? likeness::sure : likeness::none;
  return has_list_of(line, "completions", {"response"}) && (has_text(line, "instruction") || has_text(line, "prompt"))
             ? likeness::choice
             : likeness::none;
}

std::optional<double> number(json const& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return {};
  try {
    return std::stod(value.get_ref<std::string const&>());
  } catch (std::exception const&) {
    return {};  // "N/A"
  }
}

// overall_score, or else the mean of the aspects' ratings.
double rating(json const& completion) {
  if (auto const overall = completion.find("overall_score"); overall != completion.end())
    if (auto const value = number(*overall)) return *value;
  double sum = 0;
  std::size_t count = 0;
  for (json const& aspect : completion.value("annotations", json::object()))
    if (aspect.is_object() && aspect.contains("Rating"))
      if (auto const value = number(aspect["Rating"])) sum += *value, ++count;
  if (count == 0) throw error("a completion has neither overall_score nor ratings");
  return sum / static_cast<double>(count);
}

ranked_answers read_binarized(json const& line) {
  ranked_answers out;
  std::optional<double> scores[2];
  for (auto const& [better, worse] : {std::pair{"score_chosen", "score_rejected"},
                                      {"rating_chosen", "rating_rejected"},
                                      {"chosen_rating", "rejected_rating"}})
    if (!scores[0] && line.contains(better) && line.contains(worse)) {
      scores[0] = number(line[better]);
      scores[1] = number(line[worse]);
    }
  if (!scores[1]) scores[0].reset();
  out.answers.push_back({line["chosen"], 1, scores[0]});
  out.answers.push_back({line["rejected"], 0, scores[0] ? scores[1] : scores[0]});
  return out;
}

ranked_answers read(json const& line) {
  if (is_binarized(line)) return read_binarized(line);
  ranked_answers out{messages("user", text_at(line, line.contains("instruction") ? "instruction" : "prompt")), {}};
  for (json const& completion : list_at(line, "completions")) {
    double const value = rating(completion);
    out.answers.push_back({messages("assistant", text_at(completion, "response")), value, value});
  }
  return out;
}

}  // namespace

extern schema const ultrafeedback{
    .format = data_format::ultrafeedback, .looks = looks, .read = read, .choice = "which of the rated completions make pairs"};

}  // namespace kedge::llm::schemas
