// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// Scores as whole numbers in the same order, and back. Zeros are equal.
KEDGE_GPU inline std::uint32_t order_of(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x + 0.0F);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}
KEDGE_GPU inline float of_order(std::uint32_t place) { return std::bit_cast<float>(place >> 31 != 0 ? place & 0x7fffffffU : ~place); }

/// A row of scores, at which all of a block's threads work together. A weight is a function of a score's index and the score, at least 0.
template <int N, class Block>
class score_row {
 public:
  static constexpr int most_pieces = 1024, group = 32;
  /// Memory that the block's threads share for `weigh` and `find`.
  static constexpr std::size_t shared_bytes = (most_pieces + most_pieces / group) * sizeof(double);

  KEDGE_GPU score_row(Block& block, float* scores, std::int64_t n) : block_(block), x_(scores), n_(n), length_(piece_of(n)), count_(pieces(n, length_)) {}

  struct place {
    float score;
    std::int64_t index;
  };
  /// The largest score, the first of several.
  KEDGE_GPU place largest() {
    place own{-std::numeric_limits<float>::infinity(), n_ - 1};
    each_vector<N, 0>(block_, n_, [&](std::int64_t i, int) {
      vec<N> const x = load<N>(x_ + i);
      KEDGE_UNROLL
      for (int j = 0; j < N; ++j)
        if (x[j] > own.score || (x[j] == own.score && i + j < own.index)) own = {x[j], i + j};
    });
    return block_.reduced(own, [](place a, place b) { return a.score > b.score || (a.score == b.score && a.index < b.index) ? a : b; });
  }

  /// The sum of all weights. Sums of pieces are left for `find`.
  template <class Weight>
  KEDGE_GPU double weigh(Weight const& weight) {
    double *const of_pieces = block_.template shared<double>(), *const of_groups = of_pieces + most_pieces;
    block_.sync();  // what an earlier call left has been read
    each(block_, count_, [&](std::int64_t p) {
      of_pieces[p] = 0;
      walk(p, [&](std::int64_t i, vec<N> const& x) {
        float few = 0;
        KEDGE_UNROLL
        for (int j = 0; j < N; ++j) few += weight(i + j, x[j]);
        of_pieces[p] += few;
        return true;
      });
    });
    block_.sync();
    std::int64_t const groups = pieces(count_, group);
    each(block_, groups, [&](std::int64_t g) {
      of_groups[g] = 0;
      for (std::int64_t p = g * group; p < end_of(g); ++p) of_groups[g] += of_pieces[p];
    });
    block_.sync();
    double all = 0;
    for (std::int64_t g = 0; g < groups; ++g) all += of_groups[g];
    return all;
  }

  /// The index at which the sum of weights passes `left`; should rounding lead past the end, the last that weighs anything. They have to be those
  /// that `weigh` was called with last.
  template <class Weight>
  KEDGE_GPU std::int64_t find(Weight const& weight, double left) {
    std::int64_t at = 0;
    if (block_.thread() == 0) {
      double const *const of_pieces = block_.template shared<double>(), *const of_groups = of_pieces + most_pieces;
      std::int64_t const g = step(of_groups, 0, pieces(count_, group), left);
      walk(step(of_pieces, g * group, end_of(g), left), [&](std::int64_t i, vec<N> const& x) {
        for (int j = 0; j < N; ++j) {
          double const own = weight(i + j, x[j]);
          if (!(own > 0)) continue;
          at = i + j;
          if (left < own) return false;
          left -= own;
        }
        return true;
      });
    }
    return block_.reduced(at, [](std::int64_t a, std::int64_t b) { return a > b ? a : b; });
  }

  template <int ways>
  struct weights {
    double below[ways];         ///< what the scores below each place weigh
    std::uint32_t least, most;  ///< places of the scores from `low` to `high`
  };
  /// One pass over the row.
  template <int ways, class Weight>
  KEDGE_GPU weights<ways> weigh_below(std::uint32_t const (&places)[ways], Weight const& weight, std::uint32_t low = 0, std::uint32_t high = 0xffffffffU) {
    constexpr int few = 16;  // vectors whose weights are summed in fp32
    weights<ways> own{.below = {}, .least = high, .most = low};
    for (std::int64_t i = std::int64_t{block_.thread()} * N, step = std::int64_t{block_.threads()} * N; i < n_;) {
      float part[ways]{};
      for (int k = 0; k < few && i < n_; ++k, i += step) {
        vec<N> const x = load<N>(x_ + i);
        KEDGE_UNROLL
        for (int j = 0; j < N; ++j) {
          float const w = weight(i + j, x[j]);
          std::uint32_t const order = order_of(x[j]);
          KEDGE_UNROLL
          for (int way = 0; way < ways; ++way) part[way] += order < places[way] ? w : 0;
          if (order >= low && order < own.least) own.least = order;
          if (order <= high && order > own.most) own.most = order;
        }
      }
      KEDGE_UNROLL
      for (int way = 0; way < ways; ++way) own.below[way] += part[way];
    }
    return block_.reduced(own, [](weights<ways> a, weights<ways> const& b) {
      KEDGE_UNROLL
      for (int way = 0; way < ways; ++way) a.below[way] += b.below[way];
      if (b.least < a.least) a.least = b.least;
      if (b.most > a.most) a.most = b.most;
      return a;
    });
  }

  struct boundary {
    std::uint32_t place;
    double below;  ///< what the scores below it weigh
  };
  /// The largest place from `low` to `high` below which the scores weigh at most `limit`. Below `low` they weigh nothing, and `high` is a score's.
  /// cost    some 6 passes over the row, at most 26: in turn the scores between the two are divided by 6, and their places
  template <class Weight>
  KEDGE_GPU boundary highest(std::uint32_t low, std::uint32_t high, double limit, Weight const& weight) {
    constexpr int ways = 5;  // with more, registers are spilled
    double under = 0;
    for (bool by_score = true; low < high; by_score = !by_score) {
      std::uint32_t places[ways], next_low = low, next_high = high;
      KEDGE_UNROLL
      for (int way = 0; way < ways; ++way) places[way] = between(low, high, static_cast<float>(way + 1) / (ways + 1), by_score);
      weights<ways> const w = weigh_below(places, weight, low, high);
      KEDGE_UNROLL
      for (int way = ways - 1; way >= 0; --way)
        if (!(w.below[way] <= limit)) next_high = places[way] - 1;
      KEDGE_UNROLL
      for (int way = 0; way < ways; ++way)
        if (w.below[way] <= limit) {
          next_low = places[way];
          under = w.below[way];
        }
      // Between two scores nothing changes.
      low = w.least > next_low && w.least <= next_high ? w.least : next_low;
      high = w.most < next_high && w.most >= low ? w.most : next_high;
    }
    return {low, under};
  }

 private:
  // Depends on n alone, and so do all sums.
  KEDGE_GPU static std::int64_t piece_of(std::int64_t n) {
    std::int64_t const least = 64, even = pieces(pieces(n, most_pieces), 4) * 4;
    return even < least ? least : even;
  }
  KEDGE_GPU std::int64_t end_of(std::int64_t g) const { return (g + 1) * group < count_ ? (g + 1) * group : count_; }

  // A place above low and at most high.
  KEDGE_GPU static std::uint32_t between(std::uint32_t low, std::uint32_t high, float share, bool by_score) {
    float const from = of_order(low), to = of_order(high);
    std::uint32_t const place = by_score ? order_of(from + (to - from) * share) : low + static_cast<std::uint32_t>(static_cast<double>(high - low) * share);
    return place <= low ? low + 1 : place > high ? high : place;
  }

  // The first sum of which `left`, less those before it, falls short; else the last that isn't 0.
  KEDGE_GPU static std::int64_t step(double const* of, std::int64_t begin, std::int64_t end, double& left) {
    std::int64_t last = begin;
    for (std::int64_t i = begin; i < end; ++i) {
      if (!(of[i] > 0)) continue;
      last = i;
      if (left < of[i]) return i;
      left -= of[i];
    }
    left = std::numeric_limits<double>::infinity();
    return last;
  }

  // f(index, scores) by vectors of a piece, until it says false.
  template <class F>
  KEDGE_GPU void walk(std::int64_t p, F const& f) const {
    std::int64_t const end = (p + 1) * length_ < n_ ? (p + 1) * length_ : n_;
    for (std::int64_t i = p * length_; i < end; i += N)
      if (!f(i, load<N>(x_ + i))) return;
  }

  Block& block_;
  float* x_;
  std::int64_t n_, length_, count_;
};

}  // namespace kedge::llm::gpu
