// SPDX-License-Identifier: Apache-2.0
#include "trained_parameters.hpp"

#include "../model/profile.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace kedge::llm {
namespace {

// What the buckets replaced lies between them; other sizes will be asked for.
void release_freed_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// The leading process's θ in all of a group, in buckets.   returns  them
pack share_start(process_group const& group, bucket_layout const& layout, pack& theta) {
  if (group.alone()) return {};
  pack buckets = layout.take(theta);
  std::vector<process_group::pending> under_way;
  for (at::Tensor const& b : buckets) under_way.push_back(group.begin_broadcast(b, 0));
  for (process_group::pending const& wait : under_way) wait();
  release_freed_memory();
  return buckets;
}

// θ of divided models in one memory each, so that its own weights, where they have its type, are θ.
pack gather_start(divided_pack const& division, pack& theta) {
  theta = division.known(theta);
  return {};
}

}  // namespace

trained_parameters::trained_parameters(process_group const& group, causal_lm const& model, std::vector<parameter> const& names, pack& theta,
                                       divided_pack const& division)
    : group_(group), theta_(theta), division_(division), whole_weights_(!division_.divides_weights()),
      layout_(names, whole_weights_ ? sizes_of(theta) : sizes_of(names), group.size(), division_ ? buckets_of::layers : buckets_of::size),
      masters_(whole_weights_ ? share_start(group, layout_, theta) : gather_start(division_, theta)),
      weights_(whole_weights_ ? model.weights_for(theta) : division_.weights_for(theta, model.settings().device, model.weights_type())),
      copied_(!weights_.front().is_same(theta.front())),
      gradient_(division_ ? step_gradient(group, division_, theta.front().options()) : step_gradient(group, layout_, theta)) {
  if (copied_ && whole_weights_ && !group.alone()) copies_ = layout_.take(weights_);
  own_ = own_of(theta, !whole_weights_);
  own_gradient_ = own_of(gradient_.sum(), static_cast<bool>(division_));
  if (copied_) step_.copies = own_of(weights_, !whole_weights_);
  step_.zero_gradient = group.alone();  // in the same pass; the others' parts of a group's are zeroed with its own
}

pack trained_parameters::own_of(pack const& values, bool divided) const {
  return divided ? division_.shaped(values) : parts_of(values, layout_.share(group_.rank()));
}

pack const& trained_parameters::weights() {
  await_exchange();
  return weights_;
}

void trained_parameters::move(optimizer const& by, optimizer_settings const& settings, optimizer_state& state, double learning_rate, double scale) {
  {
    timed const scope(phase::optimizer);
    step_.learning_rate = learning_rate;
    step_.scale = scale;
    by.step(settings, state, step_);
  }
  if (group_.alone()) return;
  gradient_.zero();
  if (!whole_weights_) return;
  begin_exchange(copied_ ? copies_ : masters_);
  whole_ = !copied_;
}

void trained_parameters::complete() {
  await_exchange();
  if (whole_) return;
  begin_exchange(masters_);
  await_exchange();
  whole_ = true;
}

// In the order in which the next forward pass reads them, which is not that of the gradients.
void trained_parameters::begin_exchange(pack const& buckets) {
  for (auto b = buckets.rbegin(); b != buckets.rend(); ++b) under_way_.push_back(group_.begin_exchange_of_parts(*b));
}

void trained_parameters::await_exchange() {
  for (process_group::pending const& wait : under_way_) wait();
  under_way_.clear();
}

}  // namespace kedge::llm
