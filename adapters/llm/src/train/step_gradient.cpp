// SPDX-License-Identifier: Apache-2.0
#include "step_gradient.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "../model/profile.hpp"

namespace kedge::llm {

step_gradient::step_gradient(process_group const& group, bucket_layout const& layout, pack const& theta) : group_(group) {
  for (bucket const& b : layout.buckets()) complete_with_.push_back(b.layer);
  bucketed_pack zeros = layout.zeros(theta);
  buckets_ = std::move(zeros.buckets);
  sum_ = std::move(zeros.tensors);
}

step_gradient::step_gradient(process_group const& group, divided_pack const& of, at::TensorOptions const& options)
    : group_(group), divided_(true), sum_(of.zeros(options)) {
  buckets_ = of.memories(sum_);
  of.collect_in(sum_);
}

void step_gradient::zero() {
  timed const scope(phase::optimizer);
  at::_foreach_zero_(buckets_);
}

layer_callback step_gradient::when_last(bool last) {
  if (!last || divided_ || group_.alone()) return {};
  return [this](std::int64_t layer) { begin_from(layer); };
}

void step_gradient::begin_from(std::int64_t layer) {
  while (under_way_.size() < buckets_.size() && complete_with_[under_way_.size()] >= layer)
    under_way_.push_back(group_.begin_sum_of_own_part(buckets_[under_way_.size()]));
}

void step_gradient::finish() {
  if (divided_) return static_cast<void>(group_.any(false));  // takes part in the passes of those that have more
  begin_from(std::numeric_limits<std::int64_t>::min());
  for (process_group::pending const& wait : under_way_) wait();
  under_way_.clear();
}

double step_gradient::norm() const {
  timed const scope(phase::optimizer);
  auto const norm_of = [](pack const& tensors) { return at::stack(at::_foreach_norm(tensors, 2)).norm().item<double>(); };
  if (group_.alone()) return norm_of(sum_);
  pack own;
  for (at::Tensor const& b : buckets_) own.push_back(divided_ ? b : group_.own_part(b));
  double const here = norm_of(own);
  std::vector<double> squares{here * here};
  group_.sum(squares);
  return std::sqrt(squares.front());
}

}  // namespace kedge::llm
