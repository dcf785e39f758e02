// SPDX-License-Identifier: Apache-2.0
#include "moving_reference.hpp"

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/lora.hpp>

namespace kedge::llm {

void moving_reference::begin(pack const& anchor, std::size_t round) {
  if (round_ == round)
    throw error("--sync_ref_model moves one model, and the reference of round " + std::to_string(round + 1) +
                " is made of several; use a reference of one model, such as --extrapolate weights");
  round_ = round;
  moves_ = 0;
  point_ = kedge::deep_copy(anchor);
  weights_.clear();
}

void moving_reference::follow(std::function<pack const&()> const& theta_now, std::size_t steps) {
  if (steps / every_ <= moves_) return;
  ++moves_;
  pack const& theta = theta_now();
  if (model_.adapted()) {
    extrapolate_product(theta, alpha_ - 1, point_, products_of(model_));
    bound_rank(point_, products_of(model_));
  } else {
    kedge::axpby(alpha_, theta, 1 - alpha_, point_);
  }
  weights_ = model_.weights_for(point_);
}

void moving_reference::save(checkpoint_writer& to) const {
  if (!round_) return;
  to.add("moving-reference", point_);
  to.state["moving_reference"] = {{"round", *round_}, {"moves", moves_}};
}

void moving_reference::restore(checkpoint_reader const& from, at::Device device) {
  if (!from.state.contains("moving_reference")) return;
  round_ = from.state["moving_reference"].at("round").get<std::size_t>();
  moves_ = from.state["moving_reference"].at("moves").get<std::size_t>();
  point_ = from.read_pack("moving-reference", device);
  weights_ = model_.weights_for(point_);
}

}  // namespace kedge::llm
