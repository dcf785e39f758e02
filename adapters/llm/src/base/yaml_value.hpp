// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>        // array
#include <filesystem>   // path
#include <optional>     // optional
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// What a YAML value is.
enum class yaml_kind { null, boolean, integer, real, text, list, mapping };

constexpr auto names(yaml_kind) {
  using enum yaml_kind;
  return std::array{named{null, "nothing"},     named{boolean, "true or false"}, named{integer, "a whole number"},
                    named{real, "a number"},    named{text, "a text"},           named{list, "a list"},
                    named{mapping, "a mapping"}};
}

/// A value of a YAML file with the type that PyYAML's safe_load gives it, which is YAML 1.1: 010 is eight, 1_0 ten, 1:30 ninety, `yes` is true,
/// and 1e-1, without a point, is a text. Aliases are copied, and `<<` takes another mapping's keys in.
struct yaml_entry;
struct yaml_value {
  yaml_kind kind = yaml_kind::null;
  int line = 0;                   ///< from 1
  std::string text;               ///< of a scalar, as it is written
  double number = 0;              ///< of a number; 0 and 1 of a boolean
  std::vector<yaml_value> items;  ///< of a list
  std::vector<yaml_entry> pairs;  ///< of a mapping, in their order, each key once

  [[nodiscard]] bool is_null() const { return kind == yaml_kind::null; }
  [[nodiscard]] bool is_scalar() const { return kind != yaml_kind::list && kind != yaml_kind::mapping && !is_null(); }
  /// The value of a key of a mapping; a null where there is none.
  [[nodiscard]] yaml_value const& operator[](std::string_view key) const;
};

/// A key of a mapping, and its value.
struct yaml_entry {
  std::string first;
  yaml_value second;
};

/// A document, and what its reader has to be told: keys that were written twice, of which the last counts.
struct yaml_document {
  yaml_value root;
  std::vector<std::string> notes;
};

/// Reads a file of one document.
/// throws  error with file and line if it is not valid YAML, has several documents, or is nested beyond all measure
[[nodiscard]] yaml_document read_yaml(std::filesystem::path const& file);

/// The same of a text that is part of a file; lines are counted from its beginning.
[[nodiscard]] yaml_document parse_yaml(std::string const& text, std::filesystem::path const& file);

/// The front matter of a Markdown text, such as a model card: the YAML between its first two lines of three dashes. Null where there is none.
[[nodiscard]] yaml_document parse_front_matter(std::string const& markdown, std::filesystem::path const& file);

/// What a plain scalar is in YAML 1.1.
[[nodiscard]] yaml_value plain_scalar(std::string_view text);

/// The number that Python's float() reads in a text, underscores between digits included; nothing where it would refuse.
[[nodiscard]] std::optional<double> number_in(std::string_view text);

/// "'FILE', line N", for messages.
[[nodiscard]] std::string place_of(std::filesystem::path const& file, yaml_value const& value);

}  // namespace kedge::llm
