// SPDX-License-Identifier: Apache-2.0

// Gates, gathers and reductions by the kernels of a GPU, whose bodies run here, against fp64.

#include <cmath>

#include "llm/kernels/cuda_support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::gate_function;
using llm::gpu_kernel_table;
using llm::gpu_number;

namespace {

constexpr gate_function gates[] = {gate_function::silu, gate_function::gelu, gate_function::gelu_tanh, gate_function::relu2};

double value(gate_function f, double x) {
  switch (f) {
    case gate_function::silu:
      return x / (1 + std::exp(-x));
    case gate_function::gelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case gate_function::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case gate_function::relu2:
      return x < 0 ? 0 : x * x;
  }
  return 0;
}
double slope(gate_function f, double x) {
  double const h = 1e-5 * (1 + std::abs(x));
  return (value(f, x + h) - value(f, x - h)) / (2 * h);
}

// Infinity and NaN as plain operations have them, where fp64's formula does; a difference quotient says nothing there.
struct gate_case {
  std::size_t rows, width;
  gate_function f;
  layout l;
  matrix gate_up, g;

  gate_case(std::size_t n, gate_function act, gpu_number type, gpu_number g_type, layout where, random_numbers& random)
      : rows(1 + n % 3), width(n), f(act), l(where), gate_up(type, rows, 2 * n, l.gap, l.shift, random), g(g_type, rows, n, l.gap, l.shift, random) {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = 0; i < n; ++i) gate_up.set(r, i, 4 * static_cast<float>(gate_up(r, i)));
  }
  [[nodiscard]] double gate(std::size_t r, std::size_t i) const { return gate_up(r, i); }
  [[nodiscard]] double up(std::size_t r, std::size_t i) const { return gate_up(r, width + i); }
};

void check_gate(gpu_kernel_table const& table, gate_case& c) {
  gpu_number const type = c.gate_up.narrow() ? gpu_number::bf16 : gpu_number::fp32;
  matrix out(type, c.rows, c.width, c.l.gap, c.l.shift), out_again(type, c.rows, c.width, c.l.gap, c.l.shift), both(type, c.rows, 2 * c.width, c.l.gap, c.l.shift);
  std::vector<exact> outs, gradients;
  for (std::size_t r = 0; r < c.rows; ++r) {
    for (std::size_t i = 0; i < c.width; ++i) {
      double const y = value(c.f, c.gate(r, i)) * c.up(r, i);
      outs.push_back({y, out.slack(y, y) + 1e-7 * std::abs(c.up(r, i))});
    }
    for (std::size_t i = 0; i < c.width; ++i) {
      double const y = c.g(r, i) * c.up(r, i) * slope(c.f, c.gate(r, i));
      gradients.push_back({y, out.slack(y, 2 * c.g(r, i) * c.up(r, i))});
    }
    for (std::size_t i = 0; i < c.width; ++i) {
      double const y = c.g(r, i) * value(c.f, c.gate(r, i));
      gradients.push_back({y, out.slack(y, y) + 1e-7 * std::abs(c.g(r, i))});
    }
  }
  auto const rows = static_cast<std::int64_t>(c.rows), width = static_cast<std::int64_t>(c.width);
  table.gate(nullptr, {.rows = rows, .width = width, .act = c.f, .gate_up = c.gate_up.view(), .out = out.view()});
  CHECK(first_difference(out.values(), outs) == "");
  table.gate_backward(nullptr, {.rows = rows, .width = width, .act = c.f, .g = c.g.view(), .gate_up = c.gate_up.view(), .g_gate_up = both.view(), .out = {}});
  CHECK(first_difference(both.values(), gradients) == "");
  matrix in_place = c.gate_up;
  table.gate_backward(
      nullptr, {.rows = rows, .width = width, .act = c.f, .g = c.g.view(), .gate_up = in_place.view(), .g_gate_up = in_place.view(), .out = out_again.view()});
  CHECK(same_bits(in_place.values(), both.values()));
  CHECK(same_bits(out_again.values(), out.values()));
  CHECK((out.kept_its_ends() && both.kept_its_ends() && out_again.kept_its_ends()));
}

}  // namespace

TEST_CASE("gates of a GPU and their gradients are those of fp64", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(1);
    for (gate_function const f : gates)
      for (gpu_number const type : number_types)
        for (layout const l : layouts)
          for (std::size_t const width : some_widths) {
            INFO("function " << static_cast<int>(f) << " bf16 " << (type == gpu_number::bf16) << " width " << width << " gap " << l.gap);
            gate_case c(width, f, type, type, l, random);
            check_gate(table, c);
          }
    for (gpu_number const type : number_types) {
      gate_case large(4097, gate_function::silu, gpu_number::bf16, type, layouts[0], random), mixed(64, gate_function::silu, gpu_number::fp32, type, layouts[0], random);
      check_gate(table, large);
      check_gate(table, mixed);
    }
    table.gate(nullptr, {.rows = 0, .width = 8, .act = gate_function::silu, .gate_up = {}, .out = {}});
    table.gate(nullptr, {.rows = 3, .width = 0, .act = gate_function::silu, .gate_up = {}, .out = {}});
  });
}

TEST_CASE("gates of a GPU take numbers of every size, and pass on NaN", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    for (gate_function const f : gates) {
      INFO("function " << static_cast<int>(f));
      matrix in(gpu_number::fp32, 1, 2 * 8, 0, 0), out(gpu_number::fp32, 1, 8, 0, 0), g(gpu_number::fp32, 1, 8, 0, 0), both(gpu_number::fp32, 1, 2 * 8, 0, 0);
      float const gate[] = {not_a_number, 1, 100, -100, 1e4F, -1e4F, 0, -0.0F};
      for (std::size_t i = 0; i < 8; ++i) {
        in.set(0, i, gate[i]);
        in.set(0, 8 + i, i == 1 ? not_a_number : 0.5F);
        g.set(0, i, 2);
      }
      table.gate(nullptr, {.rows = 1, .width = 8, .act = f, .gate_up = in.view(), .out = out.view()});
      table.gate_backward(nullptr, {.rows = 1, .width = 8, .act = f, .g = g.view(), .gate_up = in.view(), .g_gate_up = both.view(), .out = {}});
      std::vector<float> const y = out.values(), gradient = both.values();
      CHECK((all_nan(std::span(y).first(2)) && all_finite(std::span(y).subspan(2))));
      CHECK((all_nan(std::span(gradient).first(2)) && all_finite(std::span(gradient).subspan(2, 6))));
      CHECK((std::isnan(gradient[8]) && all_finite(std::span(gradient).subspan(9))));
      CHECK((y[3] == 0 && y[5] == 0 && gradient[3] == 0 && gradient[5] == 0));
      CHECK(y[2] == (f == gate_function::relu2 ? 5000.0F : 50.0F));
    }
  });
}

TEST_CASE("rows that a GPU gathers and sums up again are those of their indices in their order", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(2);
    for (gpu_number const type : number_types)
      for (layout const l : layouts)
        for (std::size_t const width : some_widths)
          for (bool const of_keys_alone : {false, true}) {
            INFO("bf16 " << (type == gpu_number::bf16) << " width " << width << " gap " << l.gap);
            std::size_t const rows = 5;
            std::vector<std::int64_t> const index{4, 0, 0, 2, 4, 1, 4}, starts{0, 2, 3, 4, 4, 7}, places{1, 2, 5, 3, 0, 4, 6};
            matrix keys(type, rows, width, l.gap, l.shift, random), values(type, rows, width, l.gap, l.shift, random);
            keys.set(2, 0, infinity);
            keys.set(1, width - 1, not_a_number);
            matrix out_keys(type, index.size(), width, l.gap, l.shift), out_values(type, index.size(), width, l.gap, l.shift);
            llm::gpu_matrix const no_matrix{};
            table.gather(nullptr, {.count = static_cast<std::int64_t>(index.size()),
                                   .width = static_cast<std::int64_t>(width),
                                   .index = index.data(),
                                   .keys = keys.view(),
                                   .values = of_keys_alone ? no_matrix : values.view(),
                                   .out_keys = out_keys.view(),
                                   .out_values = of_keys_alone ? no_matrix : out_values.view()});
            std::vector<exact> gathered, gathered_values;
            for (std::int64_t const at : index)
              for (std::size_t i = 0; i < width; ++i) {
                gathered.push_back({keys(static_cast<std::size_t>(at), i), 0});
                gathered_values.push_back({of_keys_alone ? 113 : values(static_cast<std::size_t>(at), i), 0});
              }
            CHECK(first_difference(out_keys.values(), gathered) == "");
            if (!of_keys_alone) CHECK(first_difference(out_values.values(), gathered_values) == "");

            matrix sums(gpu_number::fp32, rows, width, l.gap, l.shift), value_sums(type, rows, width, l.gap, l.shift);
            table.reduce(nullptr, {.rows = static_cast<std::int64_t>(rows),
                                   .width = static_cast<std::int64_t>(width),
                                   .starts = starts.data(),
                                   .places = places.data(),
                                   .keys = out_keys.view(),
                                   .values = of_keys_alone ? no_matrix : out_values.view(),
                                   .out_keys = sums.view(),
                                   .out_values = of_keys_alone ? no_matrix : value_sums.view()});
            std::vector<exact> reduced, reduced_values;
            for (std::size_t r = 0; r < rows; ++r)
              for (std::size_t i = 0; i < width; ++i) {
                float of_keys = 0, of_values = 0;  // the same additions, so the same bits
                for (std::int64_t j = starts[r]; j < starts[r + 1]; ++j) {
                  auto const place = static_cast<std::size_t>(places[static_cast<std::size_t>(j)]);
                  of_keys += static_cast<float>(out_keys(place, i));
                  of_values += static_cast<float>(out_values(place, i));
                }
                reduced.push_back({static_cast<double>(of_keys), 0});
                reduced_values.push_back({static_cast<double>(type == gpu_number::bf16 ? rounded_to_bf16(static_cast<double>(of_values)) : of_values), 0});
              }
            CHECK(first_difference(sums.values(), reduced) == "");
            if (!of_keys_alone) CHECK(first_difference(value_sums.values(), reduced_values) == "");
            CHECK((out_keys.kept_its_ends() && out_values.kept_its_ends() && sums.kept_its_ends() && value_sums.kept_its_ends()));
          }
  });
}
