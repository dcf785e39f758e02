// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // clamp, max
#include <cmath>      // abs

#include "methods.hpp"

// Reinforced agent merging: an entry that one model alone changes is taken whole, one that several change is averaged over them.
// source  arXiv 2601.13572, as mergekit 0.1.5 computes it; `ramplus_tl` with its counts over one tensor

namespace kedge::llm {
namespace {

/// Which entries of the task vectors are changes, piece by piece.
class changes {
 public:
  explicit changes(tensor_job const& job)
      : job_(job), others_(job.others()), least_(static_cast<float>(job.values("epsilon"))) {}

  [[nodiscard]] std::size_t models() const { return others_.size(); }

  void load(std::size_t begin, std::size_t count, std::vector<std::vector<float>>& deltas,
            std::vector<unsigned>& contributors) const {
    deltas.resize(others_.size());
    contributors.assign(count, 0);
    for (std::size_t v = 0; v < others_.size(); ++v) {
      deltas[v].resize(count);
      load_difference(job_, others_[v], begin, deltas[v]);
      for (std::size_t i = 0; i < count; ++i) contributors[i] += is_change(deltas[v][i]) ? 1 : 0;
    }
  }

  [[nodiscard]] bool is_change(float delta) const { return std::abs(delta) > least_; }

 private:
  tensor_job const& job_;
  std::vector<std::size_t> others_;
  float least_;
};

/// Factor on each model's own entries: 1 + r·min(ρ, α), ρ its shared entries over its own. 1 for `ram`.
std::vector<float> factors_of(tensor_job const& job, changes const& tasks, thread_pool& workers) {
  std::size_t const models = tasks.models();
  if (job.method == soup_method::ram) return std::vector<float>(models, 1);
  std::vector<std::size_t> shared(pieces_of(job.elements) * models), own(shared.size());
  for_pieces(workers, job.elements, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<std::vector<float>> deltas;
    std::vector<unsigned> contributors;
    tasks.load(begin, count, deltas, contributors);
    for (std::size_t v = 0; v < models; ++v)
      for (std::size_t i = 0; i < count; ++i)
        if (tasks.is_change(deltas[v][i])) ++(contributors[i] > 1 ? shared : own)[piece * models + v];
  });
  std::vector<float> out(models);
  for (std::size_t v = 0; v < models; ++v) {
    std::size_t both = 0, alone = 0;
    for (std::size_t piece = 0; piece < pieces_of(job.elements); ++piece) {
      both += shared[piece * models + v];
      alone += own[piece * models + v];
    }
    float const share =
        static_cast<float>(both) / std::max(static_cast<float>(alone), static_cast<float>(job.values("epsilon")));
    out[v] = 1 + static_cast<float>(job.values("r")) * std::clamp(share, 0.0F, static_cast<float>(job.values("alpha")));
  }
  return out;
}

}  // namespace

void merge_ram(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  changes const tasks(job);
  std::vector<float> const factors = factors_of(job, tasks, workers);
  auto const growth = static_cast<float>(job.values.growth);
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<std::vector<float>> deltas;
    std::vector<unsigned> contributors;
    tasks.load(begin, count, deltas, contributors);
    std::vector<float> out(count), sum(count);
    job.inputs[*job.base].load(begin, out);
    for (std::size_t v = 0; v < deltas.size(); ++v)
      for (std::size_t i = 0; i < count; ++i)
        if (tasks.is_change(deltas[v][i]))
          sum[i] += contributors[i] > 1 ? deltas[v][i] / static_cast<float>(contributors[i]) : deltas[v][i] * factors[v];
    for (std::size_t i = 0; i < count; ++i) out[i] += growth * sum[i];
    sink(begin, out);
  });
}

}  // namespace kedge::llm
