// SPDX-License-Identifier: Apache-2.0
#include "loop.hpp"

namespace kedge::llm::text::jinja {

value loop_object::attribute(std::string const& name) const {
  if (name == "index") return value::of_size(at + 1);
  if (name == "index0") return value::of_size(at);
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 == items.size();
  if (name == "length") return value::of_size(items.size());
  if (name == "revindex") return value::of_size(items.size() - at);
  if (name == "revindex0") return value::of_size(items.size() - at - 1);
  if (name == "depth") return value::of_size(level + 1);
  if (name == "depth0") return value::of_size(level);
  if (name == "previtem") return at == 0 ? value(undefined{"there is no previous item"}) : items[at - 1];
  if (name == "nextitem") return at + 1 == items.size() ? value(undefined{"there is no next item"}) : items[at + 1];
  auto const self = shared_from_this();
  if (name == "cycle")
    return make_builtin("cycle", [self](evaluator&, arguments const& a) -> value {
      if (a.positional.empty()) throw fault("no items for cycling given");
      return a.positional[self->at % a.positional.size()];
    }, held_);
  if (name == "changed")
    return make_builtin("changed", [self](evaluator&, arguments const& a) -> value {
      value now = value::of_list(a.positional, list_kind::tuple);
      bool const changed = !self->has_changed_ || !equal(now, self->last_changed_);
      self->last_changed_ = std::move(now);
      self->has_changed_ = true;
      return changed;
    }, held_);
  return undefined{"'loop' has no attribute '" + name + "'"};
}

value loop_object::call(evaluator& e, arguments const& a) {
  if (recursive == nullptr) throw fault("the loop must have the 'recursive' marker to be called recursively");
  return e.recurse(*recursive, closure, a.need(0, "iterable", "loop"), level + 1);
}

}  // namespace kedge::llm::text::jinja
