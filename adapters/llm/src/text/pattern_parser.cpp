// SPDX-License-Identifier: Apache-2.0
#include "pattern_parser.hpp"

#include <optional>  // optional
#include <string>    // string, to_string
#include <utility>   // move

#include "kedge/llm/base/error.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

using node = pattern_node;
using kind = pattern_node::kind;

constexpr std::size_t deepest_nesting = 64;
constexpr std::size_t most_repeats = 1000;

node set_node(code_point_set set) {
  node out;
  out.what = kind::set;
  out.set = std::move(set);
  return out;
}

node boundary_node(node::position where) {
  node out;
  out.what = kind::boundary;
  out.where = where;
  return out;
}

/// Adds the other case of every member. ASCII letters also match U+017F (long s) and U+212A (Kelvin), their folded twins.
code_point_set with_other_case(code_point_set const& set) {
  code_point_set out = set;
  bool const ascii = set.ranges().empty() || set.ranges().back() < 0x80;
  char32_t const last_cased = ascii ? 'Z' : 0x1E943;
  for (char32_t c = 'A'; c <= last_cased; ++c) {
    char32_t const lower = simple_lower(c);
    if (lower == c) continue;
    if (set.contains(c)) out.add(lower, lower);
    if (set.contains(lower)) out.add(c, c);
  }
  if (out.contains('s')) out.add(0x17F, 0x17F);
  if (out.contains('k')) out.add(0x212A, 0x212A);
  if (out.contains(0x17F)) out.add(code_point_set({'s', 's', 'S', 'S'}));
  return out;
}

class parser {
 public:
  explicit parser(std::string_view source) : source_(source) {}

  node parse() {
    node out = alternatives();
    if (!done()) fail("an unmatched )");
    return out;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    throw error("regular expression " + in_quotes(source_) + ": " + what + " at byte " + std::to_string(at_) +
                " is not supported");
  }

  [[nodiscard]] bool done() const { return at_ >= source_.size(); }
  [[nodiscard]] bool next_is(std::string_view text) const { return source_.substr(at_, text.size()) == text; }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_code_point() {
    if (done()) fail("the end of the expression");
    auto const [value, length] = decode(source_.data() + at_);
    at_ += length;
    return value;
  }

  node alternatives() {
    if (++depth_ > deepest_nesting) fail("nesting this deep");
    bool const fold = fold_;
    node out;
    out.what = kind::alternatives;
    do out.children.push_back(sequence());
    while (take("|"));
    fold_ = fold;
    --depth_;
    if (out.children.size() > 1) return out;
    node only = std::move(out.children.front());
    return only;
  }

  node sequence() {
    node out;
    out.what = kind::sequence;
    while (!done() && !next_is("|") && !next_is(")")) {
      if (take("(?i)")) {  // holds to the end of the group, its later alternatives included
        fold_ = true;
        out.children.push_back(alternatives());
        break;
      }
      out.children.push_back(quantified(atom()));
    }
    return out;
  }

  node quantified(node body) {
    for (;;) {
      std::size_t least = 0;
      std::size_t most = node::unlimited;
      bool counted = false;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (next_is("{") && braces(least, most)) {
        counted = true;
      } else {
        return body;
      }
      if (body.what == kind::boundary || body.what == kind::look) fail("a repeated assertion");
      node repeat;
      repeat.what = kind::repeat;
      repeat.least = least;
      repeat.most = most;
      if (take("?"))
        repeat.mode = node::repetition::lazy;
      else if (!counted && take("+"))  // after {n,m} a + repeats once more
        repeat.mode = node::repetition::possessive;
      repeat.children.push_back(std::move(body));
      body = std::move(repeat);
    }
  }

  std::optional<std::size_t> number() {
    if (done() || source_[at_] < '0' || source_[at_] > '9') return std::nullopt;
    std::size_t value = 0;
    while (!done() && source_[at_] >= '0' && source_[at_] <= '9') {
      value = 10 * value + static_cast<std::size_t>(source_[at_++] - '0');
      if (value > most_repeats) fail("a count above " + std::to_string(most_repeats));
    }
    return value;
  }

  bool braces(std::size_t& least, std::size_t& most) {
    std::size_t const start = at_++;
    auto const low = number();
    bool const comma = take(",");
    auto const high = comma ? number() : low;
    if ((!low && !high) || !take("}")) {
      at_ = start;  // a brace that counts nothing is a literal
      return false;
    }
    least = low.value_or(0);
    most = high.value_or(node::unlimited);
    if (most < least) fail("a count whose maximum is below its minimum");
    return true;
  }

  node group() {
    node out;
    if (take("?:") || (!next_is("?") && !next_is("*"))) {
      out = alternatives();
    } else if (take("?i:")) {
      bool const fold = fold_;
      fold_ = true;
      out = alternatives();
      fold_ = fold;
    } else if (take("?>")) {
      out.what = kind::repeat;
      out.least = out.most = 1;
      out.mode = node::repetition::possessive;
      out.children.push_back(alternatives());
    } else {
      out.what = kind::look;
      if (take("?=") || take("?!")) {
        out.negative = source_[at_ - 1] == '!';
      } else if (take("?<=") || take("?<!")) {
        out.ahead = false;
        out.negative = source_[at_ - 1] == '!';
      } else {
        fail("the group (" + std::string(source_.substr(at_, 3)));
      }
      out.children.push_back(alternatives());
    }
    if (!take(")")) fail("a group without )");
    return out;
  }

  node atom() {
    if (take("(")) return group();
    if (take("[")) return set_node(folded(bracket()));
    if (take(".")) return set_node(code_point_set({'\n', '\n'}).complement());
    if (take("^")) return boundary_node(node::position::line_start);
    if (take("$")) return boundary_node(node::position::line_end);
    if (next_is("*") || next_is("+") || next_is("?")) fail("a quantifier without something to repeat");
    if (next_is("\\")) {
      if (take("\\A")) return boundary_node(node::position::text_start);
      if (take("\\z")) return boundary_node(node::position::text_end);
      if (take("\\Z")) return boundary_node(node::position::text_end_or_newline);
      if (take("\\b")) return boundary_node(node::position::word);
      if (take("\\B")) return boundary_node(node::position::not_word);
      return set_node(folded(escape()));
    }
    char32_t const c = take_code_point();
    return set_node(folded(code_point_set({c, c})));
  }

  [[nodiscard]] code_point_set folded(code_point_set set) const { return fold_ ? with_other_case(set) : set; }

  char32_t hex(std::size_t least, std::size_t most) {
    char32_t value = 0;
    std::size_t digits = 0;
    for (; digits < most && !done(); ++digits, ++at_) {
      char const c = source_[at_];
      if (c >= '0' && c <= '9')
        value = 16 * value + static_cast<char32_t>(c - '0');
      else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        value = 16 * value + static_cast<char32_t>((c | 0x20) - 'a' + 10);
      else
        break;
    }
    if (digits < least || value > 0x10FFFF) fail("this hexadecimal number");
    return value;
  }

  code_point_set property(bool negative) {
    if (!take("{")) fail("\\p without {");
    if (take("^")) negative = !negative;
    std::size_t const end = source_.find('}', at_);
    if (end == std::string_view::npos) fail("\\p{ without }");
    std::string_view const name = source_.substr(at_, end - at_);
    code_point_set set(ranges_of(name));
    if (set.ranges().empty()) fail("the property \\p{" + std::string(name) + "}");
    at_ = end + 1;
    return negative ? set.complement() : set;
  }

  /// After a backslash: a class such as \s or \p{L}, or one character.
  code_point_set escape() {
    ++at_;
    char32_t const c = take_code_point();
    auto const one = [](char32_t value) { return code_point_set({value, value}); };
    auto const named = [](std::string_view name) { return code_point_set(ranges_of(name)); };
    switch (c) {
      case 's': return named("space");
      case 'S': return named("space").complement();
      case 'd': return named("Nd");
      case 'D': return named("Nd").complement();
      case 'w': return named("word");
      case 'W': return named("word").complement();
      case 'p': return property(false);
      case 'P': return property(true);
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 't': return one('\t');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case 'a': return one('\a');
      case 'e': return one(0x1B);
      case 'u': return one(hex(4, 4));
      case 'x': {
        if (!take("{")) return one(hex(1, 2));
        char32_t const value = hex(1, 8);
        if (!take("}")) fail("\\x{ without }");
        return one(value);
      }
      default: break;
    }
    bool const letter_or_digit = c < 0x80 && (is_word(c) && c != '_');
    if (letter_or_digit) fail(std::string("the escape \\") + static_cast<char>(c));
    return one(c);
  }

  /// One element of a class: a set, or a character that may start a range.
  code_point_set element(bool& single) {
    single = false;
    if (next_is("[:")) fail("a POSIX bracket");
    if (take("[")) return bracket();
    if (next_is("\\")) {
      code_point_set set = escape();
      single = set.ranges().size() == 2 && set.ranges()[0] == set.ranges()[1];
      return set;
    }
    single = true;
    char32_t const c = take_code_point();
    return code_point_set({c, c});
  }

  code_point_set bracket() {
    if (++depth_ > deepest_nesting) fail("nesting this deep");
    bool const negative = take("^");
    code_point_set all;
    code_point_set current;
    bool intersect = false;
    auto const close_operand = [&] { all = intersect ? all.intersection(current) : current; };
    for (bool first = true; first || !next_is("]"); first = false) {
      if (done()) fail("a class without ]");
      if (take("&&")) {
        close_operand();
        current = {};
        intersect = true;
        continue;
      }
      bool single = false;
      code_point_set item = element(single);
      if (single && next_is("-") && !next_is("-]")) {
        ++at_;
        code_point_set const last = element(single);
        if (!single || last.ranges()[0] < item.ranges()[0]) fail("this range of a class");
        item = code_point_set({item.ranges()[0], last.ranges()[0]});
      }
      current.add(item);
    }
    ++at_;
    close_operand();
    --depth_;
    return negative ? all.complement() : all;
  }

  std::string_view source_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  bool fold_ = false;
};

}  // namespace

pattern_node parse_pattern(std::string_view expression) {
  if (find_invalid(expression) != std::string_view::npos)
    throw error("regular expression " + in_quotes(expression) + " is not valid UTF-8");
  return parser(expression).parse();
}

}  // namespace kedge::llm::text
