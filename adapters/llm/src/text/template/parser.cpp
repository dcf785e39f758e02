// SPDX-License-Identifier: Apache-2.0
#include <algorithm>         // find
#include <initializer_list>  // initializer_list

#include "lexer.hpp"
#include "kedge/llm/base/error.hpp"
#include "syntax.hpp"

namespace kedge::llm::text::jinja {
namespace {

using kind = expression::kind;
constexpr int deepest_nesting = 200;

class parser {
 public:
  explicit parser(std::string_view source) : tokens_(tokenize(source)) {}

  block run() {
    block out = statements({});
    if (here().what != token::kind::end) fail("unexpected " + described());
    return out;
  }

 private:
  /// Counts how deep the source is nested, so that no source can exhaust the stack.
  struct nesting {
    explicit nesting(parser& p) : owner(p) {
      if (++owner.depth_ > deepest_nesting) owner.fail("nesting deeper than " + std::to_string(deepest_nesting));
    }
    nesting(nesting const&) = delete;
    nesting& operator=(nesting const&) = delete;
    ~nesting() { --owner.depth_; }
    parser& owner;
  };

  // tokens

  [[nodiscard]] token const& here() const { return tokens_[at_]; }
  [[nodiscard]] token const& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  token const& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[noreturn]] void fail(std::string const& what) const { template_error(here().line, what); }

  [[nodiscard]] std::string described() const {
    switch (here().what) {
      case token::kind::end: return "end of the template";
      case token::kind::variable_end: return "}}";
      case token::kind::block_end: return "%}";
      case token::kind::string: return "a string";
      default: return in_quotes(here().text);
    }
  }

  [[nodiscard]] bool is_symbol(std::string_view s) const { return here().what == token::kind::symbol && here().text == s; }
  [[nodiscard]] bool is_name(std::string_view s) const { return here().what == token::kind::name && here().text == s; }
  bool skip_symbol(std::string_view s) { return is_symbol(s) && (take(), true); }
  bool skip_name(std::string_view s) { return is_name(s) && (take(), true); }
  void expect_symbol(std::string_view s) {
    if (!skip_symbol(s)) fail("expected '" + std::string(s) + "', got " + described());
  }
  std::string expect_name() {
    if (here().what != token::kind::name) fail("expected a name, got " + described());
    return take().text;
  }
  void expect_block_end() {
    if (here().what != token::kind::block_end) fail("expected %}, got " + described());
    take();
  }

  // expressions, loosest binding first

  expression_pointer make(kind what, std::uint32_t line) const {
    auto out = std::make_unique<expression>();
    out->what = what;
    out->line = line;
    return out;
  }

  template <class... Operands>
  expression_pointer make(kind what, std::uint32_t line, std::string name, Operands... operands) const {
    auto out = make(what, line);
    out->name = std::move(name);
    (out->operands.push_back(std::move(operands)), ...);
    return out;
  }

  expression_pointer expression_of(bool with_condition = true) {
    nesting const guard(*this);
    return with_condition ? conditional() : disjunction();
  }

  expression_pointer conditional() {
    auto left = disjunction();
    while (is_name("if")) {
      std::uint32_t const line = take().line;
      auto condition = disjunction();
      auto otherwise = skip_name("else") ? expression_of() : nullptr;
      left = make(kind::conditional, line, "", std::move(left), std::move(condition), std::move(otherwise));
    }
    return left;
  }

  expression_pointer disjunction() {
    auto left = conjunction();
    while (is_name("or")) {
      std::uint32_t const line = take().line;
      left = make(kind::logical_or, line, "", std::move(left), conjunction());
    }
    return left;
  }

  expression_pointer conjunction() {
    auto left = negation();
    while (is_name("and")) {
      std::uint32_t const line = take().line;
      left = make(kind::logical_and, line, "", std::move(left), negation());
    }
    return left;
  }

  expression_pointer negation() {
    if (!is_name("not")) return comparison();
    nesting const guard(*this);
    std::uint32_t const line = take().line;
    return make(kind::logical_not, line, "", negation());
  }

  /// The comparison operator here, "" if there is none.
  std::string take_comparison() {
    for (std::string_view const s : {"==", "!=", "<=", ">=", "<", ">"})
      if (skip_symbol(s)) return std::string(s);
    if (skip_name("in")) return "in";
    if (is_name("not") && ahead().what == token::kind::name && ahead().text == "in") {
      take();
      take();
      return "not in";
    }
    return "";
  }

  expression_pointer comparison() {
    auto left = sum();
    auto out = make(kind::comparison, left->line);
    for (std::string op = take_comparison(); !op.empty(); op = take_comparison()) {
      if (out->operands.empty()) out->operands.push_back(std::move(left));
      out->names.push_back(op);
      out->operands.push_back(sum());
    }
    return out->operands.empty() ? std::move(left) : std::move(out);
  }

  template <class Next>
  expression_pointer left_associative(std::initializer_list<std::string_view> operators, Next next) {
    auto left = next();
    for (;;) {
      auto const op = std::find_if(operators.begin(), operators.end(), [this](std::string_view s) { return is_symbol(s); });
      if (op == operators.end()) return left;
      std::uint32_t const line = take().line;
      auto right = next();
      left = make(kind::arithmetic, line, std::string(*op), std::move(left), std::move(right));
    }
  }

  expression_pointer sum() {
    return left_associative({"+", "-"}, [this] { return concatenation(); });
  }

  expression_pointer concatenation() {
    auto first = product();
    if (!is_symbol("~")) return first;
    auto out = make(kind::concatenation, here().line, "", std::move(first));
    while (skip_symbol("~")) out->operands.push_back(product());
    return out;
  }

  expression_pointer product() {
    return left_associative({"*", "/", "//", "%"}, [this] { return power(); });
  }
  expression_pointer power() {
    return left_associative({"**"}, [this] { return unary(true); });
  }

  expression_pointer unary(bool with_filters) {
    nesting const guard(*this);
    expression_pointer out;
    std::uint32_t const line = here().line;
    if (skip_symbol("-"))
      out = make(kind::negative, line, "", unary(false));
    else if (skip_symbol("+"))
      out = make(kind::positive, line, "", unary(false));
    else
      out = primary();
    out = postfix(std::move(out));
    return with_filters ? filtered(std::move(out)) : std::move(out);
  }

  expression_pointer constant(value v, std::uint32_t line) const {
    auto out = make(kind::constant, line);
    out->constant = std::move(v);
    return out;
  }

  expression_pointer primary() {
    token const t = here();
    switch (t.what) {
      case token::kind::name: {
        take();
        if (t.text == "true" || t.text == "True") return constant(true, t.line);
        if (t.text == "false" || t.text == "False") return constant(false, t.line);
        if (t.text == "none" || t.text == "None") return constant(nullptr, t.line);
        return make(kind::name, t.line, t.text);
      }
      case token::kind::string: {
        std::string text;
        while (here().what == token::kind::string) text += take().text;
        return constant(std::move(text), t.line);
      }
      case token::kind::integer: take(); return constant(t.integer, t.line);
      case token::kind::floating: take(); return constant(t.floating, t.line);
      default: break;
    }
    if (skip_symbol("(")) {
      auto out = tuple(true, true);
      expect_symbol(")");
      return out;
    }
    if (is_symbol("[")) return items(kind::list, "[", "]");
    if (is_symbol("{")) return items(kind::dictionary, "{", "}");
    fail("unexpected " + described());
  }

  expression_pointer items(kind what, std::string_view open, std::string_view close) {
    auto out = make(what, here().line);
    expect_symbol(open);
    while (!is_symbol(close)) {
      if (!out->operands.empty()) expect_symbol(",");
      if (is_symbol(close)) break;
      out->operands.push_back(expression_of());
      if (what != kind::dictionary) continue;
      expect_symbol(":");
      out->operands.push_back(expression_of());
    }
    expect_symbol(close);
    return out;
  }

  [[nodiscard]] bool tuple_ends() const {
    return here().what == token::kind::variable_end || here().what == token::kind::block_end || is_symbol(")") ||
           (is_name("recursive") && in_loop_head_);
  }

  /// One expression, or a tuple if commas follow.
  expression_pointer tuple(bool with_condition, bool in_parentheses) {
    auto out = make(kind::tuple, here().line);
    bool comma = false;
    while (!tuple_ends()) {
      out->operands.push_back(expression_of(with_condition));
      if (!is_symbol(",")) break;
      take();
      comma = true;
    }
    if (!comma && out->operands.size() == 1) {
      auto only = std::move(out->operands[0]);
      return only;
    }
    if (!comma && !in_parentheses) fail("expected an expression, got " + described());
    return out;
  }

  expression_pointer postfix(expression_pointer out) {
    for (;;) {
      if (is_symbol("."))
        out = dotted(std::move(out));
      else if (is_symbol("["))
        out = subscript(std::move(out));
      else if (is_symbol("("))
        out = called(std::move(out));
      else
        return out;
    }
  }

  expression_pointer dotted(expression_pointer of) {
    std::uint32_t const line = take().line;
    if (here().what == token::kind::name) return make(kind::attribute, line, take().text, std::move(of));
    if (here().what != token::kind::integer) fail("expected a name or a number after '.', got " + described());
    auto index = constant(take().integer, line);
    return make(kind::item, line, "", std::move(of), std::move(index));
  }

  expression_pointer subscript(expression_pointer of) {
    std::uint32_t const line = take().line;
    if (is_symbol("]")) fail("an empty subscript");
    auto start = is_symbol(":") ? nullptr : expression_of();
    if (!is_symbol(":")) {
      if (is_symbol(",")) fail("a subscript of several indices is not supported");
      expect_symbol("]");
      return make(kind::item, line, "", std::move(of), std::move(start));
    }
    auto const bound = [this] {
      take();
      return is_symbol(":") || is_symbol("]") ? nullptr : expression_of();
    };
    auto stop = bound();
    auto step = is_symbol(":") ? bound() : nullptr;
    expect_symbol("]");
    return make(kind::slice, line, "", std::move(of), std::move(start), std::move(stop), std::move(step));
  }

  expression_pointer called(expression_pointer callee) {
    auto out = make(kind::call, here().line, "", std::move(callee));
    out->arguments = call_arguments();
    return out;
  }

  call_syntax call_arguments() {
    call_syntax out;
    expect_symbol("(");
    for (bool first = true; !is_symbol(")"); first = false) {
      if (!first) {
        expect_symbol(",");
        if (is_symbol(")")) break;
      }
      if (skip_symbol("*")) {
        if (out.list || out.dictionary) fail("a second *argument");
        out.list = expression_of();
      } else if (skip_symbol("**")) {
        if (out.dictionary) fail("a second **argument");
        out.dictionary = expression_of();
      } else if (here().what == token::kind::name && ahead().what == token::kind::symbol && ahead().text == "=") {
        std::string name = take().text;
        take();
        out.named.emplace_back(std::move(name), expression_of());
      } else {
        if (out.list || out.dictionary || !out.named.empty()) fail("a positional argument after a named one");
        out.positional.push_back(expression_of());
      }
    }
    expect_symbol(")");
    return out;
  }

  expression_pointer filtered(expression_pointer out) {
    for (;;) {
      if (is_symbol("|"))
        out = (take(), filter(std::move(out)));
      else if (is_name("is"))
        out = test(std::move(out));
      else if (is_symbol("("))
        out = called(std::move(out));
      else
        return out;
    }
  }

  expression_pointer filter(expression_pointer of) {
    std::uint32_t const line = here().line;
    auto out = make(kind::filter, line, expect_name(), std::move(of));
    if (is_symbol("(")) out->arguments = call_arguments();
    return out;
  }

  expression_pointer test(expression_pointer of) {
    std::uint32_t const line = take().line;
    bool const negated = skip_name("not");
    auto out = make(kind::test, line, expect_name(), std::move(of));
    token const& t = here();
    bool const literal = t.what == token::kind::string || t.what == token::kind::integer || t.what == token::kind::floating ||
                         is_symbol("[") || is_symbol("{") ||
                         (t.what == token::kind::name && t.text != "else" && t.text != "or" && t.text != "and");
    if (is_symbol("(")) {
      out->arguments = call_arguments();
    } else if (literal) {
      if (is_name("is")) fail("a chain of tests with 'is'");
      out->arguments.positional.push_back(postfix(primary()));
    }
    return negated ? make(kind::logical_not, line, "", std::move(out)) : std::move(out);
  }

  // statements

  /// Statements up to a block whose name is one of `ends`, whose {% and name stay unread.
  block statements(std::initializer_list<std::string_view> ends) {
    nesting const guard(*this);
    block out;
    for (;;) {
      token const& t = here();
      if (t.what == token::kind::end) {
        if (ends.size() == 0) return out;
        fail("{% " + std::string(*(ends.end() - 1)) + " %} is missing at the end of the template");
      }
      if (t.what == token::kind::data) {
        out.push_back(make_statement(statement::kind::text));
        out.back()->text = take().text;
      } else if (t.what == token::kind::variable_begin) {
        take();
        out.push_back(make_statement(statement::kind::output));
        out.back()->value = tuple(true, false);
        if (here().what != token::kind::variable_end) fail("expected }}, got " + described());
        take();
      } else {
        take();
        if (here().what != token::kind::name) fail("expected a tag's name, got " + described());
        if (std::find(ends.begin(), ends.end(), here().text) != ends.end()) return out;
        out.push_back(tag());
        expect_block_end();
      }
    }
  }

  /// A body: the end of the opening tag, statements, and the name that ended them.
  block body(std::initializer_list<std::string_view> ends, std::string& ended_by) {
    expect_block_end();
    block out = statements(ends);
    ended_by = take().text;
    return out;
  }
  block body(std::string_view end) {
    std::string ignored;
    return body({end}, ignored);
  }

  [[nodiscard]] std::unique_ptr<statement> make_statement(statement::kind what) const {
    auto out = std::make_unique<statement>();
    out->what = what;
    out->line = here().line;
    return out;
  }

  std::unique_ptr<statement> tag() {
    std::string const name = here().text;
    if (name == "if") return branch();
    if (name == "for") return loop();
    if (name == "set") return assignment();
    if (name == "macro") return macro();
    if (name == "call") return call_block();
    if (name == "filter") return filter_block();
    if (name == "with") return with();
    if (name == "generation") {
      auto out = make_statement(statement::kind::generation);
      take();
      out->body = body("endgeneration");
      return out;
    }
    if (name == "break" || name == "continue") {
      auto out = make_statement(name == "break" ? statement::kind::leave : statement::kind::next);
      if (loops_ == 0) fail("{% " + name + " %} outside of a loop");
      take();
      return out;
    }
    fail("the tag {% " + name + " %} is not supported");
  }

  std::unique_ptr<statement> branch() {
    auto out = make_statement(statement::kind::branch);
    std::string ended;
    do {
      take();
      auto condition = tuple(false, false);
      block then = body({"elif", "else", "endif"}, ended);
      out->branches.emplace_back(std::move(condition), std::move(then));
      if (ended == "elif") --at_;
    } while (ended == "elif");
    if (ended == "else") out->branches.emplace_back(nullptr, body("endif"));
    return out;
  }

  target assignment_target(bool may_unpack, bool may_have_attribute) {
    std::vector<target> parts;
    bool comma = false;
    while (here().what == token::kind::name || is_symbol("(")) {
      if (is_name("in") && !parts.empty()) break;
      target part;
      if (skip_symbol("(")) {
        part = assignment_target(true, may_have_attribute);
        expect_symbol(")");
      } else {
        part.name = take().text;
        if (may_have_attribute && skip_symbol(".")) part.attribute = expect_name();
        for (std::string_view const reserved : {"true", "false", "none", "True", "False", "None"})
          if (part.name == reserved) fail("can't assign to " + in_quotes(part.name));
      }
      parts.push_back(std::move(part));
      if (!may_unpack || !is_symbol(",")) break;
      take();
      comma = true;
    }
    if (parts.empty()) fail("expected a name to assign to, got " + described());
    if (!comma) return std::move(parts[0]);
    target out;
    out.parts = std::move(parts);
    return out;
  }

  std::unique_ptr<statement> loop() {
    auto out = make_statement(statement::kind::loop);
    take();
    out->targets.push_back(assignment_target(true, false));
    if (!skip_name("in")) fail("expected 'in', got " + described());
    in_loop_head_ = true;
    out->value = tuple(false, false);
    in_loop_head_ = false;
    if (skip_name("if")) out->condition = expression_of();
    out->recursive = skip_name("recursive");
    std::string ended;
    ++loops_;
    out->body = body({"else", "endfor"}, ended);
    --loops_;
    if (ended == "else") out->otherwise = body("endfor");
    return out;
  }

  std::unique_ptr<statement> assignment() {
    auto out = make_statement(statement::kind::assign);
    take();
    out->targets.push_back(assignment_target(true, true));
    if (skip_symbol("=")) {
      out->value = tuple(true, false);
      return out;
    }
    out->what = statement::kind::capture;
    if (is_symbol("|")) out->value = filters_without_operand();
    out->body = body("endset");
    return out;
  }

  /// `| a | b(…)` applied to what a block will render.
  expression_pointer filters_without_operand() {
    take();
    auto out = filter(nullptr);
    while (skip_symbol("|")) out = filter(std::move(out));
    return out;
  }

  macro_syntax definition(std::string name, std::string_view end) {
    macro_syntax out;
    out.name = std::move(name);
    if (skip_symbol("(")) {
      while (!is_symbol(")")) {
        if (!out.parameters.empty()) expect_symbol(",");
        parameter p;
        p.name = expect_name();
        if (skip_symbol("="))
          p.otherwise = expression_of();
        else if (!out.parameters.empty() && out.parameters.back().otherwise)
          fail("a parameter without default after one with");
        out.parameters.push_back(std::move(p));
      }
      expect_symbol(")");
    }
    if (end == "endmacro") return with_body(std::move(out), end);
    return out;
  }

  macro_syntax with_body(macro_syntax out, std::string_view end) {
    std::size_t const start = at_;
    std::size_t const loops = loops_;
    loops_ = 0;
    out.body = body(end);
    loops_ = loops;
    for (std::size_t i = start; i < at_; ++i) {
      if (tokens_[i].what != token::kind::name) continue;
      out.catches_list = out.catches_list || tokens_[i].text == "varargs";
      out.catches_dictionary = out.catches_dictionary || tokens_[i].text == "kwargs";
      out.uses_caller = out.uses_caller || tokens_[i].text == "caller";
    }
    return out;
  }

  std::unique_ptr<statement> macro() {
    auto out = make_statement(statement::kind::macro);
    take();
    std::string name = expect_name();
    out->definition = definition(std::move(name), "endmacro");
    return out;
  }

  std::unique_ptr<statement> call_block() {
    auto out = make_statement(statement::kind::call);
    take();
    out->definition = definition("caller", "endcall");
    out->value = expression_of();
    if (out->value->what != kind::call) fail("{% call %} needs a call");
    out->definition = with_body(std::move(out->definition), "endcall");
    return out;
  }

  std::unique_ptr<statement> filter_block() {
    auto out = make_statement(statement::kind::filter);
    take();
    out->value = filter(nullptr);
    while (skip_symbol("|")) out->value = filter(std::move(out->value));
    out->body = body("endfilter");
    return out;
  }

  std::unique_ptr<statement> with() {
    auto out = make_statement(statement::kind::scope);
    take();
    while (here().what != token::kind::block_end) {
      if (!out->targets.empty()) expect_symbol(",");
      out->targets.push_back(assignment_target(false, false));
      expect_symbol("=");
      out->values.push_back(expression_of());
    }
    out->body = body("endwith");
    return out;
  }

  std::vector<token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::size_t loops_ = 0;
  bool in_loop_head_ = false;
};

}  // namespace

block parse_template(std::string_view source) { return parser(source).run(); }

}  // namespace kedge::llm::text::jinja
