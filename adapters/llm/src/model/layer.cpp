// SPDX-License-Identifier: Apache-2.0
#include "layer.hpp"

namespace kedge::llm {
namespace {

// What attention or MLP reads of the residual stream: normalised where the family has a norm there.
at::Tensor read(at::Tensor const& x, transformer_config const& c, at::Tensor const& norm_weight, at::Tensor const& norm_bias, at::ScalarType type,
                ops::rms_norm& norm) {
  norm = norm_weight.defined() ? ops::rms_norm(x, c.rms_norm_eps, c.norm_offset, c.norm) : ops::rms_norm::none(x);
  return norm.output(norm_weight, norm_bias, type);
}

// residual + y, normalised or scaled first where the family does so.
at::Tensor add_onto(at::Tensor const& residual, at::Tensor const& y, transformer_config const& c, at::Tensor const& norm_weight, ops::rms_norm& norm) {
  if (!norm_weight.defined()) return at::add(residual, y, c.residual_scale);
  norm = ops::rms_norm(ops::wide(y), c.rms_norm_eps, c.norm_offset, c.norm);
  return at::add(residual, norm.output(norm_weight), c.residual_scale);
}

// residual + what the map makes of x, normalised or scaled first where the family does so.
at::Tensor apply_onto(at::Tensor const& residual, linear_map const& map, at::Tensor const& x, transformer_config const& c,
                      at::Tensor const& norm_weight, ops::rms_norm& norm) {
  if (!norm_weight.defined() && c.residual_scale == 1 && map.plain()) {
    at::Tensor y = ops::linear_onto(residual, x, map.weight);
    return map.bias.defined() ? y.add_(map.bias) : y;
  }
  return add_onto(residual, apply(map, x), c, norm_weight, norm);
}

// The gradient of what a map gave, from that of the residual stream.
at::Tensor through_norm(transformer_config const& c, at::Tensor const& gx, at::ScalarType type, at::Tensor const& norm_weight,
                        ops::rms_norm const& norm, at::Tensor& norm_gradient) {
  at::Tensor const scaled = c.residual_scale == 1 ? gx : at::mul(gx, c.residual_scale);
  return norm_weight.defined() ? norm.backward(scaled, norm_weight, norm_gradient).to(type) : scaled.to(type);
}

// Norms of [T, heads, d] over as many numbers as there are weights: those of a head, or of all.
at::Tensor head_norm(transformer_config const& c, at::Tensor const& x, at::Tensor const& weight, ops::rms_norm& norm) {
  if (!weight.defined()) return x;
  norm = ops::rms_norm(ops::wide(x).reshape({-1, weight.size(0)}), c.rms_norm_eps, c.norm_offset);
  return norm.output(weight).view_as(x);
}

at::Tensor head_norm_backward(at::Tensor const& g, at::Tensor const& weight, ops::rms_norm const& norm, at::Tensor& weight_gradient) {
  if (!weight.defined()) return g;
  return norm.backward(g.reshape({-1, weight.size(0)}), weight, weight_gradient).view_as(g).to(g.scalar_type());
}

// What the MLP's last map reads.
at::Tensor inner(transformer_config const& c, layer_tape const& kept) {
  return c.gated ? ops::gated(c.act, kept.gate, kept.up) : ops::activated(c.act, kept.up);
}

// The gradient of what the MLP read, from that of what it gave.
at::Tensor mlp_backward(transformer_config const& c, layer_tensors const& w, layer_tape const& kept, at::Tensor const& h, at::Tensor const& g,
                        layer_tensors& gradient) {
  add_gradients(gradient.down, w.down, g, inner(c, kept));
  at::Tensor const g_inner = input_gradient(w.down, g);
  auto const [g_gate, g_up] = c.gated ? ops::gated_backward(c.act, g_inner, kept.gate, kept.up)
                                      : ops::gated_gradients{{}, ops::activated_backward(c.act, g_inner, kept.up)};
  if (c.gated) add_gradients(gradient.gate, w.gate, g_gate, h);
  add_gradients(gradient.up, w.up, g_up, h);
  return input_gradient(w.up, g_up, c.gated ? input_gradient(w.gate, g_gate) : at::Tensor());
}

}  // namespace

layer_tape layer_tape::in(at::ScalarType type) const {
  layer_tape other = *this;
  for (at::Tensor* const x : {&other.q, &other.k, &other.v, &other.attended, &other.gate, &other.up})
    if (x->defined()) *x = ops::converted(*x, type);
  return other;
}

at::Tensor embed(transformer_config const& c, linear_map const& embedding, at::Tensor const& tokens) {
  at::Tensor x = look_up(embedding, tokens);
  // The scale is rounded as the weights are: √3072 is 55.5 in bf16.
  if (c.embedding_scale != 1) x.mul_(at::full({}, c.embedding_scale, x.options()));
  return ops::wide(x);
}

at::Tensor layer_forward(transformer_config const& c, layer_tensors const& w, at::Tensor const& x, ops::rotation const* rotation,
                         attention_step const& attend, layer_tape& kept) {
  std::int64_t const T = x.size(0);
  auto const heads = [&](at::Tensor const& projected) { return projected.view({T, -1, c.head_dim}); };
  auto const turned = [&](at::Tensor const& y) { return rotation ? rotation->forward(y) : y; };
  at::ScalarType const type = ops::stream_type(w.o.weight);
  at::Tensor h = read(x, c, w.input_norm, w.input_norm_bias, type, kept.before_attention);
  kept.q = turned(head_norm(c, heads(apply(w.q, h)), w.q_norm, kept.of_queries));
  if (rotation) rotation->grow_(kept.q);
  kept.k = turned(head_norm(c, heads(apply(w.k, h)), w.k_norm, kept.of_keys));
  kept.v = heads(apply(w.v, h));
  kept.attended = attend(kept.q, kept.k, kept.v);
  at::Tensor const middle =
      apply_onto(x, w.o, kept.attended.view({T, c.heads * c.head_dim}), c, w.attention_output_norm, kept.after_attention);
  if (!c.parallel) h = read(middle, c, w.post_norm, w.post_norm_bias, type, kept.before_mlp);
  if (w.experts.router.defined())
    return add_onto(middle, experts_forward(c, w.experts, h, kept.routes, kept.gate, kept.up), c, w.mlp_output_norm, kept.after_mlp);
  if (c.gated) kept.gate = apply(w.gate, h);
  kept.up = apply(w.up, h);
  return apply_onto(middle, w.down, inner(c, kept), c, w.mlp_output_norm, kept.after_mlp);
}

void layer_backward(transformer_config const& c, layer_tensors const& w, ops::rotation const* rotation, layer_tape const& stored, at::Tensor& gx,
                    at::Tensor const& of_routing, layer_tensors gradient) {
  std::int64_t const T = gx.size(0);
  at::ScalarType const type = ops::stream_type(w.o.weight);
  layer_tape const kept = stored.in(type);
  at::Tensor g = through_norm(c, gx, type, w.mlp_output_norm, kept.after_mlp, gradient.mlp_output_norm);
  auto const add_bias = [](at::Tensor& bias, at::Tensor const& dy) {
    if (bias.defined()) bias.add_(dy.sum(0, /*keepdim=*/false, bias.scalar_type()));
  };
  at::Tensor h = c.parallel ? kept.before_attention.output(w.input_norm, w.input_norm_bias, type)
                            : kept.before_mlp.output(w.post_norm, w.post_norm_bias, type);
  at::Tensor const of_mlp = w.experts.router.defined()
                                ? experts_backward(c, w.experts, h, kept.routes, kept.gate, kept.up, g, of_routing, gradient.experts)
                                : mlp_backward(c, w, kept, h, g, gradient);
  // In parallel, attention's part of the stream's gradient is what came; the MLP's joins it where both have read.
  if (!c.parallel) {
    kept.before_mlp.add_backward(of_mlp, w.post_norm, gx, gradient.post_norm);
    add_bias(gradient.post_norm_bias, of_mlp);
  }

  g = through_norm(c, gx, type, w.attention_output_norm, kept.after_attention, gradient.attention_output_norm);
  add_gradients(gradient.o, w.o, g, kept.attended.view({T, c.heads * c.head_dim}));
  auto d = kept.attention.backward(input_gradient(w.o, g).view_as(kept.q), kept.q, kept.k, kept.v, kept.attended);
  if (gradient.sinks.defined()) gradient.sinks.add_(d.sinks);
  if (rotation) rotation->grow_(d.q);
  auto const back = [&](at::Tensor const& dy, at::Tensor const& norm_weight, ops::rms_norm const& norm, at::Tensor& norm_gradient) {
    return head_norm_backward(rotation ? rotation->backward(dy) : dy, norm_weight, norm, norm_gradient).view({T, -1});
  };
  at::Tensor const gq = back(d.q, w.q_norm, kept.of_queries, gradient.q_norm), gk = back(d.k, w.k_norm, kept.of_keys, gradient.k_norm),
                   gv = d.v.view({T, -1});
  h = kept.before_attention.output(w.input_norm, w.input_norm_bias, type);
  add_gradients(gradient.q, w.q, gq, h);
  add_gradients(gradient.k, w.k, gk, h);
  add_gradients(gradient.v, w.v, gv, h);
  at::Tensor gh = input_gradient(w.v, gv, input_gradient(w.k, gk, input_gradient(w.q, gq)));
  if (c.parallel) gh.add_(of_mlp);
  add_bias(gradient.input_norm_bias, gh);
  kept.before_attention.add_backward(gh, w.input_norm, gx, gradient.input_norm);
}

}  // namespace kedge::llm
