// SPDX-License-Identifier: Apache-2.0
#include "experts.hpp"

namespace kedge::llm {
namespace {

expert_routes route(transformer_config const& c, expert_tensors const& w, at::Tensor const& h) {
  expert_routes r;
  at::Tensor logits = ops::wide(ops::linear(h, w.router));
  if (w.router_bias.defined()) logits.add_(w.router_bias);
  r.probabilities = logits.softmax(-1);
  auto const [largest, chosen] = r.probabilities.topk(c.experts.chosen, -1);
  r.chosen = chosen;
  r.weights = c.experts.normalised ? largest / largest.sum(-1, /*keepdim=*/true) : largest;
  at::Tensor const flat = chosen.flatten();
  r.places = flat.argsort(/*stable=*/true, -1);
  r.tokens = r.places.div(c.experts.chosen, "floor");
  at::Tensor const counts = at::bincount(flat, {}, c.experts.count).cpu();
  r.begin.assign(1, 0);
  for (std::int64_t e = 0; e < c.experts.count; ++e)
    r.begin.push_back(r.begin.back() + counts.const_data_ptr<std::int64_t>()[e]);
  return r;
}

at::Tensor through_softmax(at::Tensor const& probabilities, at::Tensor const& g) {
  return at::sub(g, at::mul(probabilities, g).sum(-1, /*keepdim=*/true)).mul_(probabilities);
}

// Of the logits, from that of the weights, and of the probabilities where they have one of their own. Both ways to normalise are
// softmaxes, over those chosen or over all.
at::Tensor logit_gradient(transformer_config const& c, expert_routes const& r, at::Tensor const& of_weights, at::Tensor const& of_probabilities) {
  at::Tensor const zeros = at::zeros_like(r.probabilities);
  at::Tensor of_logits = c.experts.normalised ? zeros.scatter(-1, r.chosen, through_softmax(r.weights, of_weights))
                                              : through_softmax(r.probabilities, zeros.scatter(-1, r.chosen, of_weights));
  return of_probabilities.defined() ? of_logits.add_(through_softmax(r.probabilities, of_probabilities)) : of_logits;
}

// Gate's or up's numbers of what a map gives that makes both at once: halves, or by turns.
at::Tensor half(transformer_config const& c, at::Tensor const& both, std::int64_t which) {
  std::int64_t const size = c.experts.intermediate;
  return c.experts.names == expert_names::transposed ? both.slice(-1, which, 2 * size, 2) : both.narrow(-1, which * size, size);
}

at::Tensor clamped_gate(transformer_config const& c, at::Tensor const& gate) { return gate.clamp_max(c.experts.limit); }
at::Tensor clamped_up(transformer_config const& c, at::Tensor const& up) { return up.clamp(-c.experts.limit, c.experts.limit); }

// What an expert's last map reads.
at::Tensor inner(transformer_config const& c, at::Tensor const& gate, at::Tensor const& up) {
  if (c.experts.limit == 0) return ops::gated(c.act, gate, up);
  at::Tensor const g = clamped_gate(c, gate);
  return at::sigmoid(g * c.experts.sharpness).mul_(g).mul_(clamped_up(c, up).add_(1));
}

// With s = σ(a g), d(g s)/dg = s (1 + a g (1 − s)); beyond the limits there is no slope.
ops::gated_gradients inner_backward(transformer_config const& c, at::Tensor const& of_inner, at::Tensor const& gate, at::Tensor const& up) {
  if (c.experts.limit == 0) return ops::gated_backward(c.act, of_inner, gate, up);
  at::Tensor const g = clamped_gate(c, gate), u = clamped_up(c, up), ag = g * c.experts.sharpness, s = at::sigmoid(ag);
  at::Tensor const slope = at::rsub(s, 1).mul_(ag).add_(1).mul_(s);
  return {at::add(u, 1).mul_(of_inner).mul_(slope).mul_(gate.le(c.experts.limit)), at::mul(of_inner, g).mul_(s).mul_(up.abs().le_(c.experts.limit))};
}

// The gradient of what an expert read, from those of gate and up; adds those of their maps.
at::Tensor through_gate_and_up(transformer_config const& c, expert_maps const& maps, at::Tensor const& g_gate, at::Tensor const& g_up,
                               at::Tensor const& x, expert_maps& into) {
  if (!maps.up.there()) {
    at::Tensor const both = at::empty({x.size(0), 2 * c.experts.intermediate}, g_gate.options());
    half(c, both, 0).copy_(g_gate);
    half(c, both, 1).copy_(g_up);
    add_gradients(into.gate, maps.gate, both, x);
    return input_gradient(maps.gate, both);
  }
  add_gradients(into.gate, maps.gate, g_gate, x);
  add_gradients(into.up, maps.up, g_up, x);
  return input_gradient(maps.up, g_up, input_gradient(maps.gate, g_gate));
}

}  // namespace

at::Tensor experts_forward(transformer_config const& c, expert_tensors const& w, at::Tensor const& h, expert_routes& routes,
                           at::Tensor& gate, at::Tensor& up) {
  routes = route(c, w, h);
  at::Tensor out = at::zeros({h.size(0), c.hidden}, ops::wide(h).options());
  at::Tensor const weights = routes.weights.flatten().index_select(0, routes.places).unsqueeze(-1);
  gate = at::empty({routes.places.size(0), c.experts.intermediate}, h.options().dtype(ops::stream_type(w.router)));
  up = at::empty_like(gate);
  for (std::size_t e = 0; e < w.experts.size(); ++e) {
    std::int64_t const begin = routes.begin[e], size = routes.begin[e + 1] - begin;
    if (size == 0) continue;
    expert_maps const& maps = w.experts[e];
    at::Tensor const tokens = routes.tokens.narrow(0, begin, size), x = h.index_select(0, tokens);
    at::Tensor const first = apply(maps.gate, x), own_gate = gate.narrow(0, begin, size), own_up = up.narrow(0, begin, size);
    bool const both = !maps.up.there();
    own_gate.copy_(both ? half(c, first, 0) : first);
    own_up.copy_(both ? half(c, first, 1) : apply(maps.up, x));
    at::Tensor const y = ops::wide(apply(maps.down, inner(c, own_gate, own_up)));
    out.index_add_(0, tokens, at::mul(y, weights.narrow(0, begin, size)));
  }
  return out;
}

// With G = ∂/∂y_t of a row t and its weight w: ∂/∂w = G · y = (G W_down) · inner + G · b, so that y is not needed again.
at::Tensor experts_backward(transformer_config const& c, expert_tensors const& w, at::Tensor const& h, expert_routes const& routes,
                            at::Tensor const& gate, at::Tensor const& up, at::Tensor const& g, at::Tensor const& of_probabilities,
                            expert_tensors& gradient) {
  at::Tensor gh = at::zeros({h.size(0), c.hidden}, ops::wide(h).options());
  at::Tensor const weights = routes.weights.flatten().index_select(0, routes.places).unsqueeze(-1);
  at::Tensor of_weights = at::empty({routes.weights.numel()}, routes.weights.options());
  for (std::size_t e = 0; e < w.experts.size(); ++e) {
    std::int64_t const begin = routes.begin[e], size = routes.begin[e + 1] - begin;
    if (size == 0) continue;
    auto const rows = [&](at::Tensor const& x) { return x.narrow(0, begin, size); };
    expert_maps const& maps = w.experts[e];
    expert_maps& into = gradient.experts[e];
    at::Tensor const tokens = rows(routes.tokens), x = h.index_select(0, tokens), from = g.index_select(0, tokens);
    at::Tensor const own_gate = rows(gate), own_up = rows(up), made = inner(c, own_gate, own_up);
    at::Tensor g_inner = input_gradient(maps.down, from);
    at::Tensor of_weight = at::mul(g_inner, made).sum(-1, /*keepdim=*/false, of_weights.scalar_type());
    if (maps.down.bias.defined()) of_weight.add_(at::mv(ops::wide(from), ops::wide(maps.down.bias)));
    of_weights.index_copy_(0, rows(routes.places), of_weight);
    at::Tensor const share = rows(weights).to(g_inner.scalar_type());
    add_gradients(into.down, maps.down, at::mul(from, share.to(from.scalar_type())), made);
    auto const [g_gate, g_up, again] = inner_backward(c, g_inner.mul_(share), own_gate, own_up);
    at::Tensor const gx = through_gate_and_up(c, maps, g_gate, g_up, x, into);
    gh.index_add_(0, tokens, gx.to(gh.scalar_type()));
  }
  at::Tensor const of_logits = logit_gradient(c, routes, of_weights.view_as(routes.weights), of_probabilities).to(h.scalar_type());
  if (gradient.router.defined()) ops::add_weight_gradient(gradient.router, of_logits, ops::operand(h, w.router));
  if (gradient.router_bias.defined()) gradient.router_bias.add_(of_logits.sum(0, /*keepdim=*/false, gradient.router_bias.scalar_type()));
  return gh.add_(ops::input_gradient(of_logits, w.router));
}

}  // namespace kedge::llm
