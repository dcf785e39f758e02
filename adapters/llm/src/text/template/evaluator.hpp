// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <memory>        // unique_ptr
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

#include "syntax.hpp"

namespace kedge::llm::text::jinja {

/// Names of one scope; what isn't found is looked up outside.
struct scope {
  scope* outer = nullptr;
  std::vector<std::pair<std::string, value>> names;
  bool captured = false;  ///< a macro or loop refers to it, so it lives as long as the rendering

  [[nodiscard]] value const* find(std::string_view name) const;
  void set(std::string const& name, value v);
};

/// Renders one template once. Work and size are bounded: a template can't hang or fill the memory.
class evaluator {
 public:
  static constexpr std::size_t most_steps = 20'000'000;      ///< expressions, statements, elements and 16-byte units of text gone through
  static constexpr std::size_t longest_text = 64U << 20U;    ///< bytes of any one string
  static constexpr int deepest_call = 600;                   ///< nested expressions, statements and macro calls

  explicit evaluator(std::vector<std::pair<std::string, value>> variables);
  evaluator(evaluator const&) = delete;
  evaluator& operator=(evaluator const&) = delete;
  ~evaluator();

  /// throws  kedge::llm::error with the line
  std::string render(block const& body);

  /// What of the text that render() gave stands in generation blocks: [begin, end) each, bytes.
  /// throws  fault if one of them is written by a macro or into a variable: its place in the text isn't known
  [[nodiscard]] std::vector<std::pair<std::size_t, std::size_t>> const& generated() const;

  // for filters, tests, methods and functions

  value call(value const& callee, arguments const& a);
  /// object.name, as Jinja looks it up: attributes and methods before items
  value attribute(value const& of, std::string const& name);
  /// object[key]: items before attributes
  value item(value const& of, value const& key);
  value filter(std::string const& name, value const& input, arguments const& a);
  bool test(std::string const& name, value const& input, arguments const& a);
  /// Counts `n` units of work. throws fault when there was too much
  void charge(std::size_t n);
  /// Counts text that was made and checks its length.
  std::string checked(std::string text);
  void check_length(std::size_t bytes);
  /// v.str(), its work counted.
  std::string str(value const& v);
  /// Calls a macro: its arguments bound in a scope inside `closure`.
  value call_macro(macro_syntax const& macro, scope* closure, arguments const& a);
  /// The body of a recursive loop over other items.
  value recurse(statement const& loop, scope* closure, value const& items, std::size_t depth);
  void keep(std::shared_ptr<dictionary> attributes) { namespaces_.push_back(std::move(attributes)); }

 private:
  enum class flow { normal, leave, next };
  struct scoped_depth;
  class scope_guard;

  value eval(expression const& e);
  value eval_operator(expression const& e);
  value eval_name(expression const& e);
  value eval_dictionary(expression const& e);
  value eval_comparison(expression const& e);
  value eval_call(expression const& e);
  value eval_slice(expression const& e);
  arguments eval_arguments(call_syntax const& syntax);
  value filter_text(expression const& filters, value input);

  flow run(block const& body);
  flow run(statement const& s);
  flow run_loop(statement const& s);
  flow run_items(statement const& s, value const& items, std::size_t depth);
  std::vector<value> loop_items(statement const& s, value const& items);
  void run_call(statement const& s);
  flow run_generation(statement const& s);
  std::string captured(block const& body);
  [[nodiscard]] std::string begin_capture();
  [[nodiscard]] std::string end_capture(std::string before_it);
  void assign(target const& to, value const& v);
  void write(std::string_view text);
  void capture_scopes();

  std::string out_;
  std::vector<std::pair<std::size_t, std::size_t>> generated_;
  int captures_ = 0;         // out_ is no part of the text yet
  bool misplaced_ = false;   // a generation block was in such a part
  std::vector<std::unique_ptr<scope>> scopes_;
  scope* scope_ = nullptr;
  std::vector<std::shared_ptr<dictionary>> namespaces_;  // emptied at the end: one may hold itself
  std::size_t steps_ = 0;
  int depth_ = 0;
  std::uint32_t line_ = 1;
};

using filter_function = value (*)(evaluator&, value const&, arguments const&);
using test_function = bool (*)(evaluator&, value const&, arguments const&);

/// Null if there is none of that name.
filter_function find_filter(std::string_view name);
test_function find_test(std::string_view name);
/// range, dict, namespace, raise_exception, strftime_now, cycler, joiner; undefined if there is none.
value find_global(std::string_view name);
/// A method of a string, list or dictionary, bound to it; undefined if there is none.
value find_method(value const& of, std::string const& name);

value binary_operation(evaluator& e, std::string_view op, value const& a, value const& b);
/// Python's `text % arguments`.
std::string percent_format(evaluator& e, std::string const& format, value const& args);
/// Python's `text.format(…)`.
std::string brace_format(evaluator& e, std::string const& format, arguments const& a);

/// A function or method written in C++.
class builtin final : public object {
 public:
  using body = std::function<value(evaluator&, arguments const&)>;
  /// `held`: the depth of the values that `run` holds
  builtin(std::string name, body run, int held) : name_(std::move(name)), run_(std::move(run)), depth_(deeper(held)) {}
  [[nodiscard]] std::string_view kind() const override { return "function"; }
  [[nodiscard]] bool callable() const override { return true; }
  value call(evaluator& e, arguments const& a) override { return run_(e, a); }
  [[nodiscard]] int depth() const override { return depth_; }
  [[nodiscard]] std::string const& name() const { return name_; }

 private:
  std::string name_;
  body run_;
  int depth_;
};

inline value make_builtin(std::string name, builtin::body run, int held = 0) {
  return value(std::shared_ptr<object>(std::make_shared<builtin>(std::move(name), std::move(run), held)));
}

/// Thrown by raise_exception: the template's own message.
class raised : public fault {
 public:
  using fault::fault;
};

/// What `namespace(…)` makes: attributes that a template may set.
class name_space final : public object {
 public:
  explicit name_space(std::shared_ptr<dictionary> attributes) : attributes_(std::move(attributes)) {}
  [[nodiscard]] std::string_view kind() const override { return "Namespace"; }
  [[nodiscard]] value attribute(std::string const& name) const override {
    value const* const found = attributes_->find(name);
    return found == nullptr ? value(undefined{"'Namespace' object has no attribute '" + name + "'"}) : *found;
  }
  void set(std::string const& name, value v) {
    if (name[0] == '_') throw fault("a namespace has no attributes that begin with an underscore, such as '" + name + "'");
    attributes_->set(name, std::move(v));
  }

 private:
  std::shared_ptr<dictionary> attributes_;
};

}  // namespace kedge::llm::text::jinja
