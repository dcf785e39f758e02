// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // fill, min
#include <cmath>      // abs
#include <numeric>    // accumulate

#include <kedge/llm/base/error.hpp>

#include "numbers.hpp"
#include "sparsify.hpp"
#include "methods.hpp"

namespace kedge::llm {
namespace {

/// A model's difference from the base, what is kept of it, and its weight.
struct task_vector {
  std::size_t input = 0;
  entry_mask mask;  ///< empty: all
  float scale = 1;
  float weight = 1;
};

bool votes(soup_method method) {
  return method == soup_method::ties || method == soup_method::dare_ties || method == soup_method::della ||
         method == soup_method::breadcrumbs_ties;
}

/// della ranks along the second axis; a tensor with fewer axes is one line.
entry_mask della_mask(tensor_job const& job, std::size_t input, std::uint64_t seed, thread_pool& workers, entry_reader const& read) {
  double const density = job.values("density", input), epsilon = job.values("epsilon", input);
  if (density + epsilon >= 1 || density - epsilon <= 0)
    throw error("tensor " + in_quotes(job.name) + ": density ± epsilon has to lie between 0 and 1, but is " + std::to_string(density) +
                " ± " + std::to_string(epsilon));
  std::size_t const length = job.shape.size() < 2 ? job.elements : static_cast<std::size_t>(job.shape[1]);
  std::size_t inner = 1;
  for (std::size_t axis = 2; axis < job.shape.size(); ++axis) inner *= static_cast<std::size_t>(job.shape[axis]);
  return keep_by_rank(job.elements, length, inner, density, epsilon, seed, workers, read);
}

entry_mask mask_of(tensor_job const& job, std::size_t input, thread_pool& workers) {
  double const density = job.values("density", input);
  if (job.method == soup_method::task_arithmetic || density >= 1) return {};
  if (density <= 0) return entry_mask(job.elements);
  entry_reader const read = [&](std::size_t begin, std::span<float> out) { load_difference(job, input, begin, out); };
  std::uint64_t const seed = job.seed + input * 0xd1b5'4a32'd192'ed03U;  // a stream of each model's own
  switch (job.method) {
    case soup_method::ties:
      return keep_largest(job.elements, density, workers, read);
    case soup_method::dare_linear:
    case soup_method::dare_ties:
      return keep_at_random(job.elements, density, seed, workers);
    case soup_method::della:
    case soup_method::della_linear:
      return della_mask(job, input, seed, workers, read);
    default:
      return keep_middle(job.elements, density, job.values("gamma", input), workers, read);
  }
}

void apply(entry_mask const& mask, std::size_t begin, std::span<float> entries) {
  if (mask.empty()) return;
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = mask[begin + i] != 0 ? entries[i] : 0.0F;
}

/// Σ|δ| before over after dropping; 1 where either is next to nothing.
float scale_of(tensor_job const& job, std::size_t input, entry_mask const& mask, thread_pool& workers) {
  constexpr double smallest = 1e-7;
  if (mask.empty() || !job.values.is_on("rescale")) return 1;
  std::vector<double> before(pieces_of(job.elements)), after(before.size());
  for_pieces(workers, job.elements, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> entries(count);
    load_difference(job, input, begin, entries);
    before[piece] = sum_of_magnitudes(entries);
    apply(mask, begin, entries);
    after[piece] = sum_of_magnitudes(entries);
  });
  double const all = std::accumulate(before.begin(), before.end(), 0.0), kept = std::accumulate(after.begin(), after.end(), 0.0);
  return all < smallest || kept < smallest ? 1 : static_cast<float>(all / kept);
}

/// Sum and divisor of an element's weighted entries: all of them, or those of the sign of their sum.
class mixer {
 public:
  mixer(tensor_job const& job, std::vector<task_vector> const& tasks) : vote_(votes(job.method)), normalize_(job.values.is_on("normalize")) {
    for (auto const& task : tasks) weights_.push_back(task.weight);
    total_ = std::accumulate(weights_.begin(), weights_.end(), 0.0F);
    if (std::abs(total_) < 1e-8F) total_ = 1;
  }

  /// entries[v][i] are weighted already; the mixture lands in entries[0].
  void operator()(std::vector<std::vector<float>>& entries, std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      float sum = 0, divisor = total_;
      for (auto const& v : entries) sum += v[i];
      if (vote_) {
        bool const positive = sum >= 0;
        sum = divisor = 0;
        for (std::size_t v = 0; v < entries.size(); ++v)
          if (positive ? entries[v][i] > 0 : entries[v][i] < 0) {
            sum += entries[v][i];
            divisor += weights_[v];
          }
        if (divisor == 0) divisor = 1;
      }
      entries[0][i] = normalize_ ? sum / divisor : sum;
    }
  }

 private:
  bool vote_, normalize_;
  std::vector<float> weights_;
  float total_ = 0;
};

}  // namespace

void merge_task_vectors(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  std::vector<task_vector> tasks;
  for (std::size_t const input : job.others()) {
    task_vector& task = tasks.emplace_back(task_vector{input, mask_of(job, input, workers), 1, 0});
    task.scale = scale_of(job, input, task.mask, workers);
    task.weight = static_cast<float>(job.values("weight", input));
  }
  mixer const mix(job, tasks);
  auto const lambda = static_cast<float>(job.values("lambda") * job.values.growth);
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> base(count);
    job.inputs[*job.base].load(begin, base);
    std::vector<std::vector<float>> entries(std::max<std::size_t>(1, tasks.size()), std::vector<float>(count));
    for (std::size_t v = 0; v < tasks.size(); ++v) {
      auto& entry = entries[v];
      job.inputs[tasks[v].input].load(begin, entry);
      for (std::size_t i = 0; i < count; ++i) entry[i] -= base[i];
      apply(tasks[v].mask, begin, entry);
      for (float& x : entry) x = x * tasks[v].scale * tasks[v].weight;
    }
    mix(entries, count);
    for (std::size_t i = 0; i < count; ++i) base[i] += lambda * entries[0][i];
    sink(begin, base);
  });
}

}  // namespace kedge::llm
