// SPDX-License-Identifier: Apache-2.0
#include "sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "../kernels/kernels.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t block = 256;  // logits whose probabilities are summed together

template <class Real>
Real largest(std::span<Real const> x) {
  return *std::max_element(x.begin(), x.end());
}

float largest(std::span<float const> x) { return kernels().softmax.largest(x.data(), x.size()); }

template <class Real>
double exp_sum(std::span<Real const> x, double shift, double scale) {
  double sum = 0;
  for (Real const v : x) sum += std::exp((static_cast<double>(v) - shift) * scale);
  return sum;
}

double exp_sum(std::span<float const> x, double shift, double scale) {
  return kernels().softmax.exp_sum(x.data(), x.size(), static_cast<float>(shift), static_cast<float>(scale));
}

// Sums of exp((x − shift) · scale) by block, and their sum.
struct block_sums {
  std::vector<double> of;
  double total = 0;

  template <class Real>
  block_sums(std::span<Real const> x, double shift, double scale) {
    of.reserve(x.size() / block + 1);
    for (std::size_t begin = 0; begin < x.size(); begin += block) {
      of.push_back(exp_sum(x.subspan(begin, std::min(block, x.size() - begin)), shift, scale));
      total += of.back();
    }
  }
};

// The token at which the cumulative probability passes u: its block first, then within it.
template <class Real>
std::size_t invert(std::span<Real const> x, double shift, double scale, block_sums const& sums, double u) {
  double left = u * sums.total;
  std::size_t b = 0;
  for (; b + 1 < sums.of.size() && left >= sums.of[b]; ++b) left -= sums.of[b];
  std::size_t const begin = b * block, end = std::min(begin + block, x.size());
  std::size_t possible = begin;  // should rounding lead past the end: the last token that can be drawn
  for (std::size_t i = begin; i < end; ++i) {
    double const mass = std::exp((static_cast<double>(x[i]) - shift) * scale);
    if (mass <= 0) continue;
    possible = i;
    if (left < mass) break;
    left -= mass;
  }
  return possible;
}

struct candidate {
  std::size_t token;
  double mass;  // relative to the likeliest
};

// What top-k keeps: everything that is not less likely than the k-th, ties included.
template <class Real>
Real lowest_of_top_k(std::span<Real const> x, std::size_t k) {
  if (k == 0 || k >= x.size()) return -std::numeric_limits<Real>::infinity();
  std::vector<Real> copy(x.begin(), x.end());
  auto const kth = copy.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(copy.begin(), kth, copy.end(), std::greater<>());
  return *kth;
}

// Drops the least likely while what is dropped, `dropped` included, is at most 1 − top_p of all; keeps at least one.
void keep_top_p(std::vector<candidate>& kept, double dropped, double all, double top_p) {
  std::stable_sort(kept.begin(), kept.end(), [](candidate const& a, candidate const& b) { return a.mass < b.mass; });
  std::size_t first = 0;
  while (first + 1 < kept.size() && dropped + kept[first].mass <= (1 - top_p) * all) dropped += kept[first++].mass;
  kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(first));
  std::sort(kept.begin(), kept.end(), [](candidate const& a, candidate const& b) { return a.token < b.token; });
}

bool in_unit(double x) { return x > 0 && x < 1; }

double mass_of(std::vector<candidate> const& kept) {
  double all = 0;
  for (candidate const& c : kept) all += c.mass;
  return all;
}

double entropy_of(std::vector<candidate> const& kept, double all) {
  double entropy = 0;
  for (candidate const& c : kept)
    if (c.mass > 0) entropy -= c.mass / all * std::log(c.mass / all);
  return entropy;
}

// The likeliest tokens, of the first hundred, that hold a share of those hundred's entropy; the rest goes.
void keep_top_h(std::vector<candidate>& kept, double top_h) {
  constexpr std::size_t most = 100;
  std::stable_sort(kept.begin(), kept.end(), [](candidate const& a, candidate const& b) { return a.mass > b.mass; });
  if (kept.size() > most) kept.resize(most);
  double const all = mass_of(kept), limit = entropy_of(kept, all) * top_h;
  double held = 0;
  std::size_t count = 0;
  for (; count < kept.size(); ++count) {
    double const p = kept[count].mass / all;
    held -= p > 0 ? p * std::log(p) : 0;
    if (count > 0 && held > limit) break;
  }
  kept.resize(std::max<std::size_t>(count, 1));
  std::sort(kept.begin(), kept.end(), [](candidate const& a, candidate const& b) { return a.token < b.token; });
}

// Tokens whose surprise −ln p is nearest to the entropy, until they hold a share of the probability.
void keep_typical(std::vector<candidate>& kept, double share) {
  double const all = mass_of(kept), entropy = entropy_of(kept, all);
  auto const distance = [&](candidate const& c) { return std::abs(-std::log(c.mass / all) - entropy); };
  std::stable_sort(kept.begin(), kept.end(), [&](candidate const& a, candidate const& b) { return distance(a) < distance(b); });
  double held = 0;
  std::size_t last = 0;
  for (; last + 1 < kept.size() && (held += kept[last].mass / all) < share; ++last) {
  }
  double const farthest = distance(kept[last]);
  std::size_t count = last + 1;
  while (count < kept.size() && distance(kept[count]) <= farthest) ++count;
  kept.resize(count);
  std::sort(kept.begin(), kept.end(), [](candidate const& a, candidate const& b) { return a.token < b.token; });
}

// Tokens at least so likely, and the likeliest in any case.
void keep_likely(std::vector<candidate>& kept, double least) {
  double const all = mass_of(kept);
  double top = 0;
  for (candidate const& c : kept) top = std::max(top, c.mass);
  std::erase_if(kept, [&](candidate const& c) { return c.mass / all < least && c.mass < top; });
}

// All tokens that can be drawn.
template <class Real>
std::vector<candidate> possible(std::span<Real const> x, double shift, double scale) {
  std::vector<candidate> all;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (double const mass = std::exp((static_cast<double>(x[i]) - shift) * scale); mass > 0) all.push_back({i, mass});
  return all;
}

void truncate_further(std::vector<candidate>& kept, sampling_settings const& s) {
  if (s.typical_p < 1) keep_typical(kept, s.typical_p);
  if (in_unit(s.epsilon_cutoff)) keep_likely(kept, s.epsilon_cutoff);
  if (in_unit(s.eta_cutoff)) {
    double const entropy = entropy_of(kept, mass_of(kept));
    keep_likely(kept, std::min(s.eta_cutoff, std::sqrt(s.eta_cutoff) * std::exp(-entropy)));
  }
}

template <class Real>
std::vector<candidate> truncated(std::span<Real const> x, double shift, double scale, sampling_settings const& s) {
  if (s.top_h > 0) {
    // What top-h drops counts for nothing in the truncations after it: they see the rest alone.
    std::vector<candidate> few = possible(x, shift, scale);
    keep_top_h(few, s.top_h);
    std::vector<Real> rest(x.size(), -std::numeric_limits<Real>::infinity());
    for (candidate const& c : few) rest[c.token] = x[c.token];
    sampling_settings without = s;
    without.top_h = 0;
    return truncated(std::span<Real const>(rest), shift, scale, without);
  }
  Real const lowest = lowest_of_top_k(x, s.top_k);
  bool const by_share = s.top_p < 1;
  double all = 0, dropped = 0, unkeepable = 0;
  if (by_share) {
    if (s.top_k == 0 || s.top_k >= x.size())
      all = block_sums(x, shift, scale).total;
    else
      for (Real const v : x)
        if (v >= lowest) all += std::exp((static_cast<double>(v) - shift) * scale);
    // Together, tokens below this hold at most 1 − top_p: they go without being sorted.
    unkeepable = (1 - s.top_p) * all / static_cast<double>(x.size());
  }
  double const least = std::max(s.min_p, unkeepable);
  auto const threshold = std::max(static_cast<double>(lowest), least > 0 ? shift + std::log(least) / scale - 1e-6 : -INFINITY);
  std::vector<candidate> kept;
  double keepable = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (static_cast<double>(x[i]) < threshold) continue;
    double const mass = std::exp((static_cast<double>(x[i]) - shift) * scale);
    kept.push_back({i, mass});
    keepable += mass;
  }
  dropped = all - keepable;
  if (by_share) keep_top_p(kept, dropped, all, s.top_p);
  std::erase_if(kept, [&](candidate const& c) { return c.mass < s.min_p && c.mass < 1; });
  truncate_further(kept, s);
  return kept;
}

std::size_t invert(std::vector<candidate> const& kept, double u) {
  double left = u * mass_of(kept);
  for (candidate const& c : kept) {
    if (left < c.mass) return c.token;
    left -= c.mass;
  }
  return kept.back().token;
}

bool truncates(sampling_settings const& s) {
  return s.top_k > 0 || s.top_p < 1 || s.min_p > 0 || s.top_h > 0 || s.typical_p < 1 || in_unit(s.epsilon_cutoff) || in_unit(s.eta_cutoff);
}

template <class Real>
std::size_t choose(std::span<Real const> x, double shift, sampling_settings const& s, double u) {
  if (std::isinf(shift)) return 0;  // every token is ruled out
  if (s.temperature == 0) return static_cast<std::size_t>(std::find(x.begin(), x.end(), static_cast<Real>(shift)) - x.begin());
  double const scale = 1 / s.temperature;
  return truncates(s) ? invert(truncated(x, shift, scale, s), u) : invert(x, shift, scale, block_sums(x, shift, scale), u);
}

template <class Real>
token_draw draw(std::span<Real const> x, sampling_settings const& s, double u) {
  double const shift = static_cast<double>(largest(x));
  block_sums const plain(x, shift, 1);
  bool const as_it_is = s.temperature == 1 && !truncates(s) && std::isfinite(shift);
  std::size_t const token = as_it_is ? invert(x, shift, 1, plain, u) : choose(x, shift, s, u);
  return {static_cast<std::int32_t>(token), static_cast<double>(x[token]) - shift - std::log(plain.total)};
}

template <class Real>
token_draw draw(std::span<Real const> x, sampling_settings const& s, decoding_place const& place, double u) {
  if (s.rules.empty()) return draw(x, s, u);
  std::vector<Real> scores(x.begin(), x.end());
  apply(s.rules, place, std::span<Real>(scores));
  std::span<Real const> const ruled = scores;
  std::size_t const token = choose(ruled, static_cast<double>(largest(ruled)), s, u);
  double const shift = static_cast<double>(largest(x));
  return {static_cast<std::int32_t>(token), static_cast<double>(x[token]) - shift - std::log(block_sums(x, shift, 1).total)};
}

using four_words = std::array<std::uint32_t, 4>;

four_words philox(four_words counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const a = std::uint64_t{0xD2511F53} * counter[0], b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

}  // namespace

double uniform_draw(std::uint64_t seed, std::size_t prompt, std::size_t sample, std::size_t token) {
  auto const words = philox({static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(prompt),
                             static_cast<std::uint32_t>(prompt >> 32)},
                            {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  std::uint64_t const bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

token_draw draw_token(std::span<float const> logits, sampling_settings const& settings, double u) { return draw(logits, settings, u); }
token_draw draw_token(std::span<double const> logits, sampling_settings const& settings, double u) { return draw(logits, settings, u); }

token_draw draw_token(std::span<float const> logits, sampling_settings const& settings, decoding_place const& place, double u) {
  return draw(logits, settings, place, u);
}
token_draw draw_token(std::span<double const> logits, sampling_settings const& settings, decoding_place const& place, double u) {
  return draw(logits, settings, place, u);
}

}  // namespace kedge::llm
