// SPDX-License-Identifier: Apache-2.0
#include "layer.hpp"

namespace kedge::llm {
namespace {

ops::norm_settings norms_of(transformer_config const& c) { return {c.rms_norm_eps, c.norm_offset, c.norm}; }

// The stream grows by y, normalised first where the family does so.
void add_onto(ops::residual_stream& stream, at::Tensor const& y, transformer_config const& c, at::Tensor const& norm_weight, ops::rms_norm& norm) {
  if (!norm_weight.defined()) return stream.add(y, c.residual_scale);
  ops::residual_stream own{ops::wide(y), {}, 1};
  stream.add(ops::normalised(own, norms_of(c), norm_weight, {}, y.scalar_type(), norm), c.residual_scale);
}

// The stream grows by what the map makes of x, normalised first where the family does so. On the processor the product is added where it is made.
void apply_onto(ops::residual_stream& stream, linear_map const& map, at::Tensor const& x, transformer_config const& c, at::Tensor const& norm_weight,
                ops::rms_norm& norm) {
  if (norm_weight.defined() || c.residual_scale != 1 || !map.plain() || map.goes_fp8(x) || stream.waits_for_norms(x))
    return add_onto(stream, apply(map, x), c, norm_weight, norm);
  stream.x = llm::apply_onto(stream.sum(), map, x);
}

// The gradient of what a map gave, from that of the residual stream.
at::Tensor through_norm(transformer_config const& c, stream_gradient& g, at::ScalarType type, at::Tensor const& norm_weight, ops::rms_norm const& norm,
                        at::Tensor& norm_gradient) {
  at::Tensor const scaled = c.residual_scale == 1 ? g.wide : at::mul(g.wide, c.residual_scale);
  if (norm_weight.defined()) return norm.backward(scaled, norm_weight, norm_gradient, type);
  if (c.residual_scale != 1) return scaled.to(type);
  if (!g.narrow.defined()) g.narrow = g.wide.to(type);
  return g.narrow;
}

// Norms of [T, heads, d] over as many numbers as there are weights: those of a head, or of all.
at::Tensor head_norm(transformer_config const& c, at::Tensor const& x, at::Tensor const& weight, ops::rms_norm& norm) {
  if (!weight.defined()) return x;
  ops::residual_stream own{ops::wide(x).reshape({-1, weight.size(0)}).contiguous(), {}, 1};
  return ops::normalised(own, {c.rms_norm_eps, c.norm_offset}, weight, {}, weight.scalar_type(), norm).view(x.sizes());
}

at::Tensor head_norm_backward(at::Tensor const& g, at::Tensor const& weight, ops::rms_norm const& norm, at::Tensor& weight_gradient) {
  if (!weight.defined()) return g;
  return norm.backward(g.reshape({-1, weight.size(0)}), weight, weight_gradient, g.scalar_type()).view(g.sizes());
}

void add_bias_gradient(at::Tensor& bias, at::Tensor const& g) {
  if (bias.defined()) bias.add_(g.sum(0, /*keepdim=*/false, bias.scalar_type()));
}

joint_maps query_key_value(layer_tensors const& of) { return {of.q, of.k, of.v}; }
joint_maps gate_and_up(layer_tensors const& of) { return {of.gate, of.up}; }

// What the MLP's last map reads.
at::Tensor inner(transformer_config const& c, layer_tape const& kept) {
  return c.gated ? ops::gated(c.act, kept.gate, kept.up) : ops::activated(c.act, kept.up);
}

// The gradient of what the MLP read, from that of what it gave.
at::Tensor mlp_backward(transformer_config const& c, layer_tensors const& w, layer_tape const& kept, at::Tensor const& h, at::Tensor const& g,
                        layer_tensors& gradient) {
  auto [g_gate, g_up, again] = [&] {
    at::Tensor const g_inner = input_gradient(w.down, g);
    return c.gated ? ops::gated_backward(c.act, g_inner, kept.gate, kept.up)
                   : ops::gated_gradients{{}, ops::activated_backward(c.act, g_inner, kept.up), {}};
  }();
  add_gradients(gradient.down, w.down, g, again.defined() ? again : inner(c, kept));
  again = at::Tensor();
  if (!c.gated) {
    add_gradients(gradient.up, w.up, g_up, h);
    return input_gradient(w.up, g_up);
  }
  joint_maps const maps = gate_and_up(w);
  joint_maps into = gate_and_up(gradient);
  joint_maps::output_gradients const both = maps.joined({std::move(g_gate), std::move(g_up)});
  maps.add_gradients(into, both, h);
  return maps.input_gradient(both);
}

// The gradient of what attention read, from that of what it gave.
at::Tensor attention_backward(transformer_config const& c, layer_tensors const& w, ops::rotation const* rotation, layer_tape const& kept,
                              at::Tensor const& g, layer_tensors& gradient) {
  std::int64_t const T = g.size(0);
  add_gradients(gradient.o, w.o, g, kept.attended.view({T, c.heads * c.head_dim}));
  auto d = kept.attention.backward(input_gradient(w.o, g).view(kept.q.sizes()), kept.q, kept.k, kept.v, kept.attended);
  if (gradient.sinks.defined()) gradient.sinks.add_(d.sinks);
  if (rotation) rotation->backward_(d.q, d.k);
  joint_maps const maps = query_key_value(w);
  joint_maps into = query_key_value(gradient);
  joint_maps::output_gradients const all = maps.joined({head_norm_backward(d.q, w.q_norm, kept.of_queries, gradient.q_norm).view({T, -1}),
                                                        head_norm_backward(d.k, w.k_norm, kept.of_keys, gradient.k_norm).view({T, -1}), d.v.view({T, -1})});
  maps.add_gradients(into, all, kept.before_attention.output(w.input_norm, w.input_norm_bias, w.o.stream_type()));
  return maps.input_gradient(all);
}

}  // namespace

layer_tensors layer_tensors::in_fp8() const {
  layer_tensors other = *this;
  for (linear_map* const map : {&other.q, &other.k, &other.v, &other.o, &other.gate, &other.up, &other.down}) map->fp8 = true;
  return other;
}

layer_tape layer_tape::in(at::ScalarType type) const {
  layer_tape other = *this;
  other.input = at::Tensor();
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

void layer_forward(transformer_config const& c, layer_tensors const& w, ops::residual_stream& stream, ops::rotation const* rotation,
                   attention_step const& attend, layer_tape& kept) {
  std::int64_t const T = stream.x.size(0);
  at::ScalarType const type = w.o.stream_type();
  at::Tensor h = ops::normalised(stream, norms_of(c), w.input_norm, w.input_norm_bias, type, kept.before_attention);
  kept.input = stream.x;
  {
    std::vector<at::Tensor> const projected = query_key_value(w).apply(h);
    auto const heads = [&](std::size_t i) { return projected[i].view({T, -1, c.head_dim}); };
    kept.q = head_norm(c, heads(0), w.q_norm, kept.of_queries);
    kept.k = head_norm(c, heads(1), w.k_norm, kept.of_keys);
    kept.v = heads(2);
  }
  if (rotation) rotation->forward_(kept.q, kept.k);
  kept.attended = attend(kept.q, kept.k, kept.v);
  apply_onto(stream, w.o, kept.attended.view({T, c.heads * c.head_dim}), c, w.attention_output_norm, kept.after_attention);
  if (!c.parallel) h = ops::normalised(stream, norms_of(c), w.post_norm, w.post_norm_bias, type, kept.before_mlp);
  if (w.experts.router.defined())
    return add_onto(stream, experts_forward(c, w.experts, h, kept.routes, kept.gate, kept.up), c, w.mlp_output_norm, kept.after_mlp);
  if (c.gated) {
    std::vector<at::Tensor> const projected = gate_and_up(w).apply(h);
    kept.gate = projected[0];
    kept.up = projected[1];
  } else
    kept.up = apply(w.up, h);
  apply_onto(stream, w.down, inner(c, kept), c, w.mlp_output_norm, kept.after_mlp);
}

void layer_backward(transformer_config const& c, layer_tensors const& w, ops::rotation const* rotation, layer_tape const& stored, stream_gradient& gx,
                    at::Tensor const& of_routing, layer_tensors gradient) {
  at::ScalarType const type = w.o.stream_type();
  layer_tape const kept = stored.in(type);
  at::Tensor g = through_norm(c, gx, type, w.mlp_output_norm, kept.after_mlp, gradient.mlp_output_norm);
  at::Tensor const of_mlp = [&] {
    at::Tensor const h = c.parallel ? kept.before_attention.output(w.input_norm, w.input_norm_bias, type)
                                    : kept.before_mlp.output(w.post_norm, w.post_norm_bias, type);
    return w.experts.router.defined() ? experts_backward(c, w.experts, h, kept.routes, kept.gate, kept.up, g, of_routing, gradient.experts)
                                      : mlp_backward(c, w, kept, h, g, gradient);
  }();
  // In parallel, attention's part of the stream's gradient is what came; the MLP's joins it where both have read.
  if (!c.parallel) {
    kept.before_mlp.add_backward(of_mlp, w.post_norm, gx.wide, gradient.post_norm, gx.narrow, type);
    add_bias_gradient(gradient.post_norm_bias, of_mlp);
  }
  g = through_norm(c, gx, type, w.attention_output_norm, kept.after_attention, gradient.attention_output_norm);
  at::Tensor gh = attention_backward(c, w, rotation, kept, g, gradient);
  if (c.parallel) gh.add_(of_mlp);
  add_bias_gradient(gradient.input_norm_bias, gh);
  kept.before_attention.add_backward(gh, w.input_norm, gx.wide, gradient.input_norm, gx.narrow, type);
}

}  // namespace kedge::llm
