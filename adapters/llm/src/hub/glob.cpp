// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "dataset_files.hpp"

namespace kedge::llm {
namespace {

// A part of a pattern: it takes one character, or as many as there are.
struct glob_part {
  enum class kind { one, many, folders } what = kind::one;
  bool slashes = false;                         ///< `**` takes them too
  std::vector<std::pair<char, char>> ranges{};  ///< of `one`; empty: any character but `/`
  bool inverted = false;

  [[nodiscard]] bool takes(char c) const {
    if (what != kind::one) return slashes || c != '/';
    if (ranges.empty()) return c != '/';
    bool const inside = std::any_of(ranges.begin(), ranges.end(), [c](auto const& r) { return r.first <= c && c <= r.second; });
    return inside != inverted && (c != '/' || !inverted);
  }
};

// The part that begins at `at` with `[`, which is moved behind it; a bracket that is never closed is a character.
glob_part class_at(std::string_view pattern, std::size_t& at) {
  glob_part part;
  std::size_t i = at + 1;
  if (i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^')) part.inverted = true, ++i;
  std::size_t const end = pattern.find(']', i + 1);
  if (end == std::string_view::npos) {
    ++at;
    return {.what = glob_part::kind::one, .ranges = {{'[', '['}}};
  }
  for (; i < end; ++i) {
    bool const range = i + 2 < end && pattern[i + 1] == '-';
    part.ranges.emplace_back(pattern[i], pattern[range ? i + 2 : i]);
    if (range) i += 2;
  }
  at = end + 1;
  return part;
}

std::vector<glob_part> parts_of(std::string_view pattern) {
  std::vector<glob_part> parts;
  for (std::size_t i = 0; i < pattern.size();) {
    if (pattern.substr(i, 3) == "**/") {
      parts.push_back({.what = glob_part::kind::folders, .slashes = true});
      i += 3;
    } else if (pattern.substr(i, 2) == "**") {
      parts.push_back({.what = glob_part::kind::many, .slashes = true});
      i += 2;
    } else if (pattern[i] == '*') {
      parts.push_back({.what = glob_part::kind::many});
      ++i;
    } else if (pattern[i] == '[') {
      parts.push_back(class_at(pattern, i));
    } else {
      glob_part part;
      if (pattern[i] != '?') part.ranges = {{pattern[i], pattern[i]}};
      parts.push_back(part);
      ++i;
    }
  }
  return parts;
}

}  // namespace

// reached[k]: the first k parts can take what has been read. Cost: the product of the two lengths, whatever the pattern.
bool fits(std::string_view pattern, std::string_view path) {
  std::vector<glob_part> const parts = parts_of(pattern);
  std::vector<char> reached(parts.size() + 1, 0), inside(parts.size(), 0);  // inside: within a part that takes folders
  auto const spread = [&](std::vector<char>& at) {
    for (std::size_t k = 0; k < parts.size(); ++k)
      if (at[k] != 0 && parts[k].what != glob_part::kind::one) at[k + 1] = 1;
  };
  reached[0] = 1;
  spread(reached);
  for (char const c : path) {
    std::vector<char> next(parts.size() + 1, 0), within(parts.size(), 0);
    for (std::size_t k = 0; k < parts.size(); ++k) {
      bool const folders = parts[k].what == glob_part::kind::folders;
      if ((reached[k] == 0 && inside[k] == 0) || !parts[k].takes(c)) continue;
      if (folders) {
        within[k] = 1;
        if (c == '/') next[k + 1] = 1;  // folders end where a `/` does
      } else {
        next[parts[k].what == glob_part::kind::one ? k + 1 : k] = 1;
      }
    }
    spread(next);
    reached = std::move(next);
    inside = std::move(within);
  }
  return reached[parts.size()] != 0;
}

}  // namespace kedge::llm
