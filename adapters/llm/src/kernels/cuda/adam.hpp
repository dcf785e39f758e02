// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "../adam.hpp"
#include "numbers.hpp"

namespace kedge::llm::gpu {

/// The tensor that a block of adam_block numbers is of.
KEDGE_GPU inline gpu_adam_tensor const* tensor_of(gpu_adam_tensor const* tensors, std::int64_t count, std::int64_t block) {
  std::int64_t low = 0, high = count;  // it is in front of high
  while (high - low > 1) {
    std::int64_t const middle = (low + high) / 2;
    (tensors[middle].first_block <= block ? low : high) = middle;
  }
  return tensors + low;
}

/// f(tensor, begin, n) for each block of `each` in a row that a block of threads takes.
template <class Block, class Arguments, class F>
KEDGE_GPU void each_adam_block(Block const& block, Arguments const& a, std::int64_t each, F const& f) {
  std::int64_t const first = block.index() * each, end = first + each < a.blocks ? first + each : a.blocks;
  gpu_adam_tensor const* tensor = tensor_of(a.tensors, a.count, first);
  gpu_adam_tensor const* const last = a.tensors + a.count - 1;
  for (std::int64_t b = first; b < end; ++b) {
    while (tensor < last && tensor[1].first_block <= b) ++tensor;
    std::int64_t const begin = (b - tensor->first_block) * std::int64_t{adam_block}, rest = tensor->count - begin;
    f(*tensor, begin, rest < std::int64_t{adam_block} ? rest : std::int64_t{adam_block});
  }
}

// Codes and numbers of moments: the least and the largest of lines, which are constants here.
template <bool with_sign, std::size_t i>
KEDGE_GPU constexpr line code_line() {
  constexpr line of = with_sign ? signed_lines[i] : unsigned_lines[i];
  return of;
}
template <bool with_sign, std::size_t... I>
KEDGE_GPU float code_of(float x, std::index_sequence<I...>) {
  float least = x * code_line<with_sign, 0>().a;
  ((least = std::fmin(least, std::fma(code_line<with_sign, I + 1>().a, x, code_line<with_sign, I + 1>().b))), ...);
  return least;
}
template <bool with_sign, std::size_t... I>
KEDGE_GPU float number_of(float code, std::index_sequence<I...>) {
  float most = code * (1 / code_line<with_sign, 0>().a);
  ((most = std::fmax(most, (code - code_line<with_sign, I + 1>().b) * (1 / code_line<with_sign, I + 1>().a))), ...);
  return most;
}
using further_lines = std::make_index_sequence<code_lines - 1>;
KEDGE_GPU inline std::uint8_t as_code(float x, int most) { return static_cast<std::uint8_t>(x < static_cast<float>(most) ? static_cast<int>(x) : most); }

/// gpu_adam: the arithmetic of kernels/adam.hpp, number by number. Moved, a number: 8 of θ, 4 of its gradient and 4 of its zero, 2 of the copy, and of
/// moments 16, 8 or 4.
template <gpu_moments kept>
struct adam {
  using arguments = gpu_adam;
  static constexpr int most_threads = 64, in_a_row = 8, N = 4;
  static constexpr bool coded = kept == gpu_moments::bits8;
  static gpu_grid grid(gpu_adam const& a) { return {pieces(a.blocks, in_a_row), most_threads, coded ? 2 * sizeof(block_moments) : 0}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_adam const& a) {
    float const scale = scale_of(a);
    block_moments* now = coded ? block.template shared<block_moments>() : nullptr;
    int turn = 0;
    each_adam_block(block, a, in_a_row, [&](gpu_adam_tensor const& t, std::int64_t begin, std::int64_t n) {
      // Of two places in turn, so that nobody writes what another still reads.
      step_block(block, a, t, begin, n, scale, coded ? now + turn : nullptr);
      turn = 1 - turn;
    });
  }

 private:
  // Moments of a block of codes, on their way.
  struct block_moments {
    float first[adam_block], root[adam_block];
  };
  struct largest {
    float first, root;
  };

  KEDGE_GPU static float scale_of(gpu_adam const& a) {
    if (!a.norm) return a.scale;
    double const scale = static_cast<double>(a.scale), norm = scale * *a.norm, most = static_cast<double>(a.most_norm);
    return static_cast<float>(most > 0 && norm > most ? scale * (most / (norm + 1e-6)) : scale);
  }

  KEDGE_GPU static bool by_sixteen(gpu_adam_tensor const& t) {
    constexpr std::uintptr_t moment = kept == gpu_moments::fp32 ? 16 : kept == gpu_moments::bf16 ? 8 : 4;
    auto const lies = [](void const* at, std::uintptr_t multiple) { return reinterpret_cast<std::uintptr_t>(at) % multiple == 0; };
    return lies(t.theta, 16) && lies(t.gradient, 16) && lies(t.first, moment) && lies(t.second, moment) && lies(t.copy, 8);
  }

  // f<how many>(place in the block)
  template <class Block, class F>
  KEDGE_GPU static void each_some(Block const& block, gpu_adam_tensor const& t, std::int64_t n, F const& f) {
    std::int64_t const whole = by_sixteen(t) ? n / N * N : 0;
    each_vector<N, 0>(block, whole, [&](std::int64_t i, int) { f.template operator()<N>(i); });
    each(block, n - whole, [&](std::int64_t i) { f.template operator()<1>(whole + i); });
  }

  template <class Block>
  KEDGE_GPU static void step_block(Block& block, gpu_adam const& a, gpu_adam_tensor const& t, std::int64_t begin, std::int64_t n, float scale,
                                   block_moments* now) {
    if constexpr (coded) {
      std::int64_t const number = begin / std::int64_t{adam_block};
      float const first_scale = t.first_scale[number], root_scale = t.second_scale[number];
      largest most{0, 0};
      each_some(block, t, n, [&]<int M>(std::int64_t i) { step_codes<M>(a, t, begin, i, scale, first_scale, root_scale, *now, most); });
      most = block.reduced(most, [](largest x, largest y) { return largest{std::fmax(x.first, y.first), std::fmax(x.root, y.root)}; });
      each_some(block, t, n, [&]<int M>(std::int64_t i) { store_codes<M>(t, begin, i, most, *now); });
      if (block.thread() == 0) {
        t.first_scale[number] = most.first;
        t.second_scale[number] = most.root;
      }
    } else {
      each_some(block, t, n, [&]<int M>(std::int64_t i) { step_numbers<M>(a, t, begin + i, scale); });
    }
  }

  template <int M>
  KEDGE_GPU static void move(gpu_adam const& a, gpu_adam_tensor const& t, std::int64_t i, float scale, vec<M>& m, vec<M>& v) {
    vec<M> const gradient = load<M>(t.gradient + i), before = load<M>(t.theta + i);
    if (a.zero_gradient) store(t.gradient + i, vec<M>{});
    vec<M> const theta = made<M>([&](int j) {
      float const g = gradient[j] * scale;
      m[j] = std::fma(1 - a.beta1, g - m[j], m[j]);
      v[j] = std::fma(g * (1 - a.beta2), g, v[j] * a.beta2);
      return std::fma(-a.rate, m[j] / std::fma(std::sqrt(v[j]), a.root, a.epsilon), before[j] * t.decay);
    });
    store(t.theta + i, theta);
    if (t.copy) store(t.copy + i, theta);
  }

  template <int M>
  KEDGE_GPU static void step_numbers(gpu_adam const& a, gpu_adam_tensor const& t, std::int64_t i, float scale) {
    using moment = std::conditional_t<kept == gpu_moments::bf16, std::uint16_t, float>;
    auto *const first = static_cast<moment*>(t.first) + i, *const second = static_cast<moment*>(t.second) + i;
    vec<M> m = load<M>(first), v = load<M>(second);
    move(a, t, i, scale, m, v);
    store(first, m);
    if constexpr (kept == gpu_moments::bf16)  // up or down at random: what is stored is a bf16 number
      v = made<M>([&](int j) {
        std::uint32_t const noise = random_bits(t.seed, static_cast<std::uint32_t>(i + j)) & 0xffffU;
        return std::bit_cast<float>((std::bit_cast<std::uint32_t>(v[j]) + noise) & 0xffff0000U);
      });
    store(second, v);
  }

  template <int M>
  KEDGE_GPU static void step_codes(gpu_adam const& a, gpu_adam_tensor const& t, std::int64_t begin, std::int64_t i, float scale, float first_scale,
                                   float root_scale, block_moments& now, largest& most) {
    auto const first = load_codes<M>(static_cast<std::uint8_t const*>(t.first) + begin + i);
    auto const second = load_codes<M>(static_cast<std::uint8_t const*>(t.second) + begin + i);
    vec<M> m = made<M>([&](int j) {
      float const size = number_of<true>(static_cast<float>(first.of[j] & 0x7fU), further_lines()) * first_scale;
      return first.of[j] & 0x80U ? -size : size;
    });
    vec<M> v = made<M>([&](int j) {
      float const root = number_of<false>(static_cast<float>(second.of[j]), further_lines()) * root_scale;
      return root * root;
    });
    move(a, t, begin + i, scale, m, v);
    KEDGE_UNROLL
    for (int j = 0; j < M; ++j) {
      float const root = std::sqrt(v[j]);
      now.first[i + j] = m[j];
      now.root[i + j] = root;
      most.first = std::fmax(most.first, std::fabs(m[j]));
      most.root = std::fmax(most.root, root);
    }
  }

  template <int M>
  KEDGE_GPU static void store_codes(gpu_adam_tensor const& t, std::int64_t begin, std::int64_t i, largest const& most, block_moments const& now) {
    float const to_first = most.first > 0 ? 1 / most.first : 0, to_root = most.root > 0 ? 1 / most.root : 0;
    codes<M> first, second;
    KEDGE_UNROLL
    for (int j = 0; j < M; ++j) {
      float const m = now.first[i + j], root = now.root[i + j];
      auto const sign = static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(m) >> 31 << 7);
      first.of[j] = static_cast<std::uint8_t>(as_code(code_of<true>(std::fabs(m) * to_first, further_lines()) + 0.5F, 127) | sign);
      float const dither = static_cast<float>(random_bits(t.seed, static_cast<std::uint32_t>(begin + i + j)) >> 8) * 0x1p-24F;
      std::uint8_t const code = as_code(code_of<false>(root * to_root, further_lines()) + dither, 255);
      second.of[j] = root > 0 && code == 0 ? std::uint8_t{1} : code;  // nothing positive becomes 0, by which a step would be divided
    }
    store_codes(static_cast<std::uint8_t*>(t.first) + begin + i, first);
    store_codes(static_cast<std::uint8_t*>(t.second) + begin + i, second);
  }

  template <int M>
  struct codes {
    std::uint8_t of[M];
  };
  template <int M>
  KEDGE_GPU static codes<M> load_codes(std::uint8_t const* at) {
    if constexpr (M == 1) return {{*at}};
    if constexpr (M == 4) return std::bit_cast<codes<4>>(read_piece<piece<4>>(at));
  }
  template <int M>
  KEDGE_GPU static void store_codes(std::uint8_t* at, codes<M> const& x) {
    if constexpr (M == 1) *at = x.of[0];
    if constexpr (M == 4) write_piece(at, std::bit_cast<piece<4>>(x));
  }
};

/// gpu_square_sum's first launch: a block takes so many blocks in a row.
struct square_sums {
  using arguments = gpu_square_sum;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_square_sum const& a) { return {square_sum_partials(a.blocks), most_threads}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_square_sum const& a) {
    double all = 0;
    auto const square = [&](float x) { all += static_cast<double>(x) * static_cast<double>(x); };
    each_adam_block(block, a, square_sum_blocks, [&](gpu_adam_tensor const& t, std::int64_t begin, std::int64_t n) {
      each(block, n, [&](std::int64_t i) { square(t.gradient[begin + i]); });
    });
    all = sum(block, all);
    if (block.thread() == 0) a.partial[block.index()] = all;
  }
};

/// The second one.
struct square_sum_root {
  using arguments = gpu_square_sum;
  static constexpr int most_threads = 1024;
  static gpu_grid grid(gpu_square_sum const&) { return {1, most_threads}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_square_sum const& a) {
    double all = 0;
    each(block, square_sum_partials(a.blocks), [&](std::int64_t i) { all += a.partial[i]; });
    all = sum(block, all);
    if (block.thread() == 0) *a.out = std::sqrt(all);
  }
};

}  // namespace kedge::llm::gpu
