// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>       // int64_t, uint32_t
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

namespace kedge::llm::text::jinja {

struct token {
  enum class kind { data, variable_begin, variable_end, block_begin, block_end, name, string, integer, floating, symbol, end };
  kind what;
  std::string text;  ///< data, name, string (unescaped), symbol
  std::uint32_t line;
  std::int64_t integer = 0;
  double floating = 0;
};

/// Splits a template as Jinja does with trim_blocks and lstrip_blocks on and the last newline of the source dropped.
/// throws  kedge::llm::error with the line
std::vector<token> tokenize(std::string_view source);

/// White space of Python's str.isspace, which regular expressions, strip and split follow.
bool is_python_space(char32_t c);

[[noreturn]] void template_error(std::uint32_t line, std::string const& what);

}  // namespace kedge::llm::text::jinja
