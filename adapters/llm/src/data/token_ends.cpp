// SPDX-License-Identifier: Apache-2.0
#include "token_ends.hpp"

#include <cstdlib>   // strtoul
#include <optional>  // optional
#include <string>    // string

#include <kedge/llm/base/error.hpp>

#include "../text/byte_alphabet.hpp"

namespace kedge::llm {
namespace {

constexpr std::string_view metaspace = "\xe2\x96\x81";

// How a tokenizer spells its tokens.
enum class spelling { bytes, words };

// What a token stands for in the text. "<0x0A>" is a byte; an added token is spelled as it is.
std::string bytes_of(std::string const& token, spelling how) {
  if (how == spelling::bytes) return text::from_stand_ins(token).value_or(token);
  if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>'))
    return std::string(1, static_cast<char>(std::strtoul(token.substr(3, 2).c_str(), nullptr, 16)));
  std::string out = token;
  for (std::size_t at = 0; (at = out.find(metaspace, at)) != std::string::npos; ++at) out.replace(at, metaspace.size(), " ");
  return out;
}

std::optional<std::vector<std::size_t>> laid_along(tokenizer const& words, std::span<std::int32_t const> ids,
                                                   std::string_view text, spelling how) {
  std::vector<std::size_t> ends;
  std::size_t at = 0;
  for (std::int32_t const id : ids) {
    std::string const token = words.token_of(id);
    std::string_view const rest = text.substr(at);
    std::string const spelled = bytes_of(token, how);
    std::size_t const blank = std::min(rest.find_first_not_of(" \t\r\n"), rest.size());
    std::string_view const bare = std::string_view(spelled).substr(spelled.starts_with(' ') ? 1 : 0);
    if (rest.starts_with(spelled))
      at += spelled.size();
    else if (rest.starts_with(token))
      at += token.size();
    else if (rest.starts_with(bare))  // a blank that was put before the text
      at += bare.size();
    else if (rest.substr(blank).starts_with(spelled))  // blanks that an added token takes away
      at += blank + spelled.size();
    else
      return {};
    ends.push_back(at);
  }
  return ends;
}

}  // namespace

std::vector<std::size_t> token_ends(tokenizer const& words, std::span<std::int32_t const> ids, std::string_view text) {
  for (spelling const how : {spelling::bytes, spelling::words})
    if (auto ends = laid_along(words, ids, text, how)) return *std::move(ends);
  throw error(
      "the tokenizer changes the text of the conversation, so that its tokens can't be told to be the assistant's or not");
}

}  // namespace kedge::llm
