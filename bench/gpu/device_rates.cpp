// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "check.hpp"

namespace kedge::gpu_check {
namespace {

// The best of five. Random numbers: constant ones draw less power and run faster.
double best_of(at::Device device, int times, auto const& work) {
  double best = INFINITY;
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of(device, times, work));
  return best;
}

double product_rate(at::Device device, at::ScalarType type, std::int64_t n, int times) {
  auto const random = [&] { return at::randn({n, n}, at::TensorOptions().device(device)).to(type); };
  at::Tensor const a = random(), b = random();
  at::Tensor out = at::empty_like(a);
  double const size = static_cast<double>(n);
  return 2 * size * size * size / best_of(device, times, [&] { at::mm_out(out, a, b); });
}

}  // namespace

bool rates(at::Device device, bool large) {
  std::int64_t const n = large ? 8192 : 256;
  for (at::ScalarType const type : {at::kBFloat16, at::kFloat})
    for (bool const tf32 : {false, true}) {
      if (tf32 && (type != at::kFloat || !device.is_cuda())) continue;
      at::globalContext().setAllowTF32CuBLAS(tf32);
      std::string const name = std::string(at::toString(type)) + (tf32 ? ", tf32" : "");
      say({{"what", "product of " + std::to_string(n) + "³"}, {"of", name}, {"TFLOP/s", product_rate(device, type, n, large ? 4 : 1) / 1e12}});
    }
  at::Tensor const from = at::randn({large ? std::int64_t{1} << 28 : std::int64_t{1} << 20}, at::TensorOptions().device(device));
  at::Tensor to = at::empty_like(from);
  double const bytes = 2 * 4 * static_cast<double>(from.numel());
  say({{"what", "copy, read and written"}, {"GB/s", bytes / best_of(device, 4, [&] { to.copy_(from); }) / 1e9}});
  at::Tensor small = at::zeros({1}, from.options());
  say({{"what", "launch of an operation"}, {"µs", 1e6 * best_of(device, 1000, [&] { small.add_(1); })}});
  return true;
}

}  // namespace kedge::gpu_check
