// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "../base/thread_pool.hpp"
#include "../kernels/attention.hpp"
#include "../kernels/kernels.hpp"
#include "host_ops.hpp"
#include "ops.hpp"

namespace kedge::llm::host_ops {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

float const* numbers(at::Tensor const& x) { return x.const_data_ptr<float>(); }
float* written(at::Tensor const& x) { return x.mutable_data_ptr<float>(); }

prompt_attention attention_of(ops::attention_settings const& settings, at::Tensor const& q, at::Tensor const& k,
                              at::Tensor const& v) {
  return {.kernels = kernels(),
          .q = numbers(q),
          .k = numbers(k),
          .v = numbers(v),
          .tokens = as_size(q.size(0)),
          .heads = as_size(q.size(1)),
          .kv_heads = as_size(k.size(1)),
          .d = as_size(q.size(2)),
          .scale = static_cast<float>(settings.scale),
          .cap = static_cast<float>(settings.soft_cap),
          .window = as_size(settings.window)};
}

// Pairs of a query and a key, twice.
std::int64_t cost(attention_run const& r) { return r.own.size * (2 * (r.prefix.size + r.prompt.size) + r.own.size); }

// f(run, key-value head) for all of them as threads become free.
template <class F>
void each_run_and_head(std::vector<attention_run> const& runs, prompt_attention const& all, F const& f) {
  constexpr std::int64_t worth_waking = 8'000'000;  // multiply-adds
  std::int64_t work = 0;
  for (attention_run const& run : runs) work += cost(run) * static_cast<std::int64_t>(all.heads * all.d);
  auto const task = [&](std::size_t i, std::size_t) { f(i / all.kv_heads, i % all.kv_heads); };
  std::size_t const tasks = runs.size() * all.kv_heads;
  if (work >= worth_waking) return shared_pool().run(tasks, task);
  for (std::size_t i = 0; i < tasks; ++i) task(i, 0);
}

}  // namespace

std::vector<attention_run> runs_by_cost(std::vector<shared_prompt> const& prompts) {
  std::vector<attention_run> runs;
  for (shared_prompt const& group : prompts) each_run(group, [&](attention_run const& run) { runs.push_back(run); });
  std::stable_sort(runs.begin(), runs.end(), [&](attention_run const& a, attention_run const& b) { return cost(a) > cost(b); });
  return runs;
}

at::Tensor attention(std::vector<attention_run> const& runs, ops::attention_settings const& settings, at::Tensor const& q,
                     at::Tensor const& k, at::Tensor const& v, at::Tensor& log_sums) {
  prompt_attention const all = attention_of(settings, q, k, v);
  at::Tensor result = at::empty_like(q);
  log_sums = at::empty({q.size(1), q.size(0)}, q.options());
  float *const out = written(result), *const sums = written(log_sums);
  each_run_and_head(runs, all, [&](std::size_t run, std::size_t head) { all.forward(runs[run], head, out, sums); });
  return result;
}

void attention_backward(std::vector<attention_run> const& runs, ops::attention_settings const& settings, at::Tensor const& g,
                        at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& out,
                        at::Tensor const& log_sums, at::Tensor& gq, at::Tensor& gk, at::Tensor& gv) {
  prompt_attention const all = attention_of(settings, q, k, v);
  gq = at::empty_like(q);
  gk = at::zeros_like(k);
  gv = at::zeros_like(v);
  float const *const out_gradient = numbers(g), *const result = numbers(out), *const sums = numbers(log_sums);
  float *const to_q = written(gq), *const to_k = written(gk), *const to_v = written(gv);
  // Runs are computed side by side, so that each has a place of its own for the keys it shares with others; added in order afterwards.
  std::vector<std::int64_t> places;
  std::int64_t shared = 0;
  for (attention_run const& run : runs) {
    places.push_back(shared);
    shared += run.prefix.size + run.prompt.size;
  }
  at::Tensor const shared_k = at::zeros({shared, k.size(1), k.size(2)}, k.options()), shared_v = at::zeros_like(shared_k);
  float *const to_shared_k = written(shared_k), *const to_shared_v = written(shared_v);
  each_run_and_head(runs, all, [&](std::size_t run, std::size_t head) {
    std::size_t const place = as_size(places[run]) * all.kv_heads * all.d;
    all.backward(runs[run], head, out_gradient, result, sums, to_q, to_k, to_v, to_shared_k + place, to_shared_v + place);
  });
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::int64_t place = places[i];
    for (token_range const& keys : {runs[i].prefix, runs[i].prompt}) {
      if (keys.size > 0) {
        gk.narrow(0, keys.begin, keys.size).add_(shared_k.narrow(0, place, keys.size));
        gv.narrow(0, keys.begin, keys.size).add_(shared_v.narrow(0, place, keys.size));
      }
      place += keys.size;
    }
  }
}

}  // namespace kedge::llm::host_ops
