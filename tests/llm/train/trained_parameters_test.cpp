// SPDX-License-Identifier: Apache-2.0

// The steps of several processes that own a part of the parameters each: those of one, and what they send for it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <kedge/llm/train/optimizer_choice.hpp>

#include "../adapters/llm/src/train/trained_parameters.hpp"
#include "llm/model/plain_model.hpp"
#include "llm/scale/groups.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

constexpr int steps = 3;

// What process `rank` adds to the gradient of a step.
at::Tensor gradient_of(at::Tensor const& like, std::size_t tensor, int step, int rank) {
  return at::arange(like.numel(), like.options()).mul(0.37 + 0.11 * rank).add(static_cast<double>(tensor) + 5 * step).sin_().view(like.sizes());
}

// Nobody may read what another process owns of a sum: with NCCL it is no sum.
void spoil_others(pack& sum, shard const& own) {
  pack kept;
  for (at::Tensor const& part : parts_of(sum, own)) kept.push_back(part.clone());
  for (at::Tensor& t : sum) t.fill_(std::numeric_limits<double>::quiet_NaN());
  pack const parts = parts_of(sum, own);
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i].copy_(kept[i]);
}

struct outcome {
  pack theta, weights, theta_before_complete;
  std::vector<double> norms;
  double left_of_gradient = 0;
  group_traffic start, after_steps, after_complete;
};

// Three steps of AdamW in a group, of which each process adds one gradient of `all`; or alone with all of them.
outcome take_steps(process_group const& group, causal_lm const& model, pack theta, int all, at::ScalarType kept) {
  at::NoGradGuard const no_grad;
  outcome result;
  for (at::Tensor& t : theta) t = t.to(kept, /*non_blocking=*/false, /*copy=*/true);
  if (!group.leads())
    for (at::Tensor& t : theta) t.zero_();  // the start is the leading process's
  trained_parameters parameters(group, model, theta);
  result.start = group.traffic();
  optimizer const& adamw = *optimizer_choice();
  optimizer_state state = adamw.init(parameters.own());
  shard const own = bucket_layout(model.parameters(), theta, group.size()).share(group.rank());
  for (int step = 0; step < steps; ++step) {
    static_cast<void>(parameters.weights());
    pack& sum = parameters.gradient().sum();
    for (int rank = 0; rank < all; ++rank)
      if (group.alone() || rank == group.rank())
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i].add_(gradient_of(sum[i], i, step, rank));
    if (layer_callback const complete = parameters.gradient().when_last(true)) {
      complete(model.config().layers);
      complete(0);
    }
    parameters.gradient().finish();
    if (!group.alone()) spoil_others(sum, own);
    result.norms.push_back(parameters.gradient().norm());
    parameters.move(adamw, {.weight_decay = 0.1}, state, 1e-2, clip_scale(result.norms.back(), 5));
    for (at::Tensor const& t : sum) result.left_of_gradient = std::max(result.left_of_gradient, t.abs().max().item<double>());
  }
  result.weights = kedge::deep_copy(parameters.weights());
  result.after_steps = group.traffic();
  result.theta_before_complete = kedge::deep_copy(theta);
  parameters.complete();
  result.after_complete = group.traffic();
  result.theta = theta;
  return result;
}

double distance(pack const& a, pack const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, (a[i].to(at::kDouble) - b[i].to(at::kDouble)).abs().max().item<double>());
  return most;
}

std::vector<outcome> in_processes(int size, causal_lm const& model, pack const& theta, at::ScalarType kept) {
  std::vector<outcome> all(static_cast<std::size_t>(size));
  in_a_group(size, [&](process_group const& group) { all[static_cast<std::size_t>(group.rank())] = take_steps(group, model, theta, size, kept); });
  return all;
}

std::int64_t elements_sent(causal_lm const& model, pack const& theta, int processes) {
  bucket_layout const layout(model.parameters(), theta, processes);
  std::int64_t size = 0;
  for (bucket const& b : layout.buckets()) size += b.size;
  return size;
}

}  // namespace

TEST_CASE("processes that own a part each take the steps of one and read no other part of a sum", "[scale]") {
  transformer_config const config = plain::tiny_config(false);
  causal_lm const model(config, {.type = at::kDouble});
  pack const theta = plain::random_parameters(config, at::kDouble, 5);
  for (int const size : {2, 3}) {
    outcome const one = take_steps({}, model, theta, size, at::kDouble);
    CHECK(distance(one.theta, theta) > 1e-2);
    std::int64_t const sent = elements_sent(model, theta, size);
    std::vector<outcome> const all = in_processes(size, model, theta, at::kDouble);
    for (outcome const& process : all) {
      CHECK(distance(process.theta, one.theta) < 1e-12);
      CHECK(distance(process.theta, all.front().theta) == 0);
      CHECK(distance(process.weights, process.theta) == 0);
      CHECK(process.left_of_gradient == 0);
      for (std::size_t i = 0; i < one.norms.size(); ++i) CHECK_THAT(process.norms[i], WithinRel(one.norms[i], 1e-13));
      CHECK(process.start.broadcast == 8 * sent);
      CHECK(process.after_steps.summed == steps * (8 * sent + 8));  // gradients, and the square of their norm
      CHECK(process.after_steps.gathered == steps * 8 * sent);
      CHECK(process.after_complete.gathered == process.after_steps.gathered);  // passes read the masters: they are whole already
    }
  }
}

TEST_CASE("with bf16 copies a step sends these alone and masters are whole once somebody asks", "[scale]") {
  transformer_config const config = plain::tiny_config(true);
  causal_lm const model(config, {.type = at::kBFloat16});
  pack const theta = plain::random_parameters(config, at::kFloat, 6);
  outcome const one = take_steps({}, model, theta, 2, at::kFloat);
  REQUIRE(one.weights.front().scalar_type() == at::kBFloat16);
  std::int64_t const sent = elements_sent(model, theta, 2);
  std::vector<outcome> const all = in_processes(2, model, theta, at::kFloat);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    outcome const& process = all[rank];
    CHECK(distance(process.theta, one.theta) < 1e-6);
    CHECK(distance(process.theta, all.front().theta) == 0);
    for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(process.weights[i], process.theta[i].to(at::kBFloat16)));
    CHECK(process.after_steps.gathered == steps * 2 * sent);
    CHECK(process.after_complete.gathered == process.after_steps.gathered + 4 * sent);
    shard const others = bucket_layout(model.parameters(), theta, 2).share(rank == 0 ? 1 : 0);
    CHECK(distance(parts_of(process.theta_before_complete, others), parts_of(theta, others)) == 0);
    CHECK(distance(parts_of(process.theta, others), parts_of(theta, others)) > 1e-2);
  }
}
