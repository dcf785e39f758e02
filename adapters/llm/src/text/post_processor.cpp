// SPDX-License-Identifier: Apache-2.0
#include "post_processor.hpp"

#include <string>  // string

namespace kedge::llm::text {
namespace {

std::int32_t to_id(json const& value, std::string const& where) {
  if (!value.is_number_integer() || value < 0) fail(where + ": a token id is not an integer");
  return value.get<std::int32_t>();
}

frame from_template(json const& definition) {
  std::string const where = "post_processor TemplateProcessing";
  frame out;
  bool seen_text = false;
  json const& single = required(definition, "single", where);
  if (!single.is_array()) fail(where + ": 'single' is not an array");
  for (json const& item : single) {
    if (member(item, "Sequence") != nullptr) {
      if (seen_text) fail(where + ": a template with the text twice is not supported");
      seen_text = true;
      continue;
    }
    std::string const name = string_in(required(item, "SpecialToken", where), "id", where);
    json const& token = required(required(definition, "special_tokens", where), name, where);
    for (json const& id : required(token, "ids", where)) (seen_text ? out.after : out.before).push_back(to_id(id, where));
  }
  if (!seen_text) fail(where + ": 'single' lacks the text");
  return out;
}

/// BertProcessing and RobertaProcessing: "cls" and "sep" are pairs of token and id.
frame from_pair(json const& definition, std::string const& type) {
  std::string const where = "post_processor " + type;
  auto const id = [&](char const* key) {
    json const& pair = required(definition, key, where);
    if (!pair.is_array() || pair.size() != 2) fail(where + ": " + in_quotes(key) + " is not a pair of token and id");
    return to_id(pair[1], where);
  };
  return {{id("cls")}, {id("sep")}};
}

}  // namespace

frame make_frame(json const& definition) {
  std::string const type = type_of(definition, "post_processor");
  if (type.empty() || type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return from_template(definition);
  if (type == "BertProcessing" || type == "RobertaProcessing") return from_pair(definition, type);
  if (type == "Sequence") {
    frame out;
    for (json const& part : required(definition, "processors", "post_processor Sequence")) {
      frame const inner = make_frame(part);  // a later processor wraps what the earlier ones made
      out.before.insert(out.before.begin(), inner.before.begin(), inner.before.end());
      out.after.insert(out.after.end(), inner.after.begin(), inner.after.end());
    }
    return out;
  }
  fail("the post_processor " + in_quotes(type) + " is not supported");
}

}  // namespace kedge::llm::text
