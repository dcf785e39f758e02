// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <filesystem>   // path
#include <string>       // string
#include <string_view>  // string_view

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// What parse_json accepts. The defaults suit files that people write; headers of binary formats are held to less.
struct json_rules {
  std::size_t depth = 256;              ///< nesting of arrays and objects
  std::size_t array = ~std::size_t{0};  ///< elements of one array
  bool unique_keys = false;             ///< true: a repeated key is an error; false: the last value wins, as in Python
};

/// Parses UTF-8 JSON, keys in the order of the text.
/// cost    linear, also for objects with a vocabulary's worth of keys (nlohmann's own parser searches the keys so far at
///         every insertion into an ordered object); looking up a key in the result is a search, so iterate over big ones
/// throws  kedge::llm::error "WHAT: not valid JSON, …" with line and column
nlohmann::ordered_json parse_json(std::string_view text, std::string const& what, json_rules rules = {});

/// parse_json of a whole file; a byte order mark is skipped.
nlohmann::ordered_json read_json_file(std::filesystem::path const& path, json_rules rules = {});

/// What a JSON exception says, without the mark of the library in front: "type must be number, but is string".
std::string reason_of(nlohmann::ordered_json::exception const& problem);

/// True for well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) noexcept;

/// Appends without searching for the key first. For building objects with many keys that are known to be distinct.
void append_member(nlohmann::ordered_json& object, std::string key, nlohmann::ordered_json value);

}  // namespace kedge::llm
