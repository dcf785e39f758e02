// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>   // uint32_t
#include <memory>    // unique_ptr
#include <string>    // string
#include <utility>   // pair
#include <vector>    // vector

#include "value.hpp"

namespace kedge::llm::text::jinja {

struct expression;
using expression_pointer = std::unique_ptr<expression>;

/// Arguments as written: positional, named, *list, **dictionary.
struct call_syntax {
  std::vector<expression_pointer> positional;
  std::vector<std::pair<std::string, expression_pointer>> named;
  expression_pointer list, dictionary;
};

struct expression {
  enum class kind {
    constant,     // constant
    name,         // name
    list,         // operands
    tuple,        // operands
    dictionary,   // operands: key, value, key, value, …
    attribute,    // operands[0].name
    item,         // operands[0][operands[1]]
    slice,        // operands[0][operands[1]:operands[2]:operands[3]], null where left out
    call,         // operands[0](arguments)
    filter,       // operands[0] | name(arguments); the operand is null in a filter block
    test,         // operands[0] is name(arguments)
    negative,     // -operands[0]
    positive,     // +operands[0]
    logical_not,  // not operands[0]
    logical_and,
    logical_or,
    arithmetic,   // operands[0] name operands[1], name one of + - * / // % **
    concatenation,  // operands joined by ~
    comparison,   // operands[0] names[0] operands[1] names[1] operands[2] …
    conditional   // operands[0] if operands[1] else operands[2], null where left out
  };
  kind what;
  std::uint32_t line;
  std::string name;
  value constant;
  std::vector<expression_pointer> operands;
  std::vector<std::string> names;
  call_syntax arguments;
};

struct statement;
using block = std::vector<std::unique_ptr<statement>>;

/// What an assignment writes to: a name, an attribute of a namespace, or several in parentheses.
struct target {
  std::string name;
  std::string attribute;         ///< not empty: name.attribute
  std::vector<target> parts;     ///< not empty: unpacks
};

struct parameter {
  std::string name;
  expression_pointer otherwise;  ///< null: required
};

struct macro_syntax {
  std::string name;
  std::vector<parameter> parameters;
  block body;
  bool catches_list = false, catches_dictionary = false, uses_caller = false;  ///< varargs, kwargs, caller appear in the body
};

struct statement {
  enum class kind {
    text,        // text
    output,      // value
    branch,      // branches
    loop,        // target in value if condition: body, otherwise; recursive
    assign,      // target = value
    capture,     // target = body through filter `value`
    macro,       // definition
    call,        // value, a call that gets `definition` as its caller
    filter,      // body through filter `value`
    scope,       // with targets = values: body
    generation,  // body, the assistant's words
    leave,       // break
    next         // continue
  };
  kind what;
  std::uint32_t line;
  std::string text;
  expression_pointer value, condition;
  std::vector<std::pair<expression_pointer, block>> branches;  ///< the condition of `else` is null
  std::vector<target> targets;
  std::vector<expression_pointer> values;
  block body, otherwise;
  bool recursive = false;
  macro_syntax definition;
};

/// throws  kedge::llm::error that names the construct and its line
block parse_template(std::string_view source);

}  // namespace kedge::llm::text::jinja
