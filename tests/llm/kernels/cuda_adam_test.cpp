// SPDX-License-Identifier: Apache-2.0

// AdamW over many tensors by the kernel of a GPU, whose body runs here, against the processor's, which has the same arithmetic: bit for bit.

#include <algorithm>
#include <cmath>
#include <string_view>

#include "llm/kernels/cuda_support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::adam_block;
using llm::adam_blocks;
using llm::gpu_kernel_table;
using llm::gpu_moments;

namespace {

constexpr gpu_moments formats[] = {gpu_moments::fp32, gpu_moments::bf16, gpu_moments::bits8};

// A tensor with moments of each format, some of which a case uses.
struct tensor {
  std::size_t n;
  float decay;
  std::uint32_t seed;
  floats theta, gradient, first, second, first_scale, second_scale;
  guarded<std::uint16_t> copy, first_short, second_short;
  guarded<std::uint8_t> first_code, second_code;
  bool copies;

  tensor(std::size_t size, std::size_t shift, random_numbers& random)
      : n(size), decay(1 - 0.001F * static_cast<float>(size % 3)), seed(static_cast<std::uint32_t>(77 * size + 5)), theta(random(n), shift),
        gradient(random(n, 0.1F), shift), first(random(n, 0.1F), shift), second(random(n), shift), first_scale(adam_blocks(n), shift),
        second_scale(adam_blocks(n), shift), copy(n, shift), first_short(n, shift), second_short(n, shift), first_code(n, shift), second_code(n, shift),
        copies(size % 2 == 1) {
    for (float& v : second.span()) v = std::abs(v) * 0.01F;
    first_short = bf16_bits(first.span(), shift);
    second_short = bf16_bits(second.span(), shift);
    fill_codes(seed, random, first_code, second_code, first_scale, second_scale);
  }

  // Of which moments.
  void* moments(gpu_moments kept, bool second_ones) {
    if (kept == gpu_moments::fp32) return second_ones ? second.data() : first.data();
    if (kept == gpu_moments::bf16) return second_ones ? second_short.data() : first_short.data();
    return second_ones ? second_code.data() : first_code.data();
  }
  llm::gpu_adam_tensor listed(gpu_moments kept, std::int64_t first_block) {
    return {.theta = theta.data(),
            .gradient = gradient.data(),
            .first = moments(kept, false),
            .second = moments(kept, true),
            .first_scale = first_scale.data(),
            .second_scale = second_scale.data(),
            .copy = copies ? copy.data() : nullptr,
            .count = static_cast<std::int64_t>(n),
            .first_block = first_block,
            .decay = decay,
            .seed = seed};
  }
  [[nodiscard]] bool kept_its_ends() const {
    return theta.kept_its_ends() && gradient.kept_its_ends() && first.kept_its_ends() && second.kept_its_ends() && first_scale.kept_its_ends() &&
           second_scale.kept_its_ends() && copy.kept_its_ends() && first_short.kept_its_ends() && second_short.kept_its_ends() &&
           first_code.kept_its_ends() && second_code.kept_its_ends();
  }
};

template <class T>
bool equal(guarded<T> const& x, guarded<T> const& y) {
  return std::equal(x.span().begin(), x.span().end(), y.span().begin(), y.span().end());
}
// Bit for bit where the processor has fused products and sums, as every GPU does; else parameters to rounding.
bool same(tensor const& x, tensor const& y) {
  if (std::string_view(llm::kernels().name) == "baseline") {
    double most = 0;
    for (std::size_t i = 0; i < x.n; ++i) most = std::max(most, static_cast<double>(std::abs(x.theta[i] - y.theta[i])));
    return most < 1e-5;
  }
  return same_bits(x.theta.span(), y.theta.span()) && same_bits(x.gradient.span(), y.gradient.span()) && same_bits(x.first.span(), y.first.span()) &&
         same_bits(x.second.span(), y.second.span()) && same_bits(x.first_scale.span(), y.first_scale.span()) &&
         same_bits(x.second_scale.span(), y.second_scale.span()) && equal(x.copy, y.copy) && equal(x.first_short, y.first_short) &&
         equal(x.second_short, y.second_short) && equal(x.first_code, y.first_code) && equal(x.second_code, y.second_code);
}

// Sizes that end within a vector, a block and a run of blocks, one that is nothing; where vectors may be moved, and where not.
std::vector<tensor> some_tensors() {
  random_numbers random(1);
  std::vector<tensor> all;
  for (std::size_t const n : {1U, 3U, 7U, 31U, 33U, 67U, 0U, 255U, 256U, 257U, 576U, 2048U, 4097U, 0U})
    for (std::size_t const shift : {0U, 1U}) all.emplace_back(n, shift, random);
  return all;
}

struct listed_tensors {
  std::vector<llm::gpu_adam_tensor> of;
  std::int64_t blocks = 0;

  listed_tensors(std::vector<tensor>& tensors, gpu_moments kept) {
    for (tensor& t : tensors) {
      of.push_back(t.listed(kept, blocks));
      blocks += static_cast<std::int64_t>(adam_blocks(t.n));
    }
  }
};

llm::gpu_adam step_of(listed_tensors const& list, gpu_moments kept) {
  return {.tensors = list.of.data(),
          .count = static_cast<std::int64_t>(list.of.size()),
          .blocks = list.blocks,
          .moments = kept,
          .rate = 0.01F,
          .root = 1.5F,
          .beta1 = 0.9F,
          .beta2 = 0.95F,
          .epsilon = 1e-8F,
          .scale = 0.5F,
          .norm = nullptr,
          .most_norm = 0,
          .zero_gradient = false};
}

// The processor's step, tensor by tensor.
void plain_step(std::vector<tensor>& tensors, llm::gpu_adam const& s, float scale) {
  auto const& kernels = llm::kernels().adam;
  for (tensor& t : tensors) {
    if (t.n == 0) continue;
    llm::adam_range const range{.theta = t.theta.data(),
                                .gradient = t.gradient.data(),
                                .first = t.moments(s.moments, false),
                                .second = t.moments(s.moments, true),
                                .first_scale = t.first_scale.data(),
                                .second_scale = t.second_scale.data(),
                                .copy = t.copies ? t.copy.data() : nullptr,
                                .n = t.n,
                                .first_index = 0};
    llm::adam_numbers const numbers{.decay = t.decay,
                                    .rate = s.rate,
                                    .root = s.root,
                                    .beta1 = s.beta1,
                                    .beta2 = s.beta2,
                                    .epsilon = s.epsilon,
                                    .scale = scale,
                                    .seed = t.seed,
                                    .zero_gradient = s.zero_gradient};
    (s.moments == gpu_moments::fp32 ? kernels.step_fp32 : s.moments == gpu_moments::bf16 ? kernels.step_bf16 : kernels.step_bits8)(range, numbers);
  }
}

void check_steps(gpu_kernel_table const& table, gpu_moments kept, bool zeroes) {
  std::vector<tensor> ours = some_tensors(), plain = some_tensors();
  listed_tensors const list(ours, kept);
  for (int steps = 0; steps < 3; ++steps) {
    llm::gpu_adam step = step_of(list, kept);
    step.zero_gradient = zeroes && steps == 2;
    table.adam(nullptr, step);
    plain_step(plain, step, step.scale);
  }
  for (std::size_t i = 0; i < ours.size(); ++i) {
    INFO("tensor " << i << " of " << ours[i].n << " numbers");
    CHECK(same(ours[i], plain[i]));
    CHECK(ours[i].kept_its_ends());
    if (zeroes) CHECK(std::all_of(ours[i].gradient.span().begin(), ours[i].gradient.span().end(), [](float x) { return x == 0; }));
  }
}

}  // namespace

TEST_CASE("a step of all tensors at once on a GPU is the processor's of each, bit for bit in every format of moments", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    for (gpu_moments const kept : formats)
      for (bool const zeroes : {false, true}) {
        INFO("format " << static_cast<int>(kept) << " zeroes " << zeroes);
        check_steps(table, kept, zeroes);
      }
    std::vector<tensor> none;
    llm::gpu_adam const nothing = step_of(listed_tensors(none, gpu_moments::fp32), gpu_moments::fp32);
    table.adam(nullptr, nothing);
  });
}

TEST_CASE("the norm of all gradients on a GPU is that of fp64 and clips as the trainer does, without the host", "[kernels][gpu]") {
  std::vector<double> norms;
  each_gpu_table([&](gpu_kernel_table const& table, int) {
    std::vector<tensor> ours = some_tensors(), plain = some_tensors();
    for (std::vector<tensor>* const all : {&ours, &plain}) (*all)[5].gradient[0] = 30;
    listed_tensors const list(ours, gpu_moments::fp32);
    std::vector<double> partial(static_cast<std::size_t>(llm::square_sum_partials(list.blocks)));
    double norm = 0, squares = 0;
    table.square_sum(nullptr, {.tensors = list.of.data(), .count = static_cast<std::int64_t>(list.of.size()), .blocks = list.blocks, .partial = partial.data(), .out = &norm});
    for (tensor const& t : ours)
      for (float const x : t.gradient.span()) squares += static_cast<double>(x) * static_cast<double>(x);
    CHECK(std::abs(norm - std::sqrt(squares)) <= 1e-13 * norm);
    norms.push_back(norm);

    for (float const most : {1.0F, 1e6F, 0.0F}) {
      llm::gpu_adam step = step_of(list, gpu_moments::fp32);
      step.norm = &norm;
      step.most_norm = most;
      double const scaled = 0.5 * norm;
      table.adam(nullptr, step);
      plain_step(plain, step, static_cast<float>(most == 1.0F ? 0.5 * (1 / (scaled + 1e-6)) : 0.5));
      for (std::size_t i = 0; i < ours.size(); ++i) CHECK(same(ours[i], plain[i]));
    }
  });
  llm::gpu_square_sum nothing{.tensors = nullptr, .count = 0, .blocks = 0, .partial = nullptr, .out = &norms[0]};
  llm::host_gpu_kernels().square_sum(nullptr, nothing);
  CHECK(norms[0] == 0);
}

TEST_CASE("a gradient that is no number spoils its parameter on a GPU and what shares its scale, and nothing else", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    for (gpu_moments const kept : formats) {
      INFO("format " << static_cast<int>(kept));
      std::vector<tensor> ours = some_tensors(), plain = some_tensors();
      std::size_t const which = 22;  // of 2048 numbers
      REQUIRE(ours[which].n == 2048);
      ours[which].gradient[adam_block + 3] = not_a_number;
      listed_tensors const list(ours, kept);
      llm::gpu_adam const step = step_of(list, kept);
      table.adam(nullptr, step);
      plain_step(plain, step, step.scale);
      for (std::size_t i = 0; i < ours[which].n; ++i) {
        if (i == adam_block + 3)
          CHECK(std::isnan(ours[which].theta[i]));
        else if (ours[which].theta[i] != plain[which].theta[i])
          FAIL("parameter " << i << " has changed");
      }
      for (std::size_t i = 0; i < ours.size(); ++i)
        if (i != which) CHECK(same(ours[i], plain[i]));
    }
  });
}
