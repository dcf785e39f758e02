// SPDX-License-Identifier: Apache-2.0
// APO rounds on a bandit, through kedge::run with Eigen vectors and by hand in Eigen: what do the templates cost?
#include <cstdlib>

#include <benchmark/benchmark.h>

#include <kedge/adapters/eigen.hpp>
#include <kedge/kedge.hpp>

namespace {

using vector = Eigen::VectorXd;
constexpr std::size_t rounds = 100;
constexpr double alpha = 0.3, beta = 0.5;

vector log_softmax(vector const& logits) {
  double const largest = logits.maxCoeff();
  return logits.array() - (largest + std::log((logits.array() - largest).exp().sum()));
}

vector spaced_reward(benchmark::State const& state) {
  return vector::LinSpaced(static_cast<Eigen::Index>(state.range(0)), 0, 1);
}

struct bandit {
  vector reward;
  template <class State>
  vector const& source(State const&) const {
    return reward;
  }
  vector score(vector const& logits, vector const&) const { return log_softmax(logits); }
  kedge::status solve(vector& logits, vector const& r, vector const& reference, std::size_t) const {
    logits = reference + r / beta;
    return kedge::status::done;
  }
};

vector by_kedge(vector const& reward) {
  bandit problem{reward};
  kedge::extrapolated_weights<kedge::constant_momentum> const schedule{{alpha}};
  kedge::state<vector, vector, kedge::extrapolated_weights<kedge::constant_momentum>> state(vector::Zero(reward.size()));
  if (kedge::run(state, schedule, problem, rounds) != kedge::status::done) std::abort();
  return state.theta;
}

// Two buffers that change places; the reference is a vector of its own, as it is for kedge.
vector by_hand(vector const& reward) {
  vector result = vector::Zero(reward.size()), previous = result;
  for (std::size_t t = 0; t < rounds; ++t) {
    double const a = t == 0 ? 0 : alpha;
    previous = (1 + a) * result - a * previous;
    result.swap(previous);
    vector const reference = log_softmax(result);
    result = reference + reward / beta;
  }
  return result;
}

template <vector (*Rounds)(vector const&)>
void measure(benchmark::State& state) {
  vector const reward = spaced_reward(state);
  for (auto _ : state) benchmark::DoNotOptimize(Rounds(reward));
  state.SetItemsProcessed(static_cast<std::int64_t>(rounds) * state.iterations());
}

void agree(benchmark::State& state) {
  vector const reward = spaced_reward(state);
  double const distance = (by_kedge(reward) - by_hand(reward)).lpNorm<Eigen::Infinity>();
  if (distance > 1e-9) state.SkipWithError("the two loops differ");
  for (auto _ : state) benchmark::DoNotOptimize(distance);
}

BENCHMARK(agree)->Arg(10)->Arg(1000);
BENCHMARK(measure<by_kedge>)->Name("kedge")->Arg(10)->Arg(100)->Arg(1000)->Arg(100000);
BENCHMARK(measure<by_hand>)->Name("hand")->Arg(10)->Arg(100)->Arg(1000)->Arg(100000);

}  // namespace
