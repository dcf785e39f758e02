// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <kedge/llm/base/error.hpp>

#include "session.hpp"

namespace kedge::llm {

/// The padding token as TRL's RewardTrainer chooses it: the tokenizer's, or else its end-of-sequence token.
/// throws  error if the tokenizer names neither
inline std::int32_t padding_token(checkpoint const& source, tokenizer const& tokens) {
  nlohmann::ordered_json const special = special_tokens(source.tokenizer_config);
  for (char const* name : {"pad_token", "eos_token"})
    if (special.contains(name))
      if (auto const id = tokens.id_of(special[name].get<std::string>())) return *id;
  throw error(source.path().string() + ": the tokenizer names neither pad_token nor eos_token, which a reward model needs; add one to tokenizer_config.json");
}

/// transformers reads a reward at the last token that is not padding. No later token matters to it, so those are cut off here.
inline void drop_padding(std::vector<std::int32_t>& tokens, std::int32_t padding) {
  while (tokens.size() > 1 && tokens.back() == padding) tokens.pop_back();
}

}  // namespace kedge::llm
