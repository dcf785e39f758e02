// SPDX-License-Identifier: Apache-2.0
#include "lexer.hpp"

#include <algorithm>  // count
#include <charconv>   // from_chars

#include "../unicode.hpp"
#include "kedge/llm/base/error.hpp"

namespace kedge::llm::text::jinja {
namespace {

std::string with_plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  return out;
}

std::size_t skip_space(std::string_view s, std::size_t i) {
  while (i < s.size() && is_python_space(decode(s.data() + i).value)) i += length_of(s[i]);
  return i;
}

std::string_view without_trailing_space(std::string_view s) {
  while (!s.empty()) {
    std::size_t const last = before(s, s.size());
    if (!is_python_space(decode(s.data() + last).value)) break;
    s = s.substr(0, last);
  }
  return s;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char32_t c) { return c == '_' || (is_word(c) && category_of(c) != category::Nd && category_of(c) != category::Mn); }

class lexer {
 public:
  explicit lexer(std::string_view source) : source_(with_plain_newlines(source)) {
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();
  }

  std::vector<token> run() {
    while (at_ < source_.size()) template_text();
    out_.push_back({token::kind::end, "", line_});
    return std::move(out_);
  }

 private:
  enum class tag { none, variable, block, comment, raw };

  [[noreturn]] void fail(std::string const& what) const { template_error(line_, what); }
  [[nodiscard]] bool at(std::string_view text) const { return std::string_view(source_).substr(at_, text.size()) == text; }
  void move_to(std::size_t position) {
    auto const from = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<std::uint32_t>(std::count(from, source_.begin() + static_cast<std::ptrdiff_t>(position), '\n'));
    at_ = position;
  }

  /// If a raw tag starts at `i`: past its end, else npos. `sign` is what follows {%.
  [[nodiscard]] std::size_t end_of_word_tag(std::size_t i, std::string_view word, bool trims_newline, char& sign) const {
    std::string_view const s = source_;
    i += 2;
    sign = i < s.size() && (s[i] == '-' || s[i] == '+') ? s[i++] : '\0';
    i = skip_space(s, i);
    if (s.substr(i, word.size()) != word) return std::string::npos;
    i = skip_space(s, i + word.size());
    if (s.substr(i, 3) == "-%}") return skip_space(s, i + 3);
    if (trims_newline && s.substr(i, 3) == "+%}") return i + 3;
    if (s.substr(i, 2) != "%}") return std::string::npos;
    i += 2;
    return trims_newline && i < s.size() && s[i] == '\n' ? i + 1 : i;
  }

  /// Text up to the next tag, stripped as the tag asks, then the tag.
  void template_text() {
    std::size_t begin = at_;
    tag kind = tag::none;
    std::size_t raw_end = 0;
    char sign = '\0';
    for (; begin + 1 < source_.size() && kind == tag::none; ++begin) {
      if (source_[begin] != '{') continue;
      char const second = source_[begin + 1];
      kind = second == '{' ? tag::variable : second == '%' ? tag::block : second == '#' ? tag::comment : tag::none;
      if (kind == tag::none) continue;
      sign = begin + 2 < source_.size() && (source_[begin + 2] == '-' || source_[begin + 2] == '+') ? source_[begin + 2] : '\0';
      if (kind == tag::block && (raw_end = end_of_word_tag(begin, "raw", false, sign)) != std::string::npos) kind = tag::raw;
      break;
    }
    if (kind == tag::none) {
      data(std::string_view(source_).substr(at_));
      at_ = source_.size();
      return;
    }
    data(stripped(std::string_view(source_).substr(at_, begin - at_), sign, kind == tag::variable));
    move_to(begin);
    if (kind == tag::raw) return raw(raw_end);
    if (kind == tag::comment) return comment(begin + 2 + (sign == '\0' ? 0 : 1));
    out_.push_back({kind == tag::variable ? token::kind::variable_begin : token::kind::block_begin, "", line_});
    at_ = begin + 2 + (sign == '\0' ? 0 : 1);
    expression(kind == tag::variable);
  }

  [[nodiscard]] std::string_view stripped(std::string_view text, char sign, bool variable) const {
    if (sign == '-') return without_trailing_space(text);
    if (sign == '+' || variable) return text;
    std::size_t const newline = text.rfind('\n');
    std::size_t const start = newline == std::string_view::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return text;
    return skip_space(text, start) == text.size() ? text.substr(0, start) : text;
  }

  void data(std::string_view text) {
    if (!text.empty()) out_.push_back({token::kind::data, std::string(text), line_});
  }

  void finish_tag(std::size_t end) {
    line_starting_ = source_[end - 1] == '\n';
    move_to(end);
  }

  void comment(std::size_t from) {
    std::size_t const close = source_.find("#}", from);
    if (close == std::string::npos) fail("a comment without #}");
    std::size_t end = close + 2;
    char const sign = close > from ? source_[close - 1] : '\0';
    if (sign == '-')
      end = skip_space(source_, end);
    else if (sign != '+' && end < source_.size() && source_[end] == '\n')
      ++end;
    finish_tag(end);
  }

  void raw(std::size_t body) {
    for (std::size_t i = source_.find("{%", body); i != std::string::npos; i = source_.find("{%", i + 1)) {
      char sign = '\0';
      std::size_t const end = end_of_word_tag(i, "endraw", true, sign);
      if (end == std::string::npos) continue;
      line_starting_ = source_[body - 1] == '\n';
      move_to(body);
      data(stripped(std::string_view(source_).substr(body, i - body), sign, false));
      return finish_tag(end);
    }
    fail("{% raw %} without {% endraw %}");
  }

  /// Tokens up to the end of the tag.
  void expression(bool variable) {
    std::string_view const close = variable ? "}}" : "%}";
    for (std::string brackets;;) {
      std::size_t const next = skip_space(source_, at_);
      if (next == source_.size()) fail(variable ? "{{ without }}" : "{% without %}");
      // Jinja looks for the end of the tag before it skips white space, so a sign must touch the close
      move_to(next);
      if (brackets.empty()) {
        bool const minus = source_[at_] == '-' && std::string_view(source_).substr(at_ + 1, 2) == close;
        bool const plus = !variable && source_[at_] == '+' && std::string_view(source_).substr(at_ + 1, 2) == close;
        if (minus || plus || at(close)) {
          out_.push_back({variable ? token::kind::variable_end : token::kind::block_end, "", line_});
          std::size_t end = at_ + (minus || plus ? 3 : 2);
          if (minus)
            end = skip_space(source_, end);
          else if (!plus && !variable && end < source_.size() && source_[end] == '\n')
            ++end;
          return finish_tag(end);
        }
      }
      one_token(brackets);
    }
  }

  void one_token(std::string& brackets) {
    char const c = source_[at_];
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') return quoted(c);
    if (is_name_start(decode(source_.data() + at_).value)) {
      std::size_t end = at_;
      while (end < source_.size() && is_word(decode(source_.data() + end).value)) end += length_of(source_[end]);
      out_.push_back({token::kind::name, source_.substr(at_, end - at_), line_});
      at_ = end;
      return;
    }
    for (std::string_view const symbol : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!at(symbol)) continue;
      out_.push_back({token::kind::symbol, std::string(symbol), line_});
      at_ += 2;
      return;
    }
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(c) == std::string_view::npos) fail("unexpected character " + in_quotes(source_.substr(at_, length_of(c))));
    if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) fail(std::string("unexpected '") + c + "'");
      brackets.pop_back();
    }
    out_.push_back({token::kind::symbol, std::string(1, c), line_});
    ++at_;
  }

  void number() {
    std::string text;
    std::size_t i = at_;
    auto const digits = [&] {
      while (i < source_.size() && (is_digit(source_[i]) || (source_[i] == '_' && i + 1 < source_.size() && is_digit(source_[i + 1])))) {
        if (source_[i] != '_') text += source_[i];
        ++i;
      }
    };
    digits();
    bool floating = false;
    bool const after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot && i + 1 < source_.size() && source_[i] == '.' && is_digit(source_[i + 1])) {
      floating = true;
      text += source_[i++];
      digits();
    }
    if (!after_dot && i < source_.size() && (source_[i] == 'e' || source_[i] == 'E')) {
      std::size_t const sign = i + 1 < source_.size() && (source_[i + 1] == '+' || source_[i + 1] == '-') ? 1 : 0;
      if (i + 1 + sign < source_.size() && is_digit(source_[i + 1 + sign])) {
        floating = true;
        text += source_.substr(i, 1 + sign);
        i += 1 + sign;
        digits();
      }
    }
    token t{floating ? token::kind::floating : token::kind::integer, text, line_};
    char const* const end = text.data() + text.size();
    bool const good = floating ? std::from_chars(text.data(), end, t.floating).ec == std::errc()
                               : std::from_chars(text.data(), end, t.integer).ec == std::errc();
    bool const prefixed = text == "0" && i < source_.size() && is_word(static_cast<unsigned char>(source_[i]));
    if (!good || prefixed || (!floating && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos))
      fail("the number " + in_quotes(source_.substr(at_, i - at_ + 1)) + " is not supported");
    out_.push_back(std::move(t));
    at_ = i;
  }

  void quoted(char quote) {
    std::uint32_t const line = line_;
    std::string text;
    std::size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\')
        text += source_[i];
      else
        i = escape(i + 1, text);
    }
    if (i >= source_.size()) fail("a string without its closing quote");
    out_.push_back({token::kind::string, std::move(text), line});
    move_to(i + 1);
  }

  /// Appends what the escape at `i` (after the backslash) means; returns its last byte.
  std::size_t escape(std::size_t i, std::string& text) const {
    if (i >= source_.size()) fail("a string without its closing quote");
    char const c = source_[i];
    static constexpr std::string_view names = "abfnrtv\\'\"";
    static constexpr std::string_view meanings = "\a\b\f\n\r\t\v\\'\"";
    if (std::size_t const k = names.find(c); k != std::string_view::npos) {
      text += meanings[k];
    } else if (c == '\n') {
      // a line that goes on
    } else if (c == 'x' || c == 'u' || c == 'U') {
      return hex(i, c == 'x' ? 2 : c == 'u' ? 4 : 8, text);
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      std::size_t end = i;
      for (; end < i + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7'; ++end)
        value = 8 * value + static_cast<char32_t>(source_[end] - '0');
      append(text, value);
      return end - 1;
    } else if (c == 'N') {
      fail("the escape \\N is not supported");
    } else {
      text += '\\';
      text += c;
    }
    return i;
  }

  std::size_t hex(std::size_t i, std::size_t digits, std::string& text) const {
    char32_t value = 0;
    for (std::size_t k = 1; k <= digits; ++k) {
      char const c = i + k < source_.size() ? static_cast<char>(source_[i + k] | 0x20) : '\0';
      bool const letter = c >= 'a' && c <= 'f';
      if (!letter && !(i + k < source_.size() && is_digit(source_[i + k]))) fail("a truncated escape \\" + source_.substr(i, 1));
      value = 16 * value + static_cast<char32_t>(letter ? c - 'a' + 10 : source_[i + k] - '0');
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail("the escape \\" + source_.substr(i, digits + 1) + " is no character");
    append(text, value);
    return i + digits;
  }

  std::string source_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<token> out_;
};

}  // namespace

bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

void template_error(std::uint32_t line, std::string const& what) {
  throw error("chat template, line " + std::to_string(line) + ": " + what);
}

std::vector<token> tokenize(std::string_view source) {
  if (find_invalid(source) != std::string_view::npos) throw error("chat template: not valid UTF-8");
  return lexer(source).run();
}

}  // namespace kedge::llm::text::jinja
