// SPDX-License-Identifier: Apache-2.0
#include "gpu_ops.hpp"

#include "gpu_way.hpp"
#include "host_ops.hpp"
#include "launches.hpp"

namespace kedge::llm::gpu_ops {
namespace {

float const* numbers(at::Tensor const& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }
float* written(at::Tensor const& x) { return x.defined() ? x.mutable_data_ptr<float>() : nullptr; }

gpu_kernel_table const& kernels(at::Tensor const& x) { return *gpu_kernels(x.device()); }
gpu_stream stream(at::Tensor const& x) { return current_stream(x.device()); }

at::Tensor fp32(at::IntArrayRef sizes, at::Tensor const& like) { return at::empty(sizes, like.options().dtype(at::kFloat)); }

}  // namespace

bool takes(at::Tensor const& x) {
  if (!x.defined() || (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16) || !gpu_kernels(x.device())) return false;
  std::int64_t next = 1;
  for (std::int64_t d = x.dim(); d-- > 1; next *= x.size(d))
    if (x.size(d) != 1 && x.stride(d) != next) return false;
  return true;
}

normed norm(at::Tensor const& x, at::Tensor const& added, double scale, at::Tensor const& weight, double offset, double eps) {
  normed made{added.defined() ? at::empty_like(x) : x, fp32({x.size(0), 1}, x), at::empty(x.sizes(), x.options().dtype(weight.scalar_type()))};
  launch_mark const mark("kedge::norm", {x, added, added.defined() ? made.sum : at::Tensor(), made.inverse_rms, weight, made.out});
  kernels(x).norm(stream(x), {.rows = x.size(0),
                              .width = x.size(1),
                              .x = numbers(x),
                              .added = matrix_of(added),
                              .added_scale = static_cast<float>(scale),
                              .sum = added.defined() ? written(made.sum) : nullptr,
                              .inverse_rms = written(made.inverse_rms),
                              .weight = matrix_of(weight),
                              .offset = static_cast<float>(offset),
                              .eps = static_cast<float>(eps),
                              .out = matrix_of(made.out)});
  return made;
}

void norm_backward(at::Tensor const& g, at::Tensor const& x, at::Tensor const& inverse_rms, at::Tensor const& weight, double offset, at::Tensor const& gx,
                   at::Tensor const& narrowed, at::Tensor const& weight_gradient) {
  bool const narrows = !narrowed.is_same(gx);
  at::Tensor const partial = weight_gradient.defined() ? fp32({norm_partial_rows(x.size(0)), x.size(1)}, x) : at::Tensor();
  launch_mark const mark("kedge::norm_backward",
                    {g, x, inverse_rms, weight, gx, gx, narrows ? narrowed : at::Tensor(), weight_gradient, weight_gradient, partial, partial},
                    weight_gradient.defined() ? 2 : 1);
  kernels(x).norm_backward(stream(x), {.rows = x.size(0),
                                       .width = x.size(1),
                                       .g = matrix_of(g),
                                       .x = numbers(x),
                                       .inverse_rms = numbers(inverse_rms),
                                       .weight = matrix_of(weight),
                                       .offset = static_cast<float>(offset),
                                       .gx = written(gx),
                                       .narrowed = narrows ? matrix_of(narrowed) : gpu_matrix{},
                                       .weight_gradient = written(weight_gradient),
                                       .partial = written(partial)});
}

void rotate_(at::Tensor const& x, at::Tensor const& cosine, at::Tensor const& sine, double direction, bool interleaved) {
  launch_mark const mark("kedge::rotate", {x, x, cosine, sine});
  kernels(x).rotate(stream(x), {.rows = x.size(0),
                                .heads = x.size(1),
                                .head_dim = x.size(2),
                                .half = cosine.size(-1),
                                .x = matrix_of(x),
                                .cosine = numbers(cosine),
                                .sine = numbers(sine),
                                .direction = static_cast<float>(direction),
                                .interleaved = interleaved});
}

at::Tensor gated(activation act, at::Tensor const& gate_up) {
  at::Tensor out = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  launch_mark const mark("kedge::gate", {gate_up, out});
  kernels(out).gate(stream(out),
                    {.rows = out.size(0), .width = out.size(1), .act = host_ops::function_of(act), .gate_up = matrix_of(gate_up), .out = matrix_of(out)});
  return out;
}

gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate_up) {
  gated_gradients made{at::empty(gate_up.sizes(), gate_up.options()), at::empty(g.sizes(), gate_up.options())};
  launch_mark const mark("kedge::gate_backward", {g, gate_up, made.gate_up, made.inner});
  kernels(g).gate_backward(stream(g), {.rows = g.size(0),
                                       .width = g.size(1),
                                       .act = host_ops::function_of(act),
                                       .g = matrix_of(g),
                                       .gate_up = matrix_of(gate_up),
                                       .g_gate_up = matrix_of(made.gate_up),
                                       .out = matrix_of(made.inner)});
  return made;
}

void softmax(at::Tensor const& scores, at::Tensor const& targets, double smoothing, softmax_rows const& out, at::Tensor const& residual,
             at::Tensor const& slopes) {
  launch_mark const mark("kedge::softmax", {scores, residual.defined() ? scores : at::Tensor(), targets, out.log_sum, out.logp, out.entropy, out.mean,
                                       out.likeliest, out.square_sum, residual, slopes});
  kernels(scores).softmax(stream(scores), {.rows = scores.size(0),
                                           .vocabulary = scores.size(1),
                                           .scores = numbers(scores),
                                           .targets = targets.const_data_ptr<std::int64_t>(),
                                           .smoothing = static_cast<float>(smoothing),
                                           .log_sum = written(out.log_sum),
                                           .logp = written(out.logp),
                                           .residual = matrix_of(residual),
                                           .slopes = numbers(slopes),
                                           .entropy = written(out.entropy),
                                           .mean = written(out.mean),
                                           .likeliest = written(out.likeliest),
                                           .square_sum = written(out.square_sum)});
}

at::Tensor in_place_of(at::Tensor const& scores, at::ScalarType type) {
  if (type == scores.scalar_type()) return scores;
  return scores.view(type).narrow(1, 0, scores.size(1));
}

namespace {

std::int64_t width(at::Tensor const& x) { return x.size(0) == 0 ? 0 : x.numel() / x.size(0); }

}  // namespace

std::pair<at::Tensor, at::Tensor> gather(at::Tensor const& index, at::Tensor const& k, at::Tensor const& v) {
  std::vector<std::int64_t> sizes = k.sizes().vec();
  sizes.front() = index.size(0);
  std::pair const made(at::empty(sizes, k.options()), at::empty(sizes, v.options()));
  launch_mark const mark("kedge::gather", {index, made.first, made.second, made.first, made.second});
  kernels(k).gather(stream(k), {.count = index.size(0),
                                .width = width(k),
                                .index = index.const_data_ptr<std::int64_t>(),
                                .keys = matrix_of(k),
                                .values = matrix_of(v),
                                .out_keys = matrix_of(made.first),
                                .out_values = matrix_of(made.second)});
  return made;
}

void reduce(at::Tensor const& starts, at::Tensor const& places, at::Tensor const& k, at::Tensor const& v, at::Tensor const& to_k, at::Tensor const& to_v) {
  launch_mark const mark("kedge::reduce", {starts, places, k, v, to_k, to_v});
  kernels(k).reduce(stream(k), {.rows = to_k.size(0),
                                .width = width(to_k),
                                .starts = starts.const_data_ptr<std::int64_t>(),
                                .places = places.const_data_ptr<std::int64_t>(),
                                .keys = matrix_of(k),
                                .values = matrix_of(v),
                                .out_keys = matrix_of(to_k),
                                .out_values = matrix_of(to_v)});
}

}  // namespace kedge::llm::gpu_ops
