// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>       // int64_t
#include <optional>      // optional
#include <string>        // string
#include <string_view>   // string_view

#include <nlohmann/json.hpp>

#include "kedge/llm/base/error.hpp"

namespace kedge::llm::text {

using json = nlohmann::ordered_json;

[[noreturn]] inline void fail(std::string const& what) { throw error("tokenizer.json: " + what); }

/// The member `key`, null if it is absent or null.
inline json const* member(json const& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  auto const found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

inline json const& required(json const& object, std::string_view key, std::string_view where) {
  json const* const value = member(object, key);
  if (value == nullptr) fail(std::string(where) + " lacks " + in_quotes(key));
  return *value;
}

inline std::string string_in(json const& object, std::string_view key, std::string_view where) {
  json const& value = required(object, key, where);
  if (!value.is_string()) fail(std::string(where) + ": " + in_quotes(key) + " is not a string");
  return value.get<std::string>();
}

inline std::optional<std::string> optional_string(json const& object, std::string_view key, std::string_view where) {
  if (member(object, key) == nullptr) return std::nullopt;
  return string_in(object, key, where);
}

inline bool flag_in(json const& object, std::string_view key, bool otherwise, std::string_view where) {
  json const* const value = member(object, key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) fail(std::string(where) + ": " + in_quotes(key) + " is not true or false");
  return value->get<bool>();
}

inline std::int64_t integer_in(json const& object, std::string_view key, std::string_view where) {
  json const& value = required(object, key, where);
  if (!value.is_number_integer()) fail(std::string(where) + ": " + in_quotes(key) + " is not an integer");
  return value.get<std::int64_t>();
}

/// "type" of a component, "" for null.
inline std::string type_of(json const& component, std::string_view where) {
  return component.is_null() ? std::string() : string_in(component, "type", where);
}

}  // namespace kedge::llm::text
