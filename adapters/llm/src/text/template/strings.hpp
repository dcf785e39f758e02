// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>       // int64_t
#include <optional>      // optional
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

namespace kedge::llm::text::jinja {

class evaluator;

// Python's string functions on UTF-8.

/// First place of `needle` at or after `from`, npos if there is none. Linear also for needles made to be slow.
std::size_t find_text(std::string_view s, std::string_view needle, std::size_t from = 0);
std::string to_lower(std::string_view s);
std::string to_upper(std::string_view s);
std::string capitalized(std::string_view s);
/// Drops the characters of `*characters` (null: white space) from the ends.
std::string strip(std::string_view s, std::string const* characters, bool left, bool right);
/// At most `count` replacements from the left, all if negative.
std::string replaced(evaluator& e, std::string_view s, std::string_view from, std::string_view to, std::int64_t count);
std::string repeated(evaluator& e, std::string_view s, std::int64_t times);
/// str.splitlines: at every line boundary of Unicode.
std::vector<std::string> split_lines(std::string_view s, bool keep_ends);
/// str.split and str.rsplit; no separator: at white space.
std::vector<std::string> split(std::string_view s, std::optional<std::string> const& separator, std::int64_t most, bool from_right);
/// What Python's float() accepts, but for underscores.
std::optional<double> parse_float(std::string_view s);

}  // namespace kedge::llm::text::jinja
