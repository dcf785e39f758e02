// SPDX-License-Identifier: Apache-2.0
#include "trained_parameters.hpp"

#include "../model/profile.hpp"

namespace kedge::llm {
namespace {

// The leading process's θ in all of a group, in buckets.   returns  them
pack share_start(process_group const& group, bucket_layout const& layout, pack& theta) {
  if (group.alone()) return {};
  pack buckets = layout.take(theta);
  std::vector<process_group::pending> under_way;
  for (at::Tensor const& b : buckets) under_way.push_back(group.begin_broadcast(b, 0));
  for (process_group::pending const& wait : under_way) wait();
  return buckets;
}

}  // namespace

trained_parameters::trained_parameters(process_group const& group, causal_lm const& model, std::vector<parameter> const& names, pack& theta)
    : group_(group), theta_(theta), layout_(names, theta, group.size()), masters_(share_start(group, layout_, theta)),
      weights_(model.weights_for(theta)), copied_(!weights_.front().is_same(theta.front())), gradient_(group, layout_, theta) {
  if (copied_ && !group.alone()) copies_ = layout_.take(weights_);
  shard const own = layout_.share(group.rank());
  own_ = parts_of(theta, own);
  own_gradient_ = parts_of(gradient_.sum(), own);
  if (copied_) step_.copies = parts_of(weights_, own);
  step_.zero_gradient = group.alone();  // in the same pass; the others' parts of a group's are zeroed with its own
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
  begin_exchange(copied_ ? copies_ : masters_);
  whole_ = !copied_;
  gradient_.zero();
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
