// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// Of some scores x of a row but the target's, y = exp(x − most): 1 − p of a confident target is their sum over that of all, and no difference of two
/// near numbers. `most` is the largest of these and the target's.
struct softmax_sums {
  float most;
  double others;  // Σ y
};
struct softmax_figures : softmax_sums {
  double squares, weighted, scores;  // Σ y², Σ y (x − most), Σ x
  std::int64_t first;                // the first place of the largest
};

/// gpu_softmax: a block takes a row, which is read twice at most: once for sums that follow the largest score so far, once for the residual.
/// Moved, a score: 4, and 4 and 2 more for a residual of bf16. `figures`: one of those that may be null isn't.
template <class T, int N, bool figures>
struct softmax {
  using arguments = gpu_softmax;
  static constexpr int most_threads = 1024;
  static gpu_grid grid(gpu_softmax const& a) { return {a.vocabulary == 0 ? 0 : a.rows, threads_for(a.vocabulary, N, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_softmax const& a) {
    std::int64_t const row = block.index(), target = a.targets[row];
    float const* const scores = a.scores + row * a.vocabulary;
    sums all{};
    all.most = -HUGE_VALF;
    each_vector<N, 0>(block, a.vocabulary, [&](std::int64_t i, int) { add(all, load<N>(scores + i), i, target); });
    all = block.reduced(all, [](sums x, sums y) { return joined(x, y); });
    float const of_target = scores[target];
    double const total = all.others + static_cast<double>(std::exp(of_target - all.most));
    if (block.thread() == 0) tell(a, row, all, of_target, total);
    if (!a.residual.at) return;
    block.sync();  // what stands in place of scores isn't written before the target's is read
    residual(block, a, all, total);
  }

 private:
  using sums = std::conditional_t<figures, softmax_figures, softmax_sums>;

  KEDGE_GPU static void rescale(sums& s, float most) {
    if (s.most == most) return;
    float const below = s.most - most;
    auto const factor = static_cast<double>(std::exp(below));  // of no scores yet: 0
    if constexpr (figures) {
      s.squares *= factor * factor;
      s.weighted = factor == 0 ? 0 : factor * (s.weighted + static_cast<double>(below) * s.others);
    }
    s.others *= factor;
    s.most = most;
  }

  KEDGE_GPU static sums joined(sums x, sums y) {
    if constexpr (figures) {
      x.first = x.most > y.most || (x.most == y.most && x.first < y.first) ? x.first : y.first;
      x.scores += y.scores;
    }
    float const most = std::fmax(x.most, y.most);
    rescale(x, most);
    rescale(y, most);
    x.others += y.others;
    if constexpr (figures) {
      x.squares += y.squares;
      x.weighted += y.weighted;
    }
    return x;
  }

  // N scores from place i on. None that is NaN is the largest; they spoil the sums.
  KEDGE_GPU static void add(sums& s, vec<N> const& x, std::int64_t i, std::int64_t target) {
    float most = s.most;
    KEDGE_UNROLL
    for (int j = 0; j < N; ++j) {
      if constexpr (figures) s.first = x[j] > most ? i + j : s.first;
      most = std::fmax(most, x[j]);
    }
    rescale(s, most);
    float others = 0, squares = 0, weighted = 0, scores = 0;
    KEDGE_UNROLL
    for (int j = 0; j < N; ++j) {
      if (i + j == target) continue;
      float const y = exponential(x[j], most);
      others += y;
      if constexpr (figures) {
        squares += y * y;
        weighted += y == 0 ? 0 : y * (x[j] - most);
        scores += x[j];
      }
    }
    s.others += static_cast<double>(others);
    if constexpr (figures) {
      s.squares += static_cast<double>(squares);
      s.weighted += static_cast<double>(weighted);
      s.scores += static_cast<double>(scores);
    }
  }

  // Where all that has been seen is −∞, −∞ − −∞ would be no number.
  KEDGE_GPU static float exponential(float x, float most) { return x == -HUGE_VALF ? 0 : std::exp(x - most); }

  KEDGE_GPU static void tell(gpu_softmax const& a, std::int64_t row, sums const& all, float of_target, double total) {
    float const below = of_target - all.most, y = std::exp(below);
    float const log_total = std::log1p(static_cast<float>(all.others + (static_cast<double>(y) - 1)));
    a.log_sum[row] = all.most + log_total;
    a.logp[row] = below - log_total;
    if constexpr (figures) {
      double const weighted = all.weighted + (y == 0 ? 0 : static_cast<double>(y) * static_cast<double>(below));
      if (a.entropy) a.entropy[row] = static_cast<float>(static_cast<double>(log_total) - weighted / total);
      if (a.mean) a.mean[row] = static_cast<float>((all.scores + static_cast<double>(of_target)) / static_cast<double>(a.vocabulary));
      if (a.likeliest) a.likeliest[row] = all.first == a.targets[row] ? 1 : 0;
      if (a.square_sum) a.square_sum[row] = static_cast<float>((all.squares + static_cast<double>(y) * static_cast<double>(y)) / (total * total));
    }
  }

  // Pieces of the row from its beginning on: numbers of bf16 in place of scores end where those that are read already did.
  template <class Block>
  KEDGE_GPU static void residual(Block& block, gpu_softmax const& a, sums const& all, double total) {
    std::int64_t const row = block.index(), target = a.targets[row];
    float const* const scores = a.scores + row * a.vocabulary;
    number_row<T> const out(a.residual, row);
    float const share = a.smoothing / static_cast<float>(a.vocabulary), factor = static_cast<float>(1 / total), c = a.slopes ? a.slopes[row] : 1;
    float const at_target = c * (a.smoothing - share - static_cast<float>(all.others / total));
    bool const in_place = sizeof(T) < sizeof(float) && a.residual.at == a.scores;
    for (std::int64_t begin = 0; begin < a.vocabulary; begin += std::int64_t{block.threads()} * N) {
      std::int64_t const i = begin + std::int64_t{block.thread()} * N;
      vec<N> x{};
      if (i < a.vocabulary) x = load<N>(scores + i);
      if (in_place) block.sync();
      if (i >= a.vocabulary) continue;
      out.put(i, made<N>([&](int j) { return i + j == target ? at_target : c * (std::exp(x[j] - all.most) * factor - share); }));
    }
  }
};

}  // namespace kedge::llm::gpu
