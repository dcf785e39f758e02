// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // max, max_element
#include <array>      // array
#include <cmath>      // abs, exp, log

#include "methods.hpp"
#include "sparsify.hpp"

// Arcee fusion: the base, with those of the other model's entries whose importance is at least the median + 1.5 times the distance of the quartiles.
// math    importance = |θ₁ − θ₀| · KL(softmax θ₁ ‖ softmax θ₀), the softmax and the divergence over the last axis, as in mergekit 0.1.5. The divergence
//         is taken in float64, since in float32 the rounding of its terms, which cancel, is as large as itself where models are near. The quartiles are
//         those of all entries; mergekit draws a million where there are more

namespace kedge::llm {
namespace {

void softmax(std::span<double> x) {
  double const most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& value : x) sum += value = std::exp(value - most);
  for (double& value : x) value /= sum;
}

double divergence(std::span<double const> p, std::span<double const> q) {
  constexpr double eps = 1e-8;
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += (p[i] + eps) * std::log((p[i] + eps) / (q[i] + eps));
  return std::max(0.0, sum);
}

/// One number a row.
std::vector<double> divergences(tensor_job const& job, std::size_t other, std::size_t length, thread_pool& workers) {
  std::vector<double> out(job.elements / length);
  workers.run(out.size(), [&](std::size_t row, std::size_t) {
    std::vector<float> numbers(length);
    std::vector<double> p(length), q(length);
    job.inputs[other].load(row * length, numbers);
    p.assign(numbers.begin(), numbers.end());
    job.inputs[*job.base].load(row * length, numbers);
    q.assign(numbers.begin(), numbers.end());
    softmax(p);
    softmax(q);
    out[row] = divergence(p, q);
  });
  return out;
}

}  // namespace

void merge_arcee_fusion(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  if (job.elements == 0) return;
  std::size_t const other = job.others().front();
  std::size_t const length = job.shape.empty() ? 1 : static_cast<std::size_t>(job.shape.back());
  std::vector<double> const rows = divergences(job, other, length, workers);
  entry_reader const importance = [&](std::size_t begin, std::span<float> out) {
    std::vector<float> base(out.size());
    job.inputs[*job.base].load(begin, base);
    job.inputs[other].load(begin, out);
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] =
          static_cast<float>(std::abs(static_cast<double>(out[i]) - static_cast<double>(base[i])) * rows[(begin + i) / length]);
  };
  std::array<float, 3> quartiles{};
  for (std::size_t q = 0; q < quartiles.size(); ++q)
    quartiles[q] = magnitude_at((q + 1) * (job.elements - 1) / 4, job.elements, workers, importance);
  float const threshold = quartiles[1] + 1.5F * (quartiles[2] - quartiles[0]);
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> matters(count), base(count), delta(count);
    importance(begin, matters);
    job.inputs[*job.base].load(begin, base);
    load_difference(job, other, begin, delta);
    for (std::size_t i = 0; i < count; ++i)
      if (matters[i] >= threshold) base[i] += delta[i];
    sink(begin, base);
  });
}

}  // namespace kedge::llm
