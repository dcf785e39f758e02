// SPDX-License-Identifier: Apache-2.0
#include "host_ops.hpp"

#include <algorithm>

#include "../base/thread_pool.hpp"
#include "../kernels/attention.hpp"
#include "../kernels/kernels.hpp"

namespace kedge::llm::host_ops {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

float const* numbers(at::Tensor const& x) { return x.const_data_ptr<float>(); }
float* written(at::Tensor const& x) { return x.mutable_data_ptr<float>(); }

// Numbers that are worth a thread which may be asleep: some twenty microseconds of work.
constexpr std::size_t many_numbers = 65536;

// Rows that are.
std::size_t row_grain(std::size_t n) { return std::max<std::size_t>(1, many_numbers / std::max<std::size_t>(n, 1)); }

matrix_view view_of(at::Tensor const& x) {
  return {x.const_data_ptr(), as_size(x.stride(0)), as_size(x.stride(1)), x.scalar_type() == at::kBFloat16};
}

std::size_t tiles(std::size_t n, std::size_t size) { return (n + size - 1) / size; }

char const* moved(matrix_view const& m, std::size_t elements) { return static_cast<char const*>(m.data) + elements * (m.bf16 ? 2 : 4); }

}  // namespace

bool takes(at::Tensor const& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

bool multiplies_by(at::Tensor const& weight) {
  return weight.is_cpu() && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
}

bool rounds_operands() { return kernels().tile_product != nullptr; }

void multiply(at::Tensor const& c, at::Tensor const& a, at::Tensor const& b, at::Tensor const& onto) {
  if (a.size(1) == 0) {
    onto.defined() ? c.copy_(onto) : c.zero_();
    return;
  }
  product_kernels const& product = kernels().product;
  bool const narrow = rounds_operands() && (a.scalar_type() == at::kBFloat16 || b.scalar_type() == at::kBFloat16);
  auto const kernel = narrow ? kernels().tile_product : product.multiply;
  matrix_product const whole{view_of(a),            view_of(b),          onto.defined() ? numbers(onto) : nullptr, written(c),
                             as_size(c.stride(0)), as_size(c.size(0)), as_size(c.size(1)), as_size(a.size(1))};
  if (whole.m == 0 || whole.n == 0) return;
  // Each thread takes rows or columns of c, whichever there are more of; packing the other side is done by each. Rows that have to be packed count twice.
  bool const packs_rows = whole.a.column != 1 || whole.a.bf16, by_rows = (packs_rows ? 2 : 1) * whole.m > whole.n;
  std::size_t const tile = by_rows ? product.tile_rows : product.tile_columns, length = by_rows ? whole.m : whole.n, all = tiles(length, tile);
  constexpr std::size_t worth_a_thread = 4'000'000;  // multiply-adds
  std::size_t const grain = std::max<std::size_t>(1, worth_a_thread / std::max<std::size_t>(1, whole.m * whole.n * whole.k / all));
  shared_pool().divide(all, grain, [&](std::size_t begin, std::size_t end) {
    std::size_t const first = begin * tile, size = std::min(length, end * tile) - first;
    matrix_product part = whole;
    if (by_rows) {
      part.a.data = moved(whole.a, first * whole.a.row);
      part.m = size;
    } else {
      part.b.data = moved(whole.b, first * whole.b.column);
      part.n = size;
    }
    std::size_t const place = by_rows ? first * whole.c_row : first;
    part.c += place;
    if (part.onto) part.onto += place;
    kernel(part);
  });
}

namespace {

at::Tensor plus(at::Tensor const& weight, double offset) { return offset == 0 ? weight.contiguous() : at::add(weight, offset); }

}  // namespace

at::Tensor converted(at::Tensor const& x, at::ScalarType type) {
  if (x.scalar_type() == type) return x;
  at::Tensor const from = x.contiguous();
  at::Tensor result = at::empty(x.sizes(), x.options().dtype(type));
  auto const bits = [](void const* at) { return static_cast<std::uint16_t const*>(at); };
  shared_pool().divide(as_size(x.numel()), many_numbers, [&, to = result.mutable_data_ptr()](std::size_t begin, std::size_t end) {
    if (type == at::kBFloat16)
      kernels().convert.narrow(numbers(from) + begin, end - begin, static_cast<std::uint16_t*>(to) + begin);
    else
      kernels().convert.widen(bits(from.const_data_ptr()) + begin, end - begin, static_cast<float*>(to) + begin);
  });
  return result;
}

at::Tensor inverse_rms(at::Tensor const& x, double eps) {
  std::size_t const n = as_size(x.size(1));
  at::Tensor inverse = at::empty({x.size(0), 1}, x.options());
  float const* const in = numbers(x);
  float* const out = written(inverse);
  shared_pool().divide(as_size(x.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    kernels().norms.inverse_rms(in + begin * n, end - begin, n, static_cast<float>(eps), out + begin);
  });
  return inverse;
}

at::Tensor scale(at::Tensor const& x, at::Tensor const& inverse, at::Tensor const& weight, double offset) {
  std::size_t const n = as_size(x.size(1));
  at::Tensor const w = plus(weight, offset);
  at::Tensor result = at::empty_like(x);
  float const *const in = numbers(x), *const factors = numbers(inverse), *const weights = numbers(w);
  float* const out = written(result);
  shared_pool().divide(as_size(x.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    kernels().norms.scale(in + begin * n, factors + begin, weights, end - begin, n, out + begin * n);
  });
  return result;
}

void scale_backward(at::Tensor const& g, at::Tensor const& x, at::Tensor const& inverse, at::Tensor const& weight, double offset, at::Tensor& gx,
                    at::Tensor& weight_gradient) {
  // The weight's gradient is summed over blocks of rows and then over the blocks, so that threads change no bit of it.
  constexpr std::size_t block = 64;
  std::size_t const rows = as_size(x.size(0)), n = as_size(x.size(1)), blocks = tiles(rows, block);
  at::Tensor const w = plus(weight, offset);
  at::Tensor const sums = at::zeros({static_cast<std::int64_t>(blocks), x.size(1)}, x.options());
  float const *const out_gradient = numbers(g), *const in = numbers(x), *const factors = numbers(inverse), *const weights = numbers(w);
  float *const to = written(gx), *const sum = written(sums);
  shared_pool().divide(blocks, row_grain(block * n), [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      std::size_t const first = b * block, size = std::min(block, rows - first);
      kernels().norms.scale_backward(out_gradient + first * n, in + first * n, factors + first, weights, size, n, to + first * n, sum + b * n);
    }
  });
  if (weight_gradient.defined()) weight_gradient.add_(sums.sum(0));
}

void rotate(at::Tensor& x, at::Tensor const& cosine, at::Tensor const& sine, double direction) {
  std::size_t const heads = as_size(x.size(1)), d = as_size(x.size(2)), half = d / 2;
  float const *const c = numbers(cosine), *const s = numbers(sine);
  float* const at = written(x);
  shared_pool().divide(as_size(x.size(0)), row_grain(heads * d), [&](std::size_t begin, std::size_t end) {
    kernels().norms.rotate(at + begin * heads * d, c + begin * half, s + begin * half, end - begin, heads, d, static_cast<float>(direction));
  });
}

at::Tensor swiglu(at::Tensor const& gate, at::Tensor const& up) {
  at::Tensor result = at::empty_like(gate);
  float const *const z = numbers(gate), *const u = numbers(up);
  float* const out = written(result);
  shared_pool().divide(as_size(gate.numel()), many_numbers / 2, [&](std::size_t begin, std::size_t end) { kernels().gates.swiglu(z + begin, u + begin, end - begin, out + begin); });
  return result;
}

void swiglu_backward(at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up, at::Tensor& gate_gradient, at::Tensor& up_gradient) {
  gate_gradient = at::empty_like(gate);
  up_gradient = at::empty_like(up);
  float const *const out = numbers(g), *const z = numbers(gate), *const u = numbers(up);
  float *const gz = written(gate_gradient), *const gu = written(up_gradient);
  shared_pool().divide(as_size(gate.numel()), many_numbers / 2, [&](std::size_t begin, std::size_t end) {
    kernels().gates.swiglu_backward(out + begin, z + begin, u + begin, end - begin, gz + begin, gu + begin);
  });
}

at::Tensor softmax_(at::Tensor& scores) {
  std::size_t const n = as_size(scores.size(1));
  at::Tensor log_sums = at::empty({scores.size(0), 1}, scores.options());
  float *const rows = written(scores), *const out = written(log_sums);
  shared_pool().divide(as_size(scores.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    kernels().softmax.softmax(rows + begin * n, end - begin, n, out + begin);
  });
  return log_sums;
}

at::Tensor square_sums(at::Tensor const& x) {
  constexpr std::size_t block = 1024;  // thousands of small numbers added to a large one in fp32 would be lost
  std::size_t const n = as_size(x.size(1));
  at::Tensor const sums = at::empty({x.size(0), 1}, x.options());
  float const* const rows = numbers(x);
  float* const out = written(sums);
  shared_pool().divide(as_size(x.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      double sum = 0;
      for (std::size_t i = 0; i < n; i += block) sum += static_cast<double>(kernels().softmax.dot(rows + r * n + i, rows + r * n + i, std::min(block, n - i)));
      out[r] = static_cast<float>(sum);
    }
  });
  return sums;
}

namespace {

prompt_attention attention_of(double scale, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  return {kernels(), numbers(q), numbers(k), numbers(v), as_size(q.size(0)), as_size(q.size(1)), as_size(k.size(1)), as_size(q.size(2)),
          static_cast<float>(scale)};
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

at::Tensor attention(std::vector<attention_run> const& runs, double scale, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor& log_sums) {
  prompt_attention const all = attention_of(scale, q, k, v);
  at::Tensor result = at::empty_like(q);
  log_sums = at::empty({q.size(1), q.size(0)}, q.options());
  float *const out = written(result), *const sums = written(log_sums);
  each_run_and_head(runs, all, [&](std::size_t run, std::size_t head) { all.forward(runs[run], head, out, sums); });
  return result;
}

void attention_backward(std::vector<attention_run> const& runs, double scale, at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                        at::Tensor const& v, at::Tensor const& out, at::Tensor const& log_sums, at::Tensor& gq, at::Tensor& gk, at::Tensor& gv) {
  prompt_attention const all = attention_of(scale, q, k, v);
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
