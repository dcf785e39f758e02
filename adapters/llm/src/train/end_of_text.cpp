// SPDX-License-Identifier: Apache-2.0
#include "end_of_text.hpp"

#include <algorithm>

#include <kedge/llm/base/setting.hpp>

namespace kedge::llm {

void end_texts_with(session& opened, std::string const& token) {
  if (token.empty()) return;
  std::optional<std::int32_t> const id = opened.tokens.id_of(token);
  if (!id)
    throw usage_error("--eos_token " + token + ": " + opened.source.path().string() +
                      " has no such token; name one of its tokenizer's");
  opened.source.tokenizer_config["eos_token"] = token;
  opened.source.config["eos_token_id"] = *id;
  if (!opened.source.generation_config.is_object()) return;
  nlohmann::ordered_json& ids = opened.source.generation_config["eos_token_id"];
  if (!ids.is_array()) ids = ids.is_null() ? nlohmann::ordered_json::array() : nlohmann::ordered_json::array({ids});
  if (std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.insert(ids.begin(), *id);
  if (ids.size() == 1) ids = nlohmann::ordered_json(ids.front());
}

}  // namespace kedge::llm
