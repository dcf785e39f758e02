// SPDX-License-Identifier: Apache-2.0
#include "step_gradient.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <string_view>

#include <kedge/llm/train/optimizer.hpp>

#include "../model/profile.hpp"

namespace kedge::llm {
namespace {

constexpr std::int64_t at_the_end = std::numeric_limits<std::int64_t>::min();

// The layer whose backward pass completes a parameter's gradient: its own; `layers` for what stands after all layers; `at_the_end` for the
// embedding, which may be the head too.
std::int64_t completing_layer(std::string_view name, std::int64_t layers) {
  constexpr std::string_view mark = ".layers.";
  if (auto const at = name.find(mark); at != std::string_view::npos) {
    std::int64_t layer = at_the_end;
    std::from_chars(name.data() + at + mark.size(), name.data() + name.size(), layer);
    return layer;
  }
  return name.find("embed_tokens") == std::string_view::npos ? layers : at_the_end;
}

// A bucket is closed once it has so many bytes: few of them in a large model, and several in a small one, so that some travel early.
std::int64_t bucket_bytes(pack const& theta) {
  std::int64_t all = 0;
  for (at::Tensor const& t : theta) all += static_cast<std::int64_t>(t.nbytes());
  return std::min<std::int64_t>(25 << 20, all / 8);
}

std::int64_t aligned(std::int64_t elements) {
  constexpr std::int64_t line = 16;
  return (elements + line - 1) / line * line;
}

}  // namespace

step_gradient::step_gradient(process_group const& group, std::vector<parameter> const& parameters, std::int64_t layers, pack const& theta)
    : group_(group), sum_(group.alone() ? zeros_like(theta) : pack(theta.size())) {
  if (group.alone()) return;
  std::vector<std::int64_t> layer;
  for (parameter const& p : parameters) layer.push_back(completing_layer(p.name, layers));
  std::vector<std::size_t> order(theta.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return layer[a] > layer[b]; });
  std::vector<std::size_t> together;
  std::int64_t const enough = bucket_bytes(theta);
  std::int64_t bytes = 0;
  for (std::size_t const i : order) {
    bool const waits = layer[i] == at_the_end && bytes > 0 && layer[together.back()] != at_the_end;  // others need not wait with it
    if ((bytes >= enough && !together.empty()) || waits) {
      place(together, layer[together.back()], theta);
      together.clear();
      bytes = 0;
    }
    together.push_back(i);
    bytes += static_cast<std::int64_t>(theta[i].nbytes());
  }
  place(together, layer[together.back()], theta);
}

void step_gradient::place(std::vector<std::size_t> const& which, std::int64_t layer, pack const& theta) {
  std::int64_t size = 0;
  for (std::size_t const i : which) size += aligned(theta[i].numel());
  at::Tensor const values = at::zeros({size}, theta[which.front()].options());
  std::int64_t begin = 0;
  for (std::size_t const i : which) {
    sum_[i] = values.narrow(0, begin, theta[i].numel()).view(theta[i].sizes());
    begin += aligned(theta[i].numel());
  }
  buckets_.push_back({layer, values});
}

void step_gradient::zero() {
  timed const scope(phase::optimizer);
  at::_foreach_zero_(sum_);
}

layer_callback step_gradient::when_last(bool last) {
  if (!last || group_.alone()) return {};
  return [this](std::int64_t layer) { begin_from(layer); };
}

void step_gradient::begin_from(std::int64_t layer) {
  while (under_way_.size() < buckets_.size() && buckets_[under_way_.size()].layer >= layer)
    under_way_.push_back(group_.begin_sum(buckets_[under_way_.size()].values));
}

void step_gradient::finish() {
  begin_from(at_the_end);
  for (process_group::pending const& wait : under_way_) wait();
  under_way_.clear();
}

double step_gradient::norm() const {
  timed const scope(phase::optimizer);
  return at::stack(at::_foreach_norm(sum_, 2)).norm().item<double>();
}

}  // namespace kedge::llm
