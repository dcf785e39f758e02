// SPDX-License-Identifier: Apache-2.0
#include "methods.hpp"

#include <limits>  // numeric_limits

namespace kedge::llm {
namespace {

constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
constexpr std::string_view one_model = "at least one model", pair = "a base (base_model) and one other model",
                           trained = "a base (base_model) and the models trained from it";

constexpr method_entry table[] = {
    {soup_method::linear, base_rule::ignored, 1, any, one_model, merge_by_coefficients},
    {soup_method::slerp, base_rule::required, 1, 1, pair, merge_by_coefficients},
    {soup_method::nuslerp, base_rule::optional, 2, 2, "two models, and a base if its task vectors are meant",
     merge_by_coefficients},
    {soup_method::multislerp, base_rule::optional, 1, any, "at least one model besides the base", merge_by_coefficients},
    {soup_method::karcher, base_rule::ignored, 1, any, one_model, merge_by_coefficients},
    {soup_method::task_arithmetic, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::ties, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::dare_linear, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::dare_ties, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::della, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::della_linear, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::breadcrumbs, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::breadcrumbs_ties, base_rule::required, 0, any, trained, merge_task_vectors},
    {soup_method::sce, base_rule::required, 0, any, trained, merge_sce},
    {soup_method::ram, base_rule::required, 0, any, trained, merge_ram},
    {soup_method::ramplus_tl, base_rule::required, 0, any, trained, merge_ram},
    {soup_method::nearswap, base_rule::required, 1, 1, pair, merge_nearswap},
    {soup_method::arcee_fusion, base_rule::required, 1, 1, pair, merge_arcee_fusion},
    {soup_method::model_stock, base_rule::required, 2, any, "a base (base_model) and at least two other models",
     merge_by_coefficients},
    {soup_method::passthrough, base_rule::ignored, 1, 1, "one model a slice", merge_by_coefficients},
    {soup_method::expo, base_rule::required, 1, 1, pair, merge_by_coefficients},
    {soup_method::greedy, base_rule::ignored, 1, any, one_model, merge_by_coefficients},
};
static_assert(std::size(table) == names(soup_method{}).size());

}  // namespace

method_entry const& method_of(soup_method method) {
  for (auto const& entry : table)
    if (entry.method == method) return entry;
  return table[0];  // every method has an entry
}

}  // namespace kedge::llm
