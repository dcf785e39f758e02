// SPDX-License-Identifier: Apache-2.0
#include <ctime>  // time, localtime_r, strftime

#include "evaluator.hpp"

namespace kedge::llm::text::jinja {
namespace {

using args = arguments const&;

value g_range(evaluator& e, args a) {
  constexpr std::int64_t most = 100'000;  // as Jinja's sandbox
  if (a.positional.empty()) throw fault("range needs an argument");
  a.check("range", 3);
  bool const one = a.positional.size() == 1;
  std::int64_t const start = one ? 0 : a.positional[0].to_integer("range");
  std::int64_t const stop = a.positional[one ? 0 : 1].to_integer("range");
  std::int64_t const step = a.positional.size() > 2 ? a.positional[2].to_integer("range") : 1;
  if (step == 0) throw fault("range() arg 3 must not be zero");
  std::vector<value> out;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(out.size()) >= most) throw fault("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    out.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  e.charge(out.size());
  return value::of_list(std::move(out), list_kind::range);
}

std::shared_ptr<dictionary> make_dictionary(evaluator& e, args a, std::string_view who) {
  a.check(who, 1, {});
  auto out = std::make_shared<dictionary>();
  if (!a.positional.empty()) {
    if (a.positional[0].is_dictionary()) {
      *out = a.positional[0].as_dictionary();
    } else {
      for (value const& pair : a.positional[0].elements()) {
        auto const parts = pair.elements();
        if (parts.size() != 2) throw fault(std::string(who) + " needs pairs");
        e.charge(out->items.size());
        out->set(parts[0], parts[1]);
      }
    }
  }
  return out;
}

/// dict(…) and namespace(…): a mapping or pairs, then names.
std::shared_ptr<dictionary> named_dictionary(evaluator& e, args a, std::string_view who) {
  arguments positional;
  positional.positional = a.positional;
  auto out = make_dictionary(e, positional, who);
  for (auto const& [name, v] : a.named) {
    e.charge(out->items.size());
    out->set(name, v);
  }
  return out;
}

value g_dict(evaluator& e, args a) {
  auto out = named_dictionary(e, a, "dict");
  e.charge(out->items.size());
  return out;
}

value g_namespace(evaluator& e, args a) {
  auto attributes = named_dictionary(e, a, "namespace");
  for (auto const& [name, v] : attributes->items)
    if (name.is_string() && !name.as_string().empty() && name.as_string()[0] == '_')
      throw fault("a namespace has no attributes that begin with an underscore, such as '" + name.as_string() + "'");
  e.keep(attributes);
  return value(std::shared_ptr<object>(std::make_shared<name_space>(std::move(attributes))));
}

value g_raise(evaluator&, args a) { throw raised(a.need(0, "message", "raise_exception").str()); }

value g_strftime_now(evaluator& e, args a) {
  std::string const& format = a.need(0, "format", "strftime_now").to_string("strftime_now");
  if (format.find("%f") != std::string::npos) throw fault("strftime_now: the format %f is not supported");
  std::time_t const now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string out(format.size() * 4 + 256, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return e.checked(std::move(out));
}

class cycler final : public object {
 public:
  explicit cycler(value items) : items_(std::move(items)) {}
  [[nodiscard]] std::string_view kind() const override { return "Cycler"; }
  [[nodiscard]] int depth() const override { return depth_of(items_); }
  [[nodiscard]] value attribute(std::string const& name) const override {
    if (name == "current") return items_.as_list()[*at_];
    if (name == "next")
      return make_builtin("next", [items = items_, at = at_](evaluator&, args) {
        value out = items.as_list()[*at];
        *at = (*at + 1) % items.as_list().size();
        return out;
      }, depth_of(items_));
    if (name == "reset")
      return make_builtin("reset", [at = at_](evaluator&, args) {
        *at = 0;
        return value(nullptr);
      });
    return undefined{"'Cycler' has no attribute '" + name + "'"};
  }

 private:
  value items_;
  std::shared_ptr<std::size_t> at_ = std::make_shared<std::size_t>(0);
};

value g_cycler(evaluator&, args a) {
  if (a.positional.empty()) throw fault("at least one item has to be provided");
  return value(std::shared_ptr<object>(std::make_shared<cycler>(value::of_list(a.positional))));
}

value g_joiner(evaluator&, args a) {
  std::string separator = a.get(0, "sep", ", ").str();
  return make_builtin("joiner", [separator, used = std::make_shared<bool>(false)](evaluator&, args) -> value {
    return std::exchange(*used, true) ? separator : std::string();
  });
}

}  // namespace

value find_global(std::string_view name) {
  if (name == "range") return make_builtin("range", g_range);
  if (name == "dict") return make_builtin("dict", g_dict);
  if (name == "namespace") return make_builtin("namespace", g_namespace);
  if (name == "raise_exception") return make_builtin("raise_exception", g_raise);
  if (name == "strftime_now") return make_builtin("strftime_now", g_strftime_now);
  if (name == "cycler") return make_builtin("cycler", g_cycler);
  if (name == "joiner") return make_builtin("joiner", g_joiner);
  if (name == "lipsum") throw fault("the function 'lipsum' is not supported");
  return {};
}

}  // namespace kedge::llm::text::jinja
