// SPDX-License-Identifier: Apache-2.0
#include "recorded_passes.hpp"

#include <algorithm>

#include "passes.hpp"

namespace kedge::llm {

addresses addresses_of(pack const& tensors) {
  addresses all;
  all.reserve(tensors.size());
  for (at::Tensor const& t : tensors) all.push_back(t.const_data_ptr());
  return all;
}

recorded_pass::recorded_pass(at::Device device, graph_pool pool, row_figures const& wanted)
    : wanted_(wanted), forward_(device, pool), backward_(device, pool) {}
recorded_pass::~recorded_pass() = default;

row_tensors const& recorded_pass::forward(causal_lm const& model, pack const& weights, batch_inputs const& batch) {
  batch_.take(batch);
  forward_.run([&] {
    kept_ = std::make_unique<causal_lm::tape>();
    kept_->batch = batch_;
    out_ = model.forward_pass(weights, *kept_, /*keep=*/true, wanted_);
  });
  return out_;
}

void recorded_pass::backward(causal_lm const& model, pack const& weights, row_slopes const& slopes, pack& gradient) {
  addresses const here = addresses_of(gradient);
  if (gradient_.empty()) {
    gradient_ = here;
    slopes_.logp = out_.logp.defined() ? at::zeros_like(out_.logp, at::kDouble) : at::Tensor();
    slopes_.value = out_.value.defined() ? at::zeros_like(out_.value, at::kDouble) : at::Tensor();
  }
  if (here != gradient_) {
    outdated_ = true;
    causal_lm::tape again;
    again.batch = batch_;
    model.forward_pass(weights, again, /*keep=*/true, {});
    return model.backward_pass(weights, again, slopes, gradient, {});
  }
  auto const put = [](at::Tensor& mine, at::Tensor const& other) {
    if (mine.defined()) other.defined() ? mine.copy_(other) : mine.zero_();
  };
  put(slopes_.logp, slopes.logp);
  put(slopes_.value, slopes.value);
  backward_.run([&] {
    model.backward_pass(weights, *kept_, slopes_, gradient, {});
    kept_.reset();
  });
}

std::shared_ptr<recorded_pass> pass_recorder::find(pack const& weights, packed_size const& size, row_figures const& wanted) {
  if (!under_way_.expired()) return {};
  if (addresses here = addresses_of(weights); here != weights_) {
    weights_ = std::move(here);
    passes_.clear();
    pool_ = new_graph_pool(device_);
  }
  auto const [place, first] = passes_.try_emplace({size, wanted});
  place->second.used = ++calls_;
  if (first) {
    if (passes_.size() > most_) forget_oldest();
    return {};
  }
  std::shared_ptr<recorded_pass>& pass = place->second.pass;
  if (!pass || pass->outdated()) pass = std::make_shared<recorded_pass>(device_, pool_, wanted);
  ++runs;
  std::shared_ptr<recorded_pass> const lent(pass.get(), [keep = pass](recorded_pass*) {});
  under_way_ = lent;
  return lent;
}

void pass_recorder::forget_oldest() {
  passes_.erase(std::min_element(passes_.begin(), passes_.end(),
                                 [](auto const& a, auto const& b) { return a.second.used < b.second.used; }));
}

}  // namespace kedge::llm
