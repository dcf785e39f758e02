// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>  // unordered_map

#include "../unicode.hpp"
#include "evaluator.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

using args = arguments const&;

std::int64_t modulo(std::int64_t a, std::int64_t b) {
  if (b == 0) throw fault("integer modulo by zero");
  if (b == -1) return 0;
  std::int64_t const r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

bool t_defined(evaluator&, value const& v, args) { return !v.is_undefined(); }
bool t_undefined(evaluator&, value const& v, args) { return v.is_undefined(); }
bool t_none(evaluator&, value const& v, args) { return v.is_none(); }
bool t_string(evaluator&, value const& v, args) { return v.is_string(); }
bool t_mapping(evaluator&, value const& v, args) { return v.is_dictionary(); }
bool t_number(evaluator&, value const& v, args) { return v.is_number(); }
bool t_integer(evaluator&, value const& v, args) { return v.is_integer(); }
bool t_float(evaluator&, value const& v, args) { return v.is_float(); }
bool t_boolean(evaluator&, value const& v, args) { return v.is_bool(); }
bool t_true(evaluator&, value const& v, args) { return v.is_bool() && v.as_bool(); }
bool t_false(evaluator&, value const& v, args) { return v.is_bool() && !v.as_bool(); }
bool t_iterable(evaluator&, value const& v, args) { return v.is_list() || v.is_string() || v.is_dictionary() || v.is_undefined(); }
bool t_sequence(evaluator&, value const& v, args) { return v.is_indexed() || v.is_string() || v.is_dictionary() || v.is_undefined(); }
bool t_callable(evaluator&, value const& v, args) { return v.is_object() && v.as_object().callable(); }
bool t_odd(evaluator&, value const& v, args) { return modulo(v.to_integer("odd"), 2) == 1; }
bool t_even(evaluator&, value const& v, args) { return modulo(v.to_integer("even"), 2) == 0; }
bool t_divisible(evaluator&, value const& v, args a) {
  return modulo(v.to_integer("divisibleby"), a.need(0, "num", "divisibleby").to_integer("divisibleby")) == 0;
}
bool t_eq(evaluator&, value const& v, args a) { return equal(v, a.need(0, "other", "a comparison")); }
bool t_ne(evaluator&, value const& v, args a) { return !equal(v, a.need(0, "other", "a comparison")); }
bool t_lt(evaluator&, value const& v, args a) { return compare(v, a.need(0, "other", "a comparison")) < 0; }
bool t_le(evaluator&, value const& v, args a) { return compare(v, a.need(0, "other", "a comparison")) <= 0; }
bool t_gt(evaluator&, value const& v, args a) { return compare(v, a.need(0, "other", "a comparison")) > 0; }
bool t_ge(evaluator&, value const& v, args a) { return compare(v, a.need(0, "other", "a comparison")) >= 0; }
bool t_in(evaluator&, value const& v, args a) { return contains(a.need(0, "seq", "in"), v); }
bool t_sameas(evaluator&, value const& v, args a) { return v.same_as(a.need(0, "other", "sameas")); }
bool t_lower(evaluator&, value const& v, args) { return v.str() == to_lower(v.str()) && v.str() != to_upper(v.str()); }
bool t_upper(evaluator&, value const& v, args) { return v.str() == to_upper(v.str()) && v.str() != to_lower(v.str()); }
bool t_filter(evaluator&, value const& v, args) { return find_filter(v.to_string("filter")) != nullptr; }
bool t_test(evaluator&, value const& v, args) { return find_test(v.to_string("test")) != nullptr; }

}  // namespace

test_function find_test(std::string_view name) {
  static std::unordered_map<std::string_view, test_function> const tests = {
      {"defined", t_defined}, {"undefined", t_undefined}, {"none", t_none},         {"string", t_string},   {"mapping", t_mapping},
      {"number", t_number},   {"integer", t_integer},     {"float", t_float},       {"boolean", t_boolean}, {"true", t_true},
      {"false", t_false},     {"sequence", t_sequence},   {"iterable", t_iterable}, {"callable", t_callable}, {"odd", t_odd},
      {"even", t_even},       {"divisibleby", t_divisible}, {"eq", t_eq},           {"equalto", t_eq},      {"==", t_eq},
      {"ne", t_ne},           {"!=", t_ne},               {"lt", t_lt},             {"lessthan", t_lt},     {"<", t_lt},
      {"le", t_le},           {"<=", t_le},               {"gt", t_gt},             {"greaterthan", t_gt},  {">", t_gt},
      {"ge", t_ge},           {">=", t_ge},               {"in", t_in},             {"sameas", t_sameas},   {"lower", t_lower},
      {"upper", t_upper},     {"filter", t_filter},       {"test", t_test}};
  auto const found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace kedge::llm::text::jinja
