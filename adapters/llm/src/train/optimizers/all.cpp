// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/optimizer.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>

// One line an optimizer, in the order of help: each is optimizers::NAME of a file beside this one. The first is the default.
#define KEDGE_OPTIMIZERS(_) \
  _(adamw_fp32)             \
  _(adamw_bf16)             \
  _(adamw_8bit)             \
  _(paged_adamw_32bit)      \
  _(paged_adamw_8bit)       \
  _(sgd)

namespace kedge::llm {
namespace optimizers {

#define KEDGE_DECLARED(name) extern optimizer const name;
#define KEDGE_ADDRESS(name) &name,
KEDGE_OPTIMIZERS(KEDGE_DECLARED)
constexpr optimizer const* all[] = {KEDGE_OPTIMIZERS(KEDGE_ADDRESS)};
#undef KEDGE_DECLARED
#undef KEDGE_ADDRESS

}  // namespace optimizers

optimizer_choice::optimizer_choice() : chosen_(optimizers::all[0]) {}

optimizer const& optimizer_choice::find(std::string_view name) {
  std::string known;
  for (optimizer const* one : optimizers::all) {
    if (one->name == name || std::find(one->aliases.begin(), one->aliases.end(), name) != one->aliases.end()) return *one;
    known += (known.empty() ? "" : ", ") + std::string(one->name);
  }
  throw error("--optim " + std::string(name) + " is not known; use one of " + known);
}

std::string_view optimizer_choice::name() const { return chosen_->name; }

state_bytes optimizer_choice::bytes() const {
  if (chosen_->paged) return [](std::int64_t, std::int64_t) { return std::int64_t{0}; };
  return chosen_->bytes;
}

std::optional<double> optimizer_choice::gradient_degree() const { return chosen_->gradient_degree; }

std::vector<optimizer_name> optimizer_names() {
  std::vector<optimizer_name> names;
  for (optimizer const* one : optimizers::all) names.push_back({one->name, one->aliases, one->help});
  return names;
}

pack zeros_like(pack const& theta) {
  pack zeros;
  zeros.reserve(theta.size());
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros_like(t));
  return zeros;
}

void by_tensor_operations(optimizer_step const& step, std::function<void(pack const& gradient)> const& update) {
  at::NoGradGuard const no_grad;
  pack gradient = step.gradient;
  if (step.scale != 1 && step.zero_gradient)
    at::_foreach_mul_(gradient, step.scale);  // in place: it is not needed any more
  else if (step.scale != 1)
    gradient = at::_foreach_mul(gradient, step.scale);
  update(gradient);
  if (step.zero_gradient) at::_foreach_zero_(step.gradient);
  if (!step.copies.empty()) at::_foreach_copy_(step.copies, step.theta);
}

}  // namespace kedge::llm
