// SPDX-License-Identifier: Apache-2.0
#include "trained_parameters.hpp"

#include "../model/profile.hpp"
#include "../scale/shard.hpp"

namespace kedge::llm {

trained_parameters::trained_parameters(process_group const& group, causal_lm const& model, pack& theta)
    : group_(group), theta_(share_start(group, theta)), weights_(model.weights_for(theta)), gradient_(group, model.parameters(), model.config().layers, theta),
      copied_(!weights_.front().is_same(theta.front())) {
  shard const rows = owned_rows(group, theta);
  own_ = rows_of(theta, rows);
  own_gradient_ = rows_of(gradient_.sum(), rows);
  if (!group.alone()) return;
  step_.zero_gradient = true;  // who owns all rows has all in one pass
  if (copied_) step_.copies = rows_of(weights_, rows);
}

void trained_parameters::move(optimizer const& by, optimizer_settings const& settings, optimizer_state& state, double learning_rate, double scale) {
  {
    timed const scope(phase::optimizer);
    step_.learning_rate = learning_rate;
    step_.scale = scale;
    by.step(settings, state, step_);
  }
  if (group_.alone()) return;
  exchange_shards(group_, theta_);
  timed const scope(phase::optimizer);
  if (copied_) at::_foreach_copy_(weights_, theta_);
  gradient_.zero();
}

}  // namespace kedge::llm
