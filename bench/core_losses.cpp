// SPDX-License-Identifier: Apache-2.0
// Pairs a second through preference_loss: value and cotangent of a batch.
#include <benchmark/benchmark.h>

#include <kedge/losses.hpp>

namespace {

using namespace kedge;

struct batch_of_pairs {
  pair_log_probs logp, reference;
  std::vector<double> tokens, score_chosen, score_rejected;
  explicit batch_of_pairs(std::size_t n) : tokens(n, 20), score_chosen(n, 0.7), score_rejected(n, 0.2) {
    for (std::size_t i = 0; i < n; ++i) {
      double const x = static_cast<double>(i * 7919 % 1000) / 100;
      logp.chosen.push_back(-20 - x);
      logp.rejected.push_back(-25 + x / 2);
      reference.chosen.push_back(-22 - x / 3);
      reference.rejected.push_back(-24);
    }
  }
};

template <class Loss>
void losses(benchmark::State& state) {
  batch_of_pairs const b(static_cast<std::size_t>(state.range(0)));
  pair_batch const batch{b.logp, b.reference, b.tokens, b.tokens, b.score_chosen, b.score_rejected};
  for (auto _ : state) benchmark::DoNotOptimize(preference_loss(Loss{}, batch));
  state.SetItemsProcessed(state.range(0) * state.iterations());
}

BENCHMARK(losses<dpo>)->Arg(8)->Arg(4096);
BENCHMARK(losses<ipo>)->Arg(4096);
BENCHMARK(losses<hinge>)->Arg(4096);
BENCHMARK(losses<exo>)->Arg(4096);
BENCHMARK(losses<discopop>)->Arg(4096);
BENCHMARK(losses<kto>)->Arg(4096);
BENCHMARK(losses<simpo>)->Arg(4096);
BENCHMARK(losses<aot>)->Arg(4096);

}  // namespace
