// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "score_row.hpp"

namespace kedge::llm::gpu {

/// gpu_sample: a block takes a row, and reads it three times, a truncation adding some eight readings.
template <int N>
struct sample {
  using arguments = gpu_sample;
  static constexpr int most_threads = 512, least_blocks = 1;
  static gpu_grid grid(gpu_sample const& a) { return {a.rows, threads_for(a.vocabulary, N, most_threads), score_row<N, int>::shared_bytes}; }

  /// What truncations keep: scores above a place in their order and, of the equal ones at it, those from an index on.
  struct kept_scores {
    std::uint32_t lowest;
    std::int64_t first;
    KEDGE_GPU bool have(std::int64_t i, float x) const {
      std::uint32_t const order = order_of(x);
      return order > lowest || (order == lowest && i >= first);
    }
  };

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_sample const& a) {
    std::int64_t const r = block.index();
    float* const scores = a.scores + r * a.stride;
    score_row<N, Block> row(block, scores, a.vocabulary);
    float const plain_top = row.largest().score;
    auto const plain = [&](std::int64_t, float x) { return std::exp(x - plain_top); };
    double all = row.weigh(plain);
    double const log_all = std::log(all);
    float const first_score = scores[0];
    bool const edits = a.edit_starts && a.edit_starts[r] < a.edit_starts[r + 1];
    if (edits) edit(block, a, scores);
    auto const top = edits || a.temperature == 0 ? row.largest() : typename score_row<N, Block>::place{plain_top, 0};
    std::int64_t token = 0;
    if (top.score - top.score != 0) {
      token = 0;  // every token is ruled out
    } else if (a.temperature == 0) {
      token = top.index;
    } else if (!edits && a.temperature == 1 && a.top_k == 0 && a.top_p >= 1 && a.min_p <= 0) {
      token = row.find(plain, a.uniform[r] * all);
    } else {
      auto const scale = static_cast<float>(1 / a.temperature);
      auto const mass = [&](std::int64_t, float x) { return std::exp((x - top.score) * scale); };
      kept_scores const kept = truncated(row, a, top.score, scale, mass);
      auto const weight = [&](std::int64_t i, float x) { return kept.have(i, x) ? mass(i, x) : 0; };
      all = row.weigh(weight);
      token = row.find(weight, a.uniform[r] * all);
    }
    if (block.thread() != 0) return;
    a.token[r] = static_cast<std::int32_t>(token);
    float const score = edits ? original(a, scores, first_score, token) : scores[token];
    a.logp[r] = static_cast<float>(static_cast<double>(score) - plain_top - log_all);
  }

 private:
  /// Top-k, then top-p of what it keeps, then min-p, each of which keeps the likeliest.
  template <class Row, class Mass>
  KEDGE_GPU static kept_scores truncated(Row& row, gpu_sample const& a, float top, float scale, Mass const& mass) {
    constexpr float surely_nothing = 104;  // exp(−104) is 0 in fp32
    kept_scores kept{0, 0};
    std::uint32_t const highest = order_of(top);
    if (a.top_k > 0 && a.top_k < a.vocabulary) {
      auto const one = [](std::int64_t, float) { return 1.0F; };
      std::uint32_t const least = order_of(-std::numeric_limits<float>::infinity());
      kept.lowest = row.highest(least, highest, static_cast<double>(a.vocabulary - a.top_k), one).place;
    }
    if (a.top_p < 1) {
      std::uint32_t const base = kept.lowest, weightless = order_of(top - surely_nothing / scale);
      auto const weight = [&](std::int64_t i, float x) { return order_of(x) >= base ? mass(i, x) : 0; };
      std::uint32_t const everything[] = {0xffffffffU};
      double const limit = (1 - a.top_p) * row.weigh_below(everything, weight).below[0];
      auto const at = row.highest(base > weightless ? base : weightless, highest, limit, weight);
      kept = {at.place, dropped(row, at.place, at.place == highest, (limit - at.below) / mass(0, of_order(at.place)))};
    }
    if (a.min_p > 0) {
      double const least = top + std::log(a.min_p) / scale;
      auto const rounded = static_cast<float>(least);
      std::uint32_t const place = order_of(rounded) + (static_cast<double>(rounded) < least ? 1 : 0);
      if (place > kept.lowest) kept = {place, 0};
    }
    return kept;
  }

  /// Of equal scores the first ones are dropped, as many as are at most `most`; not the last of the likeliest. -> index of the first that is kept
  template <class Row>
  KEDGE_GPU static std::int64_t dropped(Row& row, std::uint32_t place, bool likeliest, double most) {
    if (most < 1) return 0;
    auto const equal = [&](std::int64_t, float x) { return order_of(x) == place ? 1.0F : 0.0F; };
    double const count = row.weigh(equal), spare = likeliest ? count - 1 : count;
    double const gone = std::floor(most < spare ? most : spare);
    return gone >= count ? 0 : row.find(equal, gone);
  }

  /// Edits of a token in their order, by one thread.
  template <class Block>
  KEDGE_GPU static void edit(Block& block, gpu_sample const& a, float* scores) {
    std::int64_t const begin = a.edit_starts[block.index()], end = a.edit_starts[block.index() + 1];
    auto const each_token = [&](auto const& f) {
      each(block, end - begin, [&](std::int64_t i) {
        std::int64_t const e = begin + i;
        std::int32_t const token = a.edits[e].token;
        if (token != every_token && (i == 0 || a.edits[e - 1].token != token)) f(e, token);
      });
      block.sync();
    };
    block.sync();  // the scores have been read
    each_token([&](std::int64_t e, std::int32_t token) { a.originals[e] = scores[token]; });
    if (a.edits[begin].token == every_token) {
      each(block, a.vocabulary, [&](std::int64_t i) { scores[i] = edited(scores[i], a.edits[begin]); });
      block.sync();
    }
    each_token([&](std::int64_t e, std::int32_t token) {
      float score = scores[token];
      for (; e < end && a.edits[e].token == token; ++e) score = edited(score, a.edits[e]);
      scores[token] = score;
    });
  }

  /// The score that a token had before the edits. One that wasn't edited alone can only have been drawn if all are ruled out: the first.
  KEDGE_GPU static float original(gpu_sample const& a, float const* scores, float first_score, std::int64_t token) {
    std::int64_t const r = (scores - a.scores) / a.stride;
    std::int64_t low = a.edit_starts[r], high = a.edit_starts[r + 1];
    while (low < high) {
      std::int64_t const middle = (low + high) / 2;
      if (a.edits[middle].token < token)
        low = middle + 1;
      else
        high = middle;
    }
    if (low < a.edit_starts[r + 1] && a.edits[low].token == token) return a.originals[low];
    return token == 0 ? first_score : scores[token];
  }
};

}  // namespace kedge::llm::gpu
