// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // max, min
#include <cmath>      // abs

#include "methods.hpp"
#include "numbers.hpp"
#include "sparsify.hpp"

// SCE: select the entries that differ most between the models, weigh each model by the squares of what is left, erase the minority's signs.
// source  Wan et al. 2024 (arXiv 2408.07990), as mergekit 0.1.5 computes it

namespace kedge::llm {
namespace {

using columns = std::vector<std::vector<float>>;

/// Differences of all models from the base.
void load_differences(tensor_job const& job, std::size_t begin, columns& out, std::size_t count) {
  std::vector<std::size_t> const others = job.others();
  out.resize(others.size());
  for (std::size_t v = 0; v < others.size(); ++v) {
    out[v].resize(count);
    load_difference(job, others[v], begin, out[v]);
  }
}

/// Variance over the models, updated one by one so that equal numbers have none.
float variance(columns const& deltas, std::size_t i) {
  double mean = 0, squares = 0;
  for (std::size_t v = 0; v < deltas.size(); ++v) {
    double const step = static_cast<double>(deltas[v][i]) - mean;
    mean += step / static_cast<double>(v + 1);
    squares += step * (static_cast<double>(deltas[v][i]) - mean);
  }
  return static_cast<float>(squares / static_cast<double>(deltas.size()));
}

/// The share of the entries with a variance that is asked for; empty: all.
entry_mask selected(tensor_job const& job, double share, thread_pool& workers) {
  if (share >= 1) return {};
  if (share <= 0) return entry_mask(job.elements);
  entry_reader const read = [&](std::size_t begin, std::span<float> out) {
    columns deltas;
    load_differences(job, begin, deltas, out.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = variance(deltas, i);
  };
  std::vector<std::size_t> varied(pieces_of(job.elements));
  for_pieces(workers, job.elements, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> entries(count);
    read(begin, entries);
    for (float const x : entries) varied[piece] += x != 0 ? 1 : 0;
  });
  std::size_t total = 0;
  for (std::size_t const n : varied) total += n;
  auto const kept = static_cast<std::size_t>(static_cast<float>(total) * static_cast<float>(share));
  return keep_top(job.elements, kept, workers, read);
}

void apply(entry_mask const& mask, std::size_t begin, columns& deltas) {
  if (mask.empty()) return;
  for (auto& delta : deltas)
    for (std::size_t i = 0; i < delta.size(); ++i) delta[i] = mask[begin + i] != 0 ? delta[i] : 0.0F;
}

/// Each model's mean square, as a share of all of them.
std::vector<float> weights_of(tensor_job const& job, entry_mask const& mask, std::size_t models, thread_pool& workers) {
  constexpr float smallest = 1e-6F;
  std::vector<double> squares(pieces_of(job.elements) * models);
  for_pieces(workers, job.elements, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    columns deltas;
    load_differences(job, begin, deltas, count);
    apply(mask, begin, deltas);
    for (std::size_t v = 0; v < models; ++v) squares[piece * models + v] = dot(deltas[v], deltas[v]);
  });
  std::vector<float> out(models);
  float sum = 0;
  for (std::size_t v = 0; v < models; ++v) {
    double all = 0;
    for (std::size_t piece = 0; piece < pieces_of(job.elements); ++piece) all += squares[piece * models + v];
    out[v] = static_cast<float>(all / static_cast<double>(std::max<std::size_t>(1, job.elements)));
    sum += out[v];
  }
  for (float& weight : out) weight = std::abs(sum) < smallest ? 1 / static_cast<float>(models) : weight / sum;
  return out;
}

/// The weighted mean of the entries of the majority's sign.
float mixed(columns const& deltas, std::vector<float> const& weights, std::size_t i) {
  constexpr float smallest = 1e-6F;
  float sum = 0, mix = 0, divisor = 0;
  for (auto const& delta : deltas) sum += delta[i];
  for (std::size_t v = 0; v < deltas.size(); ++v)
    if (sum >= 0 ? deltas[v][i] > 0 : deltas[v][i] < 0) {
      mix += deltas[v][i] * weights[v];
      divisor += weights[v];
    }
  return mix / std::max(divisor, smallest);
}

}  // namespace

void merge_sce(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  std::size_t const models = job.others().size();
  entry_mask const mask = models == 0 ? entry_mask{} : selected(job, job.values("select_topk"), workers);
  std::vector<float> const weights = weights_of(job, mask, models, workers);
  auto const growth = static_cast<float>(job.values.growth);
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    columns deltas;
    load_differences(job, begin, deltas, count);
    apply(mask, begin, deltas);
    std::vector<float> out(count);
    job.inputs[*job.base].load(begin, out);
    if (models > 0)
      for (std::size_t i = 0; i < count; ++i) out[i] += growth * mixed(deltas, weights, i);
    sink(begin, out);
  });
}

}  // namespace kedge::llm
