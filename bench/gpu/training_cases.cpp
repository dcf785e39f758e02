// SPDX-License-Identifier: Apache-2.0
#include "kernel_checks.hpp"

namespace kedge::gpu_check {
namespace {

using llm::gpu_kernel_table, llm::gpu_stream;

std::string by(std::int64_t rows, std::int64_t width, at::ScalarType type) {
  return std::to_string(rows) + " × " + std::to_string(width) + (type == at::kBFloat16 ? " bf16" : " fp32");
}

// Tensors: x, added, sum, inverse root, weight, out.
kernel_case norm(std::int64_t rows, std::int64_t width, at::ScalarType type) {
  tensors const t{random_numbers({rows, width}),    random_numbers({rows, width}, type), at::zeros({rows, width}), at::zeros({rows}),
                  random_numbers({1, width}, type), at::zeros({rows, width}, type)};
  return {"norm", by(rows, width, type), t, bytes_of({t[0], t[1], t[2], t[5]}), [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.norm(s, {.rows = rows,
                       .width = width,
                       .x = x[0].const_data_ptr<float>(),
                       .added = llm::matrix_of(x[1]),
                       .added_scale = 0.5F,
                       .sum = x[2].mutable_data_ptr<float>(),
                       .inverse_rms = x[3].mutable_data_ptr<float>(),
                       .weight = llm::matrix_of(x[4]),
                       .offset = 0,
                       .eps = 1e-5F,
                       .out = llm::matrix_of(x[5])});
          }};
}

// g, x, inverse root, weight, gx, narrowed, weight's gradient, partial sums. gx is added to, so that it is set to zero first.
kernel_case norm_backward(std::int64_t rows, std::int64_t width, at::ScalarType type) {
  at::Tensor const x = random_numbers({rows, width});
  tensors const t{random_numbers({rows, width}, type),
                  x,
                  at::rsqrt(x.pow(2).mean(-1) + 1e-5),
                  random_numbers({1, width}, type),
                  random_numbers({rows, width}),
                  at::zeros({rows, width}, type),
                  at::zeros({width}),
                  at::zeros({llm::norm_partial_rows(rows), width})};
  return {"norm_backward",
          by(rows, width, type),
          t,
          bytes_of({t[0], t[1], t[4], t[4], t[5]}),
          [=](gpu_kernel_table const& k, gpu_stream s, tensors& y) {
            k.norm_backward(s, {.rows = rows,
                                .width = width,
                                .g = llm::matrix_of(y[0]),
                                .x = y[1].const_data_ptr<float>(),
                                .inverse_rms = y[2].const_data_ptr<float>(),
                                .weight = llm::matrix_of(y[3]),
                                .offset = 0,
                                .gx = y[4].mutable_data_ptr<float>(),
                                .narrowed = llm::matrix_of(y[5]),
                                .weight_gradient = y[6].mutable_data_ptr<float>(),
                                .partial = y[7].mutable_data_ptr<float>()});
          },
          1e-4};
}

kernel_case rotate(std::int64_t rows, std::int64_t heads, std::int64_t head_dim, bool interleaved, at::ScalarType type) {
  at::Tensor const angle = at::randn({rows, head_dim / 2});
  tensors const t{random_numbers({rows, heads * head_dim}, type), angle.cos(), angle.sin()};
  return {interleaved ? "rotate, neighbours" : "rotate", by(rows, heads * head_dim, type), t, bytes_of({t[0], t[0], t[1], t[2]}),
          [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.rotate(s, {.rows = rows,
                         .heads = heads,
                         .head_dim = head_dim,
                         .half = head_dim / 2,
                         .x = llm::matrix_of(x[0]),
                         .cosine = x[1].const_data_ptr<float>(),
                         .sine = x[2].const_data_ptr<float>(),
                         .direction = 1,
                         .interleaved = interleaved});
          }};
}

kernel_case gate(std::int64_t rows, std::int64_t width, llm::gate_function act, at::ScalarType type) {
  tensors const t{random_numbers({rows, 2 * width}, type), at::zeros({rows, width}, type)};
  return {"gate", by(rows, width, type), t, bytes_of({t[0], t[1]}), [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.gate(s, {.rows = rows, .width = width, .act = act, .gate_up = llm::matrix_of(x[0]), .out = llm::matrix_of(x[1])});
          }};
}

kernel_case gate_backward(std::int64_t rows, std::int64_t width, llm::gate_function act, at::ScalarType type) {
  tensors const t{random_numbers({rows, width}, type), random_numbers({rows, 2 * width}, type), at::zeros({rows, 2 * width}, type),
                  at::zeros({rows, width}, type)};
  return {
      "gate_backward", by(rows, width, type), t, bytes_of({t[0], t[1], t[2], t[3]}), [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
        k.gate_backward(
            s,
            {.rows = rows, .width = width, .act = act, .g = llm::matrix_of(x[0]), .gate_up = llm::matrix_of(x[1]), .g_gate_up = llm::matrix_of(x[2]), .out = llm::matrix_of(x[3])});
      }};
}

// scores, targets, log Σ exp, log-probabilities, residual, slopes, entropy, mean, likeliest, Σ p².
kernel_case softmax(std::int64_t rows, std::int64_t vocabulary, at::ScalarType type) {
  tensors const t{random_numbers({rows, vocabulary}) * 3,
                  at::randint(vocabulary, {rows}, at::kLong),
                  at::zeros({rows}),
                  at::zeros({rows}),
                  at::zeros({rows, vocabulary}, type),
                  random_numbers({rows}),
                  at::zeros({rows}),
                  at::zeros({rows}),
                  at::zeros({rows}),
                  at::zeros({rows})};
  return {"softmax",
          by(rows, vocabulary, type),
          t,
          bytes_of({t[0], t[4]}),
          [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            auto const row = [&x](std::size_t i) { return x[i].mutable_data_ptr<float>(); };
            k.softmax(s, {.rows = rows,
                          .vocabulary = vocabulary,
                          .scores = x[0].const_data_ptr<float>(),
                          .targets = x[1].const_data_ptr<std::int64_t>(),
                          .smoothing = 0.1F,
                          .log_sum = row(2),
                          .logp = row(3),
                          .residual = llm::matrix_of(x[4]),
                          .slopes = row(5),
                          .entropy = row(6),
                          .mean = row(7),
                          .likeliest = row(8),
                          .square_sum = row(9)});
          },
          1e-4};
}

// The residual over the scores that it comes from: they are numbers of bf16, so that what is left of them is some, too. Scores as pairs of bf16,
// targets, log Σ exp, log-probabilities.
kernel_case softmax_in_place(std::int64_t rows, std::int64_t vocabulary) {
  at::Tensor const scores = (random_numbers({rows, vocabulary}, at::kBFloat16) * 3).to(at::kFloat);
  tensors const t{scores.view(at::kBFloat16), at::randint(vocabulary, {rows}, at::kLong), at::zeros({rows}), at::zeros({rows})};
  return {"softmax, in place",
          by(rows, vocabulary, at::kBFloat16),
          t,
          1.5 * bytes_of({t[0]}),
          [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.softmax(s, {.rows = rows,
                          .vocabulary = vocabulary,
                          .scores = static_cast<float const*>(x[0].const_data_ptr()),
                          .targets = x[1].const_data_ptr<std::int64_t>(),
                          .smoothing = 0,
                          .log_sum = x[2].mutable_data_ptr<float>(),
                          .logp = x[3].mutable_data_ptr<float>(),
                          .residual = llm::matrix_of(x[0]),
                          .slopes = nullptr,
                          .entropy = nullptr,
                          .mean = nullptr,
                          .likeliest = nullptr,
                          .square_sum = nullptr});
          },
          1e-4};
}

// index, keys, values, and both gathered.
kernel_case gather(std::int64_t count, std::int64_t rows, std::int64_t width, at::ScalarType type) {
  tensors const t{at::randint(rows, {count}, at::kLong), random_numbers({rows, width}, type), random_numbers({rows, width}, type),
                  at::zeros({count, width}, type), at::zeros({count, width}, type)};
  return {"gather", by(count, width, type), t, 2 * bytes_of({t[3], t[4]}), [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.gather(s, {.count = count,
                         .width = width,
                         .index = x[0].const_data_ptr<std::int64_t>(),
                         .keys = llm::matrix_of(x[1]),
                         .values = llm::matrix_of(x[2]),
                         .out_keys = llm::matrix_of(x[3]),
                         .out_values = llm::matrix_of(x[4])});
          }};
}

// Row t is the sum of places t, t + rows, …: starts, places, keys, values, and both reduced.
kernel_case reduce(std::int64_t rows, std::int64_t copies_of_row, std::int64_t width, at::ScalarType type) {
  std::int64_t const count = rows * copies_of_row;
  tensors const t{at::arange(0, count + 1, copies_of_row, at::kLong),
                  at::arange(count, at::kLong).view({copies_of_row, rows}).t().contiguous().view(-1),
                  random_numbers({count, width}, type),
                  random_numbers({count, width}, type),
                  at::zeros({rows, width}, type),
                  at::zeros({rows, width}, type)};
  return {"reduce", by(count, width, type), t, bytes_of({t[2], t[3], t[4], t[5]}), [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.reduce(s, {.rows = rows,
                         .width = width,
                         .starts = x[0].const_data_ptr<std::int64_t>(),
                         .places = x[1].const_data_ptr<std::int64_t>(),
                         .keys = llm::matrix_of(x[2]),
                         .values = llm::matrix_of(x[3]),
                         .out_keys = llm::matrix_of(x[4]),
                         .out_values = llm::matrix_of(x[5])});
          }};
}

}  // namespace

std::vector<kernel_case> training_cases(case_sizes sizes) {
  using enum llm::gate_function;
  if (sizes == case_sizes::real)
    return {norm(8192, 2048, at::kBFloat16),       norm_backward(8192, 2048, at::kBFloat16),       rotate(8192, 40, 64, false, at::kBFloat16),
            gate(8192, 8192, silu, at::kBFloat16), gate_backward(8192, 8192, silu, at::kBFloat16), softmax(256, 128256, at::kBFloat16),
            softmax_in_place(256, 128256),         gather(16384, 8192, 512, at::kBFloat16),        reduce(8192, 2, 512, at::kBFloat16)};
  std::vector<kernel_case> all;
  for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
    for (auto const& [rows, width] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 37}, {17, 576}, {301, 896}, {5, 4097}}) {
      all.push_back(norm(rows, width, type));
      all.push_back(norm_backward(rows, width, type));
      for (llm::gate_function const act : {silu, gelu, gelu_tanh, relu2}) {
        all.push_back(gate(rows, width, act, type));
        all.push_back(gate_backward(rows, width, act, type));
      }
    }
    for (bool const interleaved : {false, true}) {
      all.push_back(rotate(13, 3, 18, interleaved, type));
      all.push_back(rotate(1, 9, 64, interleaved, type));
    }
    for (auto const& [rows, vocabulary] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {7, 53}, {33, 1001}, {3, 49152}})
      all.push_back(softmax(rows, vocabulary, type));
    if (type == at::kBFloat16) all.push_back(softmax_in_place(7, 1001));
    all.push_back(gather(19, 7, 37, type));
    all.push_back(gather(64, 40, 192, type));
    all.push_back(reduce(7, 3, 37, type));
    all.push_back(reduce(40, 2, 192, type));
  }
  return all;
}

}  // namespace kedge::gpu_check
