// SPDX-License-Identifier: Apache-2.0
#include "added_tokens.hpp"

#include <algorithm>  // max
#include <utility>    // move

#include "unicode.hpp"

namespace kedge::llm::text {

void added_tokens::matcher::insert(std::string_view word, std::uint32_t token) {
  if (word.empty()) return;
  starts_[static_cast<unsigned char>(word[0])] = true;
  std::uint32_t at = 0;
  for (char const c : word) {
    std::uint64_t const edge = std::uint64_t{at} * 256 + static_cast<unsigned char>(c);
    if (auto const* const known = edges_.find(edge); known != nullptr) {
      at = known->first;
    } else {
      at = static_cast<std::uint32_t>(ends_.size());
      edges_.insert(edge, at);
      ends_.push_back(-1);
    }
  }
  if (ends_[at] < 0) ends_[at] = token;
}

std::int64_t added_tokens::matcher::longest(std::string_view text, std::size_t position, std::size_t& length) const {
  std::int64_t found = -1;
  std::uint32_t at = 0;
  for (std::size_t i = position; i < text.size(); ++i) {
    auto const* const next = edges_.find(std::uint64_t{at} * 256 + static_cast<unsigned char>(text[i]));
    if (next == nullptr) break;
    at = next->first;
    if (ends_[at] < 0) continue;
    found = ends_[at];
    length = i + 1 - position;
  }
  return found;
}

added_tokens::added_tokens(json const& definition, model const& m, normalizer const* normal) {
  if (definition.is_null()) return;
  if (!definition.is_array()) fail("'added_tokens' is not an array");
  constexpr std::string_view where = "an added token";
  for (json const& entry : definition) {
    added_token token;
    token.content = string_in(entry, "content", where);
    token.single_word = flag_in(entry, "single_word", false, where);
    token.strip_left = flag_in(entry, "lstrip", false, where);
    token.strip_right = flag_in(entry, "rstrip", false, where);
    token.special = flag_in(entry, "special", false, where);
    token.normalized = flag_in(entry, "normalized", !token.special, where);
    if (!token.content.empty()) add(std::move(token), m, normal);
  }
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (by_id_.at(tokens_[i].id) != i) continue;  // another token took the id
    if (tokens_[i].normalized)
      after_.insert(normal_forms_[i], static_cast<std::uint32_t>(i));
    else
      before_.insert(tokens_[i].content, static_cast<std::uint32_t>(i));
  }
}

void added_tokens::add(added_token token, model const& m, normalizer const* normal) {
  auto const vocabulary_size = static_cast<std::int32_t>(m.tokens().count);
  if (auto const known = by_content_.find(token.content); known != by_content_.end()) {
    token.id = tokens_[known->second].id;
  } else if (auto const id = m.id_of(token.content); id) {
    token.id = *id;
  } else {
    std::int32_t next = vocabulary_size;
    for (added_token const& other : tokens_)
      if (other.id >= vocabulary_size || vocabulary_size == 0) next = std::max(next, other.id + 1);
    token.id = next;
  }
  std::string form = token.content;
  bool ignored = false;
  if (token.normalized && normal != nullptr) normal->apply(form, ignored);
  if (token.special) special_.insert(token.content);
  by_id_[token.id] = tokens_.size();
  by_content_[token.content] = tokens_.size();
  normal_forms_.push_back(std::move(form));
  tokens_.push_back(std::move(token));
}

void added_tokens::cut(std::string_view text, bool normalized, bool splits_special, std::vector<section>& out) const {
  matcher const& words = normalized ? after_ : before_;
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size() && !words.empty();) {
    std::size_t length = 0;
    std::int64_t const index = words.can_start(text[i]) ? words.longest(text, i, length) : -1;
    if (index < 0) {
      ++i;
      continue;
    }
    added_token const& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = i;
    std::size_t end = i + length;
    i = end;
    if (splits_special && is_special(token.content)) continue;
    if (token.single_word) {
      bool const left = begin > 0 && is_plain_word(decode(text.data() + before(text, begin)).value);
      bool const right = end < text.size() && is_plain_word(decode(text.data() + end).value);
      if (left || right) continue;
    }
    while (token.strip_left && begin > done && is_white_space(decode(text.data() + before(text, begin)).value)) begin = before(text, begin);
    while (token.strip_right && end < text.size() && is_white_space(decode(text.data() + end).value)) end += length_of(text[end]);
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

added_token const* added_tokens::find(std::int32_t id) const {
  auto const found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

added_token const* added_tokens::find(std::string_view content) const {
  auto const found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

std::string const& added_tokens::decoded_form(added_token const& token) const { return normal_forms_[by_id_.at(token.id)]; }

}  // namespace kedge::llm::text
