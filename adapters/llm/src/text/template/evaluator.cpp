// SPDX-License-Identifier: Apache-2.0
#include "evaluator.hpp"

#include <algorithm>  // find_if, clamp
#include <utility>    // exchange

#include "../unicode.hpp"
#include "lexer.hpp"
#include "loop.hpp"

namespace kedge::llm::text::jinja {
namespace {

using kind = expression::kind;

class macro_object final : public object {
 public:
  macro_object(macro_syntax const& syntax, scope* closure) : syntax_(syntax), closure_(closure) {}
  [[nodiscard]] std::string_view kind() const override { return "macro"; }
  [[nodiscard]] bool callable() const override { return true; }
  [[nodiscard]] value attribute(std::string const& name) const override {
    return name == "name" ? value(syntax_.name) : value(undefined{"macro has no attribute '" + name + "'"});
  }
  value call(evaluator& e, arguments const& a) override { return e.call_macro(syntax_, closure_, a); }

 private:
  macro_syntax const& syntax_;
  scope* closure_;
};

}  // namespace

value const* scope::find(std::string_view name) const {
  for (scope const* s = this; s != nullptr; s = s->outer)
    for (auto const& [key, v] : s->names)
      if (key == name) return &v;
  return nullptr;
}

void scope::set(std::string const& name, value v) {
  for (auto& [key, old] : names) {
    if (key != name) continue;
    old = std::move(v);
    return;
  }
  names.emplace_back(name, std::move(v));
}

struct evaluator::scoped_depth {
  explicit scoped_depth(evaluator& e) : owner(e) {
    if (++owner.depth_ > deepest_call) {
      --owner.depth_;
      throw fault("calls and expressions nested deeper than " + std::to_string(deepest_call));
    }
    owner.charge(1);
  }
  scoped_depth(scoped_depth const&) = delete;
  scoped_depth& operator=(scoped_depth const&) = delete;
  ~scoped_depth() { --owner.depth_; }
  evaluator& owner;
};

/// Opens a scope inside `outer`; closing forgets it unless something refers to it.
class evaluator::scope_guard {
 public:
  scope_guard(evaluator& e, scope* outer) : owner_(e), previous_(e.scope_) {
    e.scopes_.push_back(std::make_unique<scope>());
    e.scopes_.back()->outer = outer;
    e.scope_ = e.scopes_.back().get();
  }
  scope_guard(scope_guard const&) = delete;
  scope_guard& operator=(scope_guard const&) = delete;
  ~scope_guard() {
    if (owner_.scopes_.back().get() == owner_.scope_ && !owner_.scope_->captured) owner_.scopes_.pop_back();
    owner_.scope_ = previous_;
  }

 private:
  evaluator& owner_;
  scope* previous_;
};

evaluator::evaluator(std::vector<std::pair<std::string, value>> variables) {
  scopes_.push_back(std::make_unique<scope>());
  scope_ = scopes_.back().get();
  scope_->names = std::move(variables);
}

evaluator::~evaluator() {
  for (auto const& attributes : namespaces_) attributes->items.clear();
  for (auto const& s : scopes_) s->names.clear();
}

std::string evaluator::render(block const& body) {
  try {
    run(body);
  } catch (fault const& f) {
    template_error(line_, f.what());
  }
  return std::move(out_);
}

void evaluator::charge(std::size_t n) {
  steps_ += n;
  if (steps_ > most_steps) throw fault("the template takes too many steps; is it meant to loop this long?");
}

void evaluator::check_length(std::size_t bytes) {
  if (bytes > longest_text) throw fault("a text of more than " + std::to_string(longest_text) + " bytes");
  charge(bytes / 16);
}

std::string evaluator::str(value const& v) {
  charge(weight_of(v));
  return v.str();
}

std::string evaluator::checked(std::string text) {
  check_length(text.size());
  return text;
}

void evaluator::write(std::string_view text) {
  check_length(text.size());
  if (out_.size() + text.size() > longest_text) throw fault("the output has more than " + std::to_string(longest_text) + " bytes");
  out_ += text;
}

void evaluator::capture_scopes() {
  for (scope* s = scope_; s != nullptr && !s->captured; s = s->outer) s->captured = true;
}

// expressions

value evaluator::eval(expression const& e) {
  scoped_depth const guard(*this);
  line_ = e.line;
  switch (e.what) {
    case kind::constant: return e.constant;
    case kind::name: return eval_name(e);
    case kind::list:
    case kind::tuple: {
      std::vector<value> items;
      for (auto const& operand : e.operands) items.push_back(eval(*operand));
      return value::of_list(std::move(items), e.what == kind::tuple ? list_kind::tuple : list_kind::list);
    }
    case kind::dictionary: return eval_dictionary(e);
    case kind::attribute: return attribute(eval(*e.operands[0]), e.name);
    case kind::item: {
      value const of = eval(*e.operands[0]);
      return item(of, eval(*e.operands[1]));
    }
    case kind::slice: return eval_slice(e);
    case kind::call: return eval_call(e);
    case kind::filter: {
      value const input = eval(*e.operands[0]);
      arguments const a = eval_arguments(e.arguments);
      line_ = e.line;
      return filter(e.name, input, a);
    }
    case kind::test: {
      value const input = eval(*e.operands[0]);
      return test(e.name, input, eval_arguments(e.arguments));
    }
    case kind::conditional:
      if (eval(*e.operands[1]).truth()) return eval(*e.operands[0]);
      if (e.operands[2]) return eval(*e.operands[2]);
      return undefined{"the inline if-expression evaluated to false and no else section was defined"};
    default: return eval_operator(e);
  }
}

value evaluator::eval_operator(expression const& e) {
  value const left = eval(*e.operands[0]);
  switch (e.what) {
    case kind::logical_not: return !left.truth();
    case kind::logical_and: return left.truth() ? eval(*e.operands[1]) : left;
    case kind::logical_or: return left.truth() ? left : eval(*e.operands[1]);
    case kind::negative:
      if (left.is_float()) return -left.to_double("-");
      return binary_operation(*this, "-", value(std::int64_t{0}), left);
    case kind::positive: return binary_operation(*this, "+", value(std::int64_t{0}), left);
    case kind::arithmetic: {
      value const right = eval(*e.operands[1]);
      line_ = e.line;
      return binary_operation(*this, e.name, left, right);
    }
    case kind::concatenation: {
      std::string text = str(left);
      for (std::size_t i = 1; i < e.operands.size(); ++i) {
        text += str(eval(*e.operands[i]));
        check_length(text.size());
      }
      return text;
    }
    case kind::comparison: return eval_comparison(e);
    default: break;
  }
  return {};
}

value evaluator::eval_name(expression const& e) {
  if (value const* const found = scope_->find(e.name)) return *found;
  value const global = find_global(e.name);
  return global.is_undefined() ? value(undefined{"'" + e.name + "' is undefined"}) : global;
}

value evaluator::eval_dictionary(expression const& e) {
  auto out = std::make_shared<dictionary>();
  for (std::size_t i = 0; i < e.operands.size(); i += 2) {
    value key = eval(*e.operands[i]);
    if (key.is_list() || key.is_dictionary()) throw fault("unhashable type: '" + key.type_name() + "'");
    charge(out->items.size());
    out->set(std::move(key), eval(*e.operands[i + 1]));
  }
  return out;
}

value evaluator::eval_comparison(expression const& e) {
  value left = eval(*e.operands[0]);
  for (std::size_t i = 0; i < e.names.size(); ++i) {
    value right = eval(*e.operands[i + 1]);
    std::string const& op = e.names[i];
    bool holds = false;
    line_ = e.line;
    bool const membership = op == "in" || op == "not in";
    charge(membership ? (right.is_string() ? weight_of(right) : right.is_list() || right.is_dictionary() ? right.length_of_any() * weight_of(left) : 1)
                      : std::min(weight_of(left), weight_of(right)));
    if (op == "==")
      holds = equal(left, right);
    else if (op == "!=")
      holds = !equal(left, right);
    else if (op == "in")
      holds = contains(right, left);
    else if (op == "not in")
      holds = !contains(right, left);
    else {
      int const order = compare(left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

value evaluator::eval_call(expression const& e) {
  value const callee = eval(*e.operands[0]);
  arguments const a = eval_arguments(e.arguments);
  line_ = e.line;
  return call(callee, a);
}

arguments evaluator::eval_arguments(call_syntax const& syntax) {
  arguments out;
  for (auto const& e : syntax.positional) out.positional.push_back(eval(*e));
  for (auto const& [name, e] : syntax.named) out.named.emplace_back(name, eval(*e));
  if (syntax.list)
    for (value& v : eval(*syntax.list).elements()) out.positional.push_back(std::move(v));
  if (syntax.dictionary) {
    value const more = eval(*syntax.dictionary);
    if (!more.is_dictionary()) throw fault("** needs a mapping, got " + more.type_name());
    for (auto const& [key, v] : more.as_dictionary().items) out.named.emplace_back(key.to_string("**"), v);
  }
  return out;
}

value evaluator::call(value const& callee, arguments const& a) {
  if (callee.is_undefined()) throw fault(callee.as_undefined().what.empty() ? "an undefined value was called" : callee.as_undefined().what);
  if (!callee.is_object()) throw fault("'" + callee.type_name() + "' object is not callable");
  auto const keep_alive = callee.object_pointer();
  return keep_alive->call(*this, a);
}

value evaluator::attribute(value const& of, std::string const& name) {
  if (of.is_undefined()) throw fault(of.as_undefined().what + ", so it has no attribute '" + name + "'");
  if (of.is_object()) return of.as_object().attribute(name);
  if (value method = find_method(of, name); !method.is_undefined()) return method;
  if (of.is_dictionary()) charge(of.length() / 8);
  if (of.is_dictionary())
    if (value const* const found = of.as_dictionary().find(name)) return *found;
  return undefined{"'" + of.type_name() + " object' has no attribute '" + name + "'"};
}

value evaluator::item(value const& of, value const& key) {
  if (of.is_undefined()) throw fault(of.as_undefined().what + ", so it has no item " + key.repr());
  if (of.is_dictionary()) charge((1 + of.length() / 8) * weight_of(key));
  if (of.is_dictionary())
    if (value const* const found = of.as_dictionary().find(key)) return *found;
  if ((of.is_indexed() || of.is_string()) && (key.is_integer() || key.is_bool())) {
    auto const size = static_cast<std::int64_t>(of.length());
    std::int64_t i = key.to_integer("[]");
    if (i < 0) i += size;
    if (i < 0 || i >= size) return undefined{of.type_name() + " object has no element " + key.str()};
    if (of.is_list()) return of.as_list()[static_cast<std::size_t>(i)];
    charge(of.as_string().size() / 16);
    std::string_view rest = of.as_string();
    for (; i > 0; --i) rest.remove_prefix(length_of(rest[0]));
    return rest.substr(0, length_of(rest[0]));
  }
  if (key.is_string()) {
    if (of.is_object()) return of.as_object().attribute(key.as_string());
    if (value method = find_method(of, key.as_string()); !method.is_undefined()) return method;
  }
  return undefined{"'" + of.type_name() + " object' has no item " + (key.is_object() ? "like this" : key.repr())};
}

value evaluator::eval_slice(expression const& e) {
  value const of = eval(*e.operands[0]);
  if (of.is_undefined()) throw fault(of.as_undefined().what + ", so it can't be sliced");
  if (!of.is_indexed() && !of.is_string()) return undefined{"'" + of.type_name() + "' object can't be sliced"};
  auto const bound = [&](std::size_t i) -> value { return e.operands[i] ? eval(*e.operands[i]) : value(nullptr); };
  value const first = bound(1);
  value const last = bound(2);
  value const stride = bound(3);
  auto const size = static_cast<std::int64_t>(of.length());
  std::int64_t const step = stride.is_none() ? 1 : stride.to_integer("a slice");
  if (step == 0) throw fault("slice step cannot be zero");
  auto const clamp = [&](value const& v, std::int64_t otherwise) {
    if (v.is_none()) return otherwise;
    std::int64_t i = v.to_integer("a slice");
    if (i < 0) i += size;
    return step > 0 ? std::clamp<std::int64_t>(i, 0, size) : std::clamp<std::int64_t>(i, -1, size - 1);
  };
  std::int64_t const begin = clamp(first, step > 0 ? 0 : size - 1);
  std::int64_t const end = clamp(last, step > 0 ? size : -1);
  auto const elements = of.elements();
  charge(elements.size());
  std::vector<value> items;
  std::int64_t const magnitude = std::min(step > 0 ? step : step == INT64_MIN ? INT64_MAX : -step, size + 1);
  for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step > 0 ? magnitude : -magnitude)
    items.push_back(elements[static_cast<std::size_t>(i)]);
  if (of.is_list()) return value::of_list(std::move(items), of.kind());
  std::string text;
  for (value const& v : items) text += v.as_string();
  return text;
}

value evaluator::filter(std::string const& name, value const& input, arguments const& a) {
  filter_function const f = find_filter(name);
  if (input.is_string()) charge(weight_of(input));
  if (f == nullptr) throw fault("the filter '" + name + "' is not supported");
  return f(*this, input, a);
}

bool evaluator::test(std::string const& name, value const& input, arguments const& a) {
  test_function const t = find_test(name);
  if (t == nullptr) throw fault("the test '" + name + "' is not supported");
  if (!a.positional.empty()) charge(std::min(weight_of(input), weight_of(a.positional[0])) + (name == "in" ? weight_of(a.positional[0]) : 0));
  return t(*this, input, a);
}

value evaluator::filter_text(expression const& filters, value input) {
  if (filters.operands[0]) input = filter_text(*filters.operands[0], std::move(input));
  return filter(filters.name, input, eval_arguments(filters.arguments));
}

// statements

evaluator::flow evaluator::run(block const& body) {
  for (auto const& s : body)
    if (flow const f = run(*s); f != flow::normal) return f;
  return flow::normal;
}

evaluator::flow evaluator::run(statement const& s) {
  scoped_depth const guard(*this);
  line_ = s.line;
  switch (s.what) {
    case statement::kind::text: write(s.text); break;
    case statement::kind::output: write(str(eval(*s.value))); break;
    case statement::kind::branch:
      for (auto const& [condition, body] : s.branches)
        if (!condition || eval(*condition).truth()) return run(body);
      break;
    case statement::kind::loop: return run_loop(s);
    case statement::kind::assign: assign(s.targets[0], eval(*s.value)); break;
    case statement::kind::capture: {
      value text = captured(s.body);
      assign(s.targets[0], s.value ? filter_text(*s.value, std::move(text)) : std::move(text));
      break;
    }
    case statement::kind::macro:
      capture_scopes();
      scope_->set(s.definition.name, value(std::shared_ptr<object>(std::make_shared<macro_object>(s.definition, scope_))));
      break;
    case statement::kind::call: run_call(s); break;
    case statement::kind::filter: write(str(filter_text(*s.value, captured(s.body)))); break;
    case statement::kind::scope: {
      std::vector<value> values;
      for (auto const& v : s.values) values.push_back(eval(*v));
      scope_guard const inner(*this, scope_);
      for (std::size_t i = 0; i < values.size(); ++i) assign(s.targets[i], values[i]);
      return run(s.body);
    }
    case statement::kind::generation: return run_generation(s);
    case statement::kind::leave: return flow::leave;
    case statement::kind::next: return flow::next;
  }
  return flow::normal;
}

std::vector<std::pair<std::size_t, std::size_t>> const& evaluator::generated() const {
  if (misplaced_) throw fault("a generation block stands in a macro or is written into a variable, so that its place in the text isn't known");
  return generated_;
}

evaluator::flow evaluator::run_generation(statement const& s) {
  scope_guard const inner(*this, scope_);
  std::size_t const begin = out_.size();
  flow const end = run(s.body);
  misplaced_ = misplaced_ || captures_ > 0;
  if (captures_ == 0) generated_.emplace_back(begin, out_.size());
  return end;
}

std::string evaluator::begin_capture() {
  ++captures_;
  return std::exchange(out_, {});
}

std::string evaluator::end_capture(std::string before_it) {
  --captures_;
  return std::exchange(out_, std::move(before_it));
}

/// What a block writes, instead of writing it.
std::string evaluator::captured(block const& body) {
  std::string before_it = begin_capture();
  scope_guard const inner(*this, scope_);
  run(body);
  return end_capture(std::move(before_it));
}

void evaluator::assign(target const& to, value const& v) {
  if (!to.parts.empty()) {
    auto const items = v.elements();
    if (items.size() != to.parts.size())
      throw fault("can't unpack " + std::to_string(items.size()) + " values into " + std::to_string(to.parts.size()) + " names");
    for (std::size_t i = 0; i < items.size(); ++i) assign(to.parts[i], items[i]);
  } else if (!to.attribute.empty()) {
    value const* const found = scope_->find(to.name);
    auto* const space = found != nullptr && found->is_object() ? dynamic_cast<name_space*>(&found->as_object()) : nullptr;
    if (space == nullptr) throw fault("cannot assign attribute on non-namespace object '" + to.name + "'");
    space->set(to.attribute, v);
  } else {
    scope_->set(to.name, v);
  }
}

evaluator::flow evaluator::run_loop(statement const& s) { return run_items(s, eval(*s.value), 0); }

std::vector<value> evaluator::loop_items(statement const& s, value const& items) {
  std::vector<value> all = items.elements();
  charge(all.size());
  if (!s.condition) return all;
  std::vector<value> kept;
  for (value& v : all) {
    scope_guard const inner(*this, scope_);
    assign(s.targets[0], v);
    if (eval(*s.condition).truth()) kept.push_back(std::move(v));
  }
  return kept;
}

evaluator::flow evaluator::run_items(statement const& s, value const& items, std::size_t depth) {
  auto const state = std::make_shared<loop_object>(loop_items(s, items), depth);
  if (s.recursive) {
    capture_scopes();
    state->recursive = &s;
    state->closure = scope_;
  }
  bool completed = false;  // as in Jinja, where each turn is broken off the part {% else %} runs too
  for (state->at = 0; state->at < state->items.size(); ++state->at) {
    scope_guard const inner(*this, scope_);
    scope_->set("loop", value(std::shared_ptr<object>(state)));
    assign(s.targets[0], state->items[state->at]);
    flow const end = run(s.body);
    if (end == flow::leave) break;
    if (end == flow::normal) completed = true;
  }
  if (!completed) {
    scope_guard const inner(*this, scope_);
    return run(s.otherwise);
  }
  return flow::normal;
}

value evaluator::recurse(statement const& loop, scope* closure, value const& items, std::size_t depth) {
  std::string before_it = begin_capture();
  {
    scope_guard const inner(*this, closure);
    run_items(loop, items, depth);
  }
  return end_capture(std::move(before_it));
}

void evaluator::run_call(statement const& s) {
  capture_scopes();
  value const callee = eval(*s.value->operands[0]);
  arguments a = eval_arguments(s.value->arguments);
  a.named.emplace_back("caller", value(std::shared_ptr<object>(std::make_shared<macro_object>(s.definition, scope_))));
  write(str(call(callee, a)));
}

value evaluator::call_macro(macro_syntax const& macro, scope* closure, arguments const& a) {
  scoped_depth const guard(*this);
  std::string before_it = begin_capture();
  {
    scope_guard const inner(*this, closure);
    auto extra = std::make_shared<dictionary>();
    for (auto const& argument : a.named) {
      std::string const& name = argument.first;  // a structured binding can't be captured by every compiler
      value const& v = argument.second;
      bool const known = std::any_of(macro.parameters.begin(), macro.parameters.end(), [&](parameter const& p) { return p.name == name; });
      if (name == "caller" && macro.uses_caller && !known)
        scope_->set("caller", v);
      else if (!known)
        extra->set(name, v);
    }
    if (!extra->items.empty() && !macro.catches_dictionary)
      throw fault("macro '" + macro.name + "' takes no keyword argument '" + extra->items[0].first.str() + "'");
    if (a.positional.size() > macro.parameters.size() && !macro.catches_list)
      throw fault("macro '" + macro.name + "' takes not more than " + std::to_string(macro.parameters.size()) + " argument(s)");
    if (macro.catches_dictionary) scope_->set("kwargs", extra);
    if (macro.catches_list) {
      auto const taken = static_cast<std::ptrdiff_t>(std::min(macro.parameters.size(), a.positional.size()));
      scope_->set("varargs", value::of_list({a.positional.begin() + taken, a.positional.end()}, list_kind::tuple));
    }
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
      parameter const& p = macro.parameters[i];
      if (value const* const given = a.find(i, p.name))
        scope_->set(p.name, *given);
      else
        scope_->set(p.name, p.otherwise ? eval(*p.otherwise) : value(undefined{"parameter '" + p.name + "' was not provided"}));
    }
    run(macro.body);
  }
  return end_capture(std::move(before_it));
}

}  // namespace kedge::llm::text::jinja
