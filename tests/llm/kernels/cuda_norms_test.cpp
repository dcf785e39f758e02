// SPDX-License-Identifier: Apache-2.0

// Norms and rotations by the kernels of a GPU, whose bodies run here, against fp64.

#include <cmath>

#include "llm/kernels/cuda_support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::gpu_kernel_table;
using llm::gpu_number;

namespace {

constexpr float eps = 1e-5F;

double wide(float x) { return static_cast<double>(x); }

// A case of gpu_norm and its way back.
struct norm_case {
  std::size_t rows, width;
  float offset, added_scale;
  floats x;
  matrix added, weight, g;

  norm_case(std::size_t how_many, std::size_t n, gpu_number type, gpu_number weight_type, layout l, float off, random_numbers& random)
      : rows(how_many), width(n), offset(off), added_scale(0.5F), x(random(how_many * n, 2), l.shift), added(type, rows, n, l.gap, l.shift, random),
        weight(weight_type, 1, n, 0, l.shift, random), g(type, rows, n, l.gap, l.shift, random) {}

  [[nodiscard]] double sum(std::size_t r, std::size_t i, bool adds) const { return wide(x[r * width + i]) + (adds ? wide(added_scale) * added(r, i) : 0); }
  [[nodiscard]] double inverse(std::size_t r, bool adds) const {
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) squares += sum(r, i, adds) * sum(r, i, adds);
    return 1 / std::sqrt(squares / static_cast<double>(width) + wide(eps));
  }
};

void check_norm(gpu_kernel_table const& table, norm_case& c, layout l, bool adds) {
  floats sum(c.rows * c.width, l.shift), inverse(c.rows, l.shift);
  matrix out(c.added.narrow() ? gpu_number::bf16 : gpu_number::fp32, c.rows, c.width, l.gap, l.shift);
  std::vector<exact> sums, inverses, outs;
  for (std::size_t r = 0; r < c.rows; ++r) {
    double const factor = c.inverse(r, adds);
    inverses.push_back({factor, 2e-6 * factor});
    for (std::size_t i = 0; i < c.width; ++i) {
      double const x = c.sum(r, i, adds), y = x * factor * (c.weight(0, i) + wide(c.offset));
      sums.push_back({x, 1e-6 * (std::abs(x) + 1)});
      outs.push_back({y, 2 * out.slack(y, y) + (adds ? 4e-6 * std::abs(factor * (c.weight(0, i) + wide(c.offset))) : 0)});
    }
  }
  table.norm(nullptr, {.rows = static_cast<std::int64_t>(c.rows),
                       .width = static_cast<std::int64_t>(c.width),
                       .x = c.x.data(),
                       .added = adds ? c.added.view() : llm::gpu_matrix{},
                       .added_scale = c.added_scale,
                       .sum = sum.data(),
                       .inverse_rms = inverse.data(),
                       .weight = c.weight.view(),
                       .offset = c.offset,
                       .eps = eps,
                       .out = out.view()});
  if (adds) CHECK(first_difference(sum.span(), sums) == "");
  CHECK(first_difference(inverse.span(), inverses) == "");
  CHECK(first_difference(out.values(), outs) == "");
  CHECK((sum.kept_its_ends() && inverse.kept_its_ends() && out.kept_its_ends()));
}

void check_norm_backward(gpu_kernel_table const& table, norm_case& c, layout l, bool with_weight, bool narrows) {
  random_numbers random(3);
  auto const rows = static_cast<std::int64_t>(c.rows), partial_rows = llm::norm_partial_rows(rows);
  floats gx(random(c.rows * c.width), l.shift), weight_gradient(random(c.width), l.shift), inverse(c.rows, l.shift);
  floats partial(static_cast<std::size_t>(partial_rows) * c.width, l.shift, not_a_number);
  matrix narrowed(c.g.narrow() ? gpu_number::bf16 : gpu_number::fp32, c.rows, c.width, l.gap, l.shift);
  std::vector<exact> of_x, of_narrowed, of_weight;
  for (float const x : weight_gradient.span()) of_weight.push_back({wide(x), 2e-6});
  for (std::size_t r = 0; r < c.rows; ++r) {
    double const factor = c.inverse(r, false);
    inverse[r] = static_cast<float>(factor);
    auto const y = [&](std::size_t i) { return wide(c.x[r * c.width + i]) * factor; };
    auto const weighted = [&](std::size_t i) { return c.g(r, i) * (c.weight(0, i) + wide(c.offset)); };
    double along = 0, size = 0;
    for (std::size_t i = 0; i < c.width; ++i) {
      along += weighted(i) * y(i);
      size += std::abs(weighted(i) * y(i));
      if (with_weight) of_weight[i].value += c.g(r, i) * y(i);
      if (with_weight) of_weight[i].slack += 1e-6 * (1 + std::abs(c.g(r, i) * y(i)));
    }
    double const n = static_cast<double>(c.width);
    for (std::size_t i = 0; i < c.width; ++i) {
      double const before = wide(gx[r * c.width + i]), after = before + factor * (weighted(i) - y(i) * along / n);
      double const parts = std::abs(before) + factor * (std::abs(weighted(i)) + std::abs(y(i)) * size / n);
      of_x.push_back({after, 2e-6 * parts});
      of_narrowed.push_back({after, narrowed.slack(after, parts)});
    }
  }
  table.norm_backward(nullptr, {.rows = rows,
                                .width = static_cast<std::int64_t>(c.width),
                                .g = c.g.view(),
                                .x = c.x.data(),
                                .inverse_rms = inverse.data(),
                                .weight = c.weight.view(),
                                .offset = c.offset,
                                .gx = gx.data(),
                                .narrowed = narrows ? narrowed.view() : llm::gpu_matrix{},
                                .weight_gradient = with_weight ? weight_gradient.data() : nullptr,
                                .partial = partial.data()});
  CHECK(first_difference(gx.span(), of_x) == "");
  if (narrows) CHECK(first_difference(narrowed.values(), of_narrowed) == "");
  CHECK(first_difference(weight_gradient.span(), of_weight) == "");
  CHECK((gx.kept_its_ends() && weight_gradient.kept_its_ends() && partial.kept_its_ends() && narrowed.kept_its_ends()));
}

}  // namespace

TEST_CASE("norms of a GPU with what is added before them are those of fp64", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(1);
    for (gpu_number const type : number_types)
      for (layout const l : layouts)
        for (std::size_t const width : some_widths)
          for (float const offset : {0.0F, 1.0F}) {
            INFO("bf16 " << (type == gpu_number::bf16) << " width " << width << " gap " << l.gap << " offset " << offset);
            norm_case c(1 + width % 3, width, type, type, l, offset, random);
            check_norm(table, c, l, false);
            check_norm(table, c, l, true);
          }
    for (gpu_number const weights : number_types) {
      norm_case large(2, 4097, gpu_number::bf16, weights, layouts[0], 0, random), none(0, 8, gpu_number::bf16, weights, layouts[0], 0, random);
      check_norm(table, large, layouts[0], true);
      check_norm(table, none, layouts[0], true);
    }
  });
}

TEST_CASE("backward steps of a GPU's norms are those of fp64 for few rows and for more than have a sum of their own", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int threads) {
    random_numbers random(2);
    for (gpu_number const type : number_types)
      for (layout const l : layouts)
        for (std::size_t const width : some_widths)
          for (bool const one : {false, true}) {
            INFO("bf16 " << (type == gpu_number::bf16) << " width " << width << " gap " << l.gap << " " << one);
            norm_case c(1 + width % 3, width, type, type, l, one ? 1.0F : 0.0F, random);
            check_norm_backward(table, c, l, !one, one);
          }
    for (gpu_number const weights : number_types) {
      std::size_t const many = threads == 1 ? 1200 : 540;
      norm_case rows(many, 40, gpu_number::bf16, weights, layouts[0], 0, random), odd(many, 7, gpu_number::fp32, weights, layouts[2], 0, random);
      norm_case large(3, 4097, gpu_number::bf16, weights, layouts[0], 0, random), none(0, 8, gpu_number::bf16, weights, layouts[0], 0, random);
      for (norm_case* const c : {&rows, &large, &none}) check_norm_backward(table, *c, layouts[0], true, true);
      check_norm_backward(table, odd, layouts[2], true, true);
    }
  });
}

TEST_CASE("a number that is none or infinite spoils the norm of its row on a GPU as in fp64, and no other", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(4);
    for (gpu_number const type : number_types)
      for (std::size_t const width : {1U, 16U, 33U})
        for (float const bad : {not_a_number, infinity, -infinity})
          for (std::size_t const at : {std::size_t{0}, width / 2, width - 1}) {
            INFO("bf16 " << (type == gpu_number::bf16) << " width " << width << ", " << bad << " at " << at);
            norm_case of_x(3, width, type, type, layouts[0], 0, random), of_weight(3, width, type, type, layouts[0], 0, random),
                of_g(3, width, type, type, layouts[0], 0, random);
            of_x.x[width + at] = bad;
            of_weight.weight.set(0, at, bad);
            of_g.g.set(1, at, bad);
            for (norm_case* const c : {&of_x, &of_weight, &of_g}) {
              check_norm(table, *c, layouts[0], false);
              check_norm_backward(table, *c, layouts[0], true, true);
            }
          }
  });
}

TEST_CASE("the gradient of a norm's weight has the same bits for every number of threads and every time", "[kernels][gpu]") {
  random_numbers random(5);
  std::size_t const rows = 700, width = 33;
  floats const partials(random(528 * width), 0);
  std::vector<float> results[2];
  std::size_t which = 0;
  each_gpu_table([&](gpu_kernel_table const& table, int) {
    norm_case c(rows, width, gpu_number::fp32, gpu_number::fp32, layouts[0], 0, random);
    for (float& x : c.x.span()) x = 1;
    std::vector<float> partial(528 * width), inverse(rows, 1.0F), gx(rows * width), gradient(width, 0.25F);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = 0; i < width; ++i) c.g.set(r, i, partials[(r * width + i) % partials.size()]);
    table.norm_backward(nullptr, {.rows = rows,
                                  .width = width,
                                  .g = c.g.view(),
                                  .x = c.x.data(),
                                  .inverse_rms = inverse.data(),
                                  .weight = c.weight.view(),
                                  .offset = 0,
                                  .gx = gx.data(),
                                  .narrowed = {},
                                  .weight_gradient = gradient.data(),
                                  .partial = partial.data()});
    results[which++] = gradient;
  });
  CHECK(same_bits(results[0], results[1]));
}

TEST_CASE("a GPU turns the pairs of every head by the angles of its row and leaves what is beside them", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(6);
    for (gpu_number const type : number_types)
      for (layout const l : layouts)
        for (std::size_t const half : {1U, 3U, 8U, 16U, 33U, 64U})
          for (std::size_t const rest : {0U, 8U, 5U})
            for (bool const interleaved : {false, true}) {
              INFO("bf16 " << (type == gpu_number::bf16) << " half " << half << " rest " << rest << " gap " << l.gap << " neighbours " << interleaved);
              std::size_t const rows = 2, heads = 1 + half % 3, d = 2 * half + rest;
              matrix x(type, rows, heads * d, l.gap, l.shift, random);
              if (half == 3) x.set(1, 1, not_a_number);
              if (half == 8) x.set(0, 0, infinity);
              floats const cosine(random(rows * half), l.shift), sine(random(rows * half), l.shift);
              float const direction = half % 2 == 0 ? 1 : -1;
              std::vector<exact> expected;
              for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t at = 0; at < heads * d; ++at) {
                  std::size_t const i = at % d, begin = at - i;
                  if (i >= 2 * half) {
                    expected.push_back({x(r, at), 0});
                    continue;
                  }
                  std::size_t const pair = interleaved ? i / 2 : i % half;
                  bool const is_left = interleaved ? i % 2 == 0 : i < half;
                  double const a = x(r, begin + (interleaved ? 2 * pair : pair)), b = x(r, begin + (interleaved ? 2 * pair + 1 : half + pair));
                  double const c = wide(cosine[r * half + pair]), s = wide(sine[r * half + pair] * direction);
                  double const turned = is_left ? a * c - b * s : b * c + a * s;
                  expected.push_back({turned, x.slack(turned, std::abs(a) + std::abs(b))});
                }
              table.rotate(nullptr, {.rows = static_cast<std::int64_t>(rows),
                                     .heads = static_cast<std::int64_t>(heads),
                                     .head_dim = static_cast<std::int64_t>(d),
                                     .half = static_cast<std::int64_t>(half),
                                     .x = x.view(),
                                     .cosine = cosine.data(),
                                     .sine = sine.data(),
                                     .direction = direction,
                                     .interleaved = interleaved});
              CHECK(first_difference(x.values(), expected) == "");
              CHECK(x.kept_its_ends());
            }
  });
}
