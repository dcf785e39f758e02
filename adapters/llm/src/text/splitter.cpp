// SPDX-License-Identifier: Apache-2.0
#include "splitter.hpp"

#include <limits>   // numeric_limits
#include <string>   // string

#include "unicode.hpp"

namespace kedge::llm::text {

split_behavior split_behavior_in(json const& definition, std::string_view where) {
  std::string const name = string_in(definition, "behavior", where);
  if (name == "Removed") return split_behavior::removed;
  if (name == "Isolated") return split_behavior::isolated;
  if (name == "MergedWithPrevious") return split_behavior::merged_with_previous;
  if (name == "MergedWithNext") return split_behavior::merged_with_next;
  if (name == "Contiguous") return split_behavior::contiguous;
  fail(std::string(where) + ": the behavior " + in_quotes(name) + " is not supported");
}

void find_stretches(pattern const& expression, std::string_view text, split_workspace& work) {
  auto& out = work.stretches;
  out.clear();
  std::size_t previous = 0;
  std::size_t last_match = std::numeric_limits<std::size_t>::max();
  auto const push = [&out](std::size_t begin, std::size_t end, bool match) {
    out.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), match});
  };
  pattern::span found{};
  for (std::size_t from = 0; from <= text.size() && expression.find(text, from, found, work.scratch);) {
    if (found.begin == found.end && found.end == last_match) {
      from += from < text.size() ? length_of(text[from]) : 1;
      continue;
    }
    from = last_match = found.end;
    if (previous != found.begin) push(previous, found.begin, false);
    push(found.begin, found.end, true);
    previous = found.end;
  }
  if (previous != text.size()) push(previous, text.size(), false);
}

namespace {

void cut_plain(std::vector<stretch> const& stretches, bool drop_matches, piece const& whole, std::vector<piece>& out) {
  for (stretch const& s : stretches)
    if (s.end > s.begin && !(drop_matches && s.match))
      out.push_back({whole.begin + s.begin, whole.begin + s.end, whole.at_origin && s.begin == 0});
}

}  // namespace

void cut(std::vector<stretch> const& stretches, split_behavior behavior, piece const& whole, std::vector<piece>& out) {
  if (behavior == split_behavior::removed || behavior == split_behavior::isolated)
    return cut_plain(stretches, behavior == split_behavior::removed, whole, out);
  std::vector<stretch> merged;
  bool previous = false;
  if (behavior == split_behavior::merged_with_next) {
    for (auto s = stretches.rbegin(); s != stretches.rend(); ++s) {
      if (s->match && !previous && !merged.empty())
        merged.back().begin = s->begin;
      else
        merged.push_back(*s);
      previous = s->match;
    }
    return cut_plain({merged.rbegin(), merged.rend()}, false, whole, out);
  }
  for (stretch const& s : stretches) {
    bool const joins = behavior == split_behavior::contiguous ? s.match == previous : s.match && !previous;
    if (joins && !merged.empty())
      merged.back().end = s.end;
    else
      merged.push_back(s);
    previous = s.match;
  }
  cut_plain(merged, false, whole, out);
}

pattern pattern_in(json const& definition, std::string_view where) {
  json const& value = required(definition, "pattern", where);
  if (member(value, "Regex") != nullptr) return pattern(string_in(value, "Regex", where));
  if (member(value, "String") == nullptr) fail(std::string(where) + ": 'pattern' is neither a String nor a Regex");
  std::string escaped;
  for (char const c : string_in(value, "String", where)) {
    if (static_cast<unsigned char>(c) < 0x80 && is_punctuation(static_cast<char32_t>(c))) escaped += '\\';
    escaped += c;
  }
  return pattern(escaped);
}

}  // namespace kedge::llm::text
