// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // clamp, max
#include <cmath>      // abs

#include "methods.hpp"

// NearSwap: each entry goes from the base's number towards the other model's by t, or as far as the other if that is nearer.
// math    θ₀ + w(θ₁ − θ₀), w = min(1, t/|θ₁ − θ₀|), as mergekit 0.1.5 computes it

namespace kedge::llm {

void merge_nearswap(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  constexpr float smallest = 1e-6F;
  std::size_t const other = job.others().front();
  auto const t = static_cast<float>(job.values("t"));
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> a(count), b(count);
    job.inputs[*job.base].load(begin, a);
    job.inputs[other].load(begin, b);
    for (std::size_t i = 0; i < count; ++i) {
      float const inverse = 1 / std::max(std::abs(a[i] - b[i]), smallest);
      float const weight = std::clamp(inverse * t, 0.0F, 1.0F);
      float const from_b = weight * b[i], from_a = (1 - weight) * a[i];
      a[i] = from_b + from_a;
    }
    sink(begin, a);
  });
}

}  // namespace kedge::llm
