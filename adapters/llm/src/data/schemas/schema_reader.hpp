// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>     // deque
#include <optional>  // optional
#include <string>    // string
#include <vector>    // vector

#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/reading.hpp>

#include "schema.hpp"

namespace kedge::llm {

/// Turns lines of any shape into objects with TRL's keys: none, one or several for each.
class schema_reader {
 public:
  /// Objects are made for examples of the kind `wanted`, or of the kind that the lines are made for.
  schema_reader(reading const& how, std::optional<data_kind> wanted) : how_(how), wanted_(wanted) {}

  /// Takes a line. The first one decides on the shape of all, where it isn't given.
  /// throws  kedge::llm::error with the reason why the line won't do, or what has to be chosen
  void add(json_line line);
  /// No more lines follow.
  void finish();
  /// The next object. returns false if there is none before the next line
  bool take(json_line& object);

  /// What the lines were taken for, and how many of them make no example.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  void decide(json_line const& line);
  void make(ranked_answers const& what, json_line const& line);
  void make_pairs(ranked_answers const& what, json_line const& line);
  void put(nlohmann::ordered_json object, json_line const& line);

  reading how_;
  std::optional<data_kind> wanted_;
  bool decided_ = false;
  schema const* shape_ = nullptr;  // none: TRL's keys
  std::string note_;
  std::deque<json_line> made_;
  std::optional<ranked_answers> open_;  // of a prompt whose lines go on
  json_line first_;                     // of them
  std::size_t ties_ = 0, first_tie_ = 0;
};

/// The shape of a name; null for TRL's own.
[[nodiscard]] schema const* schema_of(data_format format);

}  // namespace kedge::llm
