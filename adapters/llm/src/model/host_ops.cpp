// SPDX-License-Identifier: Apache-2.0
#include "host_ops.hpp"

#include <algorithm>

#include "../base/thread_pool.hpp"
#include "../kernels/kernels.hpp"
#include "gpu_way.hpp"

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

char const* moved(matrix_view const& m, std::size_t elements) {
  return static_cast<char const*>(m.data) + elements * (m.bf16 ? 2 : 4);
}

}  // namespace

namespace {

bool by_own_loops(at::Tensor const& x) { return x.is_cpu() && !goes_gpu_way(x.device()); }

}  // namespace

bool takes(at::Tensor const& x) { return by_own_loops(x) && x.scalar_type() == at::kFloat && (x.dim() == 0 || x.size(-1) < 2 || x.stride(-1) == 1); }

bool multiplies_by(at::Tensor const& weight) {
  return by_own_loops(weight) && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
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
  matrix_product const whole{view_of(a),         view_of(b),           onto.defined() ? numbers(onto) : nullptr,
                             written(c),         as_size(c.stride(0)), as_size(c.size(0)),
                             as_size(c.size(1)), as_size(a.size(1))};
  if (whole.m == 0 || whole.n == 0) return;
  // Each thread takes rows or columns of c, whichever there are more of; packing the other side is done by each. Rows that have to be packed count twice.
  bool const packs_rows = whole.a.column != 1 || whole.a.bf16, by_rows = (packs_rows ? 2 : 1) * whole.m > whole.n;
  std::size_t const tile = by_rows ? product.tile_rows : product.tile_columns, length = by_rows ? whole.m : whole.n,
                    all = tiles(length, tile);
  constexpr std::size_t worth_a_thread = 4'000'000;  // multiply-adds
  std::size_t const grain =
      std::max<std::size_t>(1, worth_a_thread / std::max<std::size_t>(1, whole.m * whole.n * whole.k / all));
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
  shared_pool().divide(
      as_size(x.numel()), many_numbers, [&, to = result.mutable_data_ptr()](std::size_t begin, std::size_t end) {
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

void scale_backward(at::Tensor const& g, at::Tensor const& x, at::Tensor const& inverse, at::Tensor const& weight,
                    double offset, at::Tensor& gx, at::Tensor& weight_gradient) {
  // The weight's gradient is summed over blocks of rows and then over the blocks, so that threads change no bit of it.
  constexpr std::size_t block = 64;
  std::size_t const rows = as_size(x.size(0)), n = as_size(x.size(1)), blocks = tiles(rows, block);
  at::Tensor const w = plus(weight, offset);
  at::Tensor const sums = at::zeros({static_cast<std::int64_t>(blocks), x.size(1)}, x.options());
  float const *const out_gradient = numbers(g), *const in = numbers(x), *const factors = numbers(inverse),
                     *const weights = numbers(w);
  float *const to = written(gx), *const sum = written(sums);
  shared_pool().divide(blocks, row_grain(block * n), [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      std::size_t const first = b * block, size = std::min(block, rows - first);
      kernels().norms.scale_backward(out_gradient + first * n, in + first * n, factors + first, weights, size, n,
                                     to + first * n, sum + b * n);
    }
  });
  if (weight_gradient.defined()) weight_gradient.add_(sums.sum(0));
}

at::Tensor centred(at::Tensor const& x) {
  std::size_t const n = as_size(x.size(1));
  at::Tensor result = at::empty_like(x);
  float const* const in = numbers(x);
  float* const out = written(result);
  shared_pool().divide(as_size(x.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    kernels().norms.centre(in + begin * n, end - begin, n, out + begin * n);
  });
  return result;
}

void rotate(at::Tensor const& x, at::Tensor const& cosine, at::Tensor const& sine, double direction, bool interleaved) {
  std::size_t const heads = as_size(x.size(1)), d = as_size(x.size(2)), half = as_size(cosine.size(-1));
  float const *const c = numbers(cosine), *const s = numbers(sine);
  float* const at = written(x);
  shared_pool().divide(as_size(x.size(0)), row_grain(heads * d), [&](std::size_t begin, std::size_t end) {
    kernels().norms.rotate({.x = at + begin * heads * d,
                            .cosine = c + begin * half,
                            .sine = s + begin * half,
                            .rows = end - begin,
                            .heads = heads,
                            .d = d,
                            .half = half,
                            .direction = static_cast<float>(direction),
                            .interleaved = interleaved,
                            .bf16 = false});
  });
}

gate_function function_of(activation act) {
  switch (act) {
    case activation::silu:
      return gate_function::silu;
    case activation::gelu:
      return gate_function::gelu;
    case activation::gelu_tanh:
      return gate_function::gelu_tanh;
    case activation::relu2:
      return gate_function::relu2;
  }
  return gate_function::silu;
}

namespace {

// f(begin, end) over the numbers of a tensor, several operations each.
template <class F>
void each_number(at::Tensor const& x, F const& f) {
  shared_pool().divide(as_size(x.numel()), many_numbers / 2, f);
}

}  // namespace

at::Tensor activated(activation act, at::Tensor const& x) {
  at::Tensor result = at::empty_like(x);
  float const* const in = numbers(x);
  float* const out = written(result);
  each_number(x, [&](std::size_t begin, std::size_t end) {
    kernels().gates.activated(function_of(act), in + begin, end - begin, out + begin);
  });
  return result;
}

at::Tensor activated_backward(activation act, at::Tensor const& g, at::Tensor const& x) {
  at::Tensor result = at::empty_like(x);
  float const *const out = numbers(g), *const in = numbers(x);
  float* const to = written(result);
  each_number(x, [&](std::size_t begin, std::size_t end) {
    kernels().gates.activated_backward(function_of(act), out + begin, in + begin, end - begin, to + begin);
  });
  return result;
}

at::Tensor gated(activation act, at::Tensor const& gate, at::Tensor const& up) {
  at::Tensor result = at::empty_like(gate);
  float const *const z = numbers(gate), *const u = numbers(up);
  float* const out = written(result);
  each_number(gate, [&](std::size_t begin, std::size_t end) {
    kernels().gates.gated(function_of(act), z + begin, u + begin, end - begin, out + begin);
  });
  return result;
}

void gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up,
                    at::Tensor& gate_gradient, at::Tensor& up_gradient) {
  gate_gradient = at::empty_like(gate);
  up_gradient = at::empty_like(up);
  float const *const out = numbers(g), *const z = numbers(gate), *const u = numbers(up);
  float *const gz = written(gate_gradient), *const gu = written(up_gradient);
  each_number(gate, [&](std::size_t begin, std::size_t end) {
    kernels().gates.gated_backward(function_of(act), out + begin, z + begin, u + begin, end - begin, gz + begin, gu + begin);
  });
}

void soft_cap_(at::Tensor& x, double cap) {
  float* const at = written(x);
  each_number(x, [&](std::size_t begin, std::size_t end) {
    kernels().gates.soft_cap(at + begin, end - begin, static_cast<float>(cap));
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

ops::distribution distribution_(at::Tensor& scores, at::Tensor const& targets) {
  std::size_t const n = as_size(scores.size(1));
  auto const figure = [&] { return at::empty({scores.size(0), 1}, scores.options()); };
  ops::distribution const all{figure(), figure(), figure(), figure()};
  float* const rows = written(scores);
  std::int64_t const* const places = targets.const_data_ptr<std::int64_t>();
  distribution_figures const to{written(all.log_sum), written(all.entropy), written(all.mean), written(all.likeliest)};
  shared_pool().divide(as_size(scores.size(0)), row_grain(n), [&](std::size_t begin, std::size_t end) {
    kernels().softmax.distribution(rows + begin * n, end - begin, n, places + begin,
                                   {to.log_sum + begin, to.entropy + begin, to.mean + begin, to.likeliest + begin});
  });
  return all;
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
      for (std::size_t i = 0; i < n; i += block)
        sum += static_cast<double>(kernels().softmax.dot(rows + r * n + i, rows + r * n + i, std::min(block, n - i)));
      out[r] = static_cast<float>(sum);
    }
  });
  return sums;
}

}  // namespace kedge::llm::host_ops
