// SPDX-License-Identifier: Apache-2.0
#include "experts.hpp"

namespace kedge::llm {
namespace {

expert_routes route(transformer_config const& c, at::Tensor const& router, at::Tensor const& h) {
  expert_routes r;
  r.probabilities = ops::wide(ops::linear(h, router)).softmax(-1);
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

// Of the logits, from that of the weights: both ways to normalise are softmaxes, over those chosen or over all.
at::Tensor logit_gradient(transformer_config const& c, expert_routes const& r, at::Tensor const& of_weights) {
  at::Tensor const zeros = at::zeros_like(r.probabilities);
  if (c.experts.normalised) {
    at::Tensor const inner = at::mul(r.weights, of_weights).sum(-1, /*keepdim=*/true);
    return zeros.scatter(-1, r.chosen, at::sub(of_weights, inner).mul_(r.weights));
  }
  at::Tensor const of_probabilities = zeros.scatter(-1, r.chosen, of_weights);
  at::Tensor const inner = at::mul(r.probabilities, of_probabilities).sum(-1, /*keepdim=*/true);
  return at::sub(of_probabilities, inner).mul_(r.probabilities);
}

void add_gradient(at::Tensor& gradient, at::Tensor const& g, at::Tensor const& x, at::Tensor const& weight) {
  if (gradient.defined()) ops::add_weight_gradient(gradient, g, ops::operand(x, weight));
}

}  // namespace

at::Tensor experts_forward(transformer_config const& c, expert_tensors const& w, at::Tensor const& h, expert_routes& routes,
                           at::Tensor& gate, at::Tensor& up) {
  routes = route(c, w.router, h);
  at::Tensor out = at::zeros({h.size(0), c.hidden}, ops::wide(h).options());
  at::Tensor const weights = routes.weights.flatten().index_select(0, routes.places).unsqueeze(-1);
  std::vector<at::Tensor> gates, ups;
  for (std::size_t e = 0; e < w.experts.size(); ++e) {
    std::int64_t const begin = routes.begin[e], size = routes.begin[e + 1] - begin;
    if (size == 0) continue;
    at::Tensor const tokens = routes.tokens.narrow(0, begin, size), x = h.index_select(0, tokens);
    at::Tensor const& g = gates.emplace_back(ops::linear(x, w.experts[e].gate));
    at::Tensor const& u = ups.emplace_back(ops::linear(x, w.experts[e].up));
    at::Tensor const y = ops::wide(ops::linear(ops::gated(c.act, g, u), w.experts[e].down));
    out.index_add_(0, tokens, at::mul(y, weights.narrow(0, begin, size)));
  }
  gate = at::cat(gates);
  up = at::cat(ups);
  return out;
}

// With G = ∂/∂y_t of a row t and its weight w: ∂/∂w = G · (W_down inner) = (G W_down) · inner, so that y is not needed again.
at::Tensor experts_backward(transformer_config const& c, expert_tensors const& w, at::Tensor const& h,
                            expert_routes const& routes, at::Tensor const& gate, at::Tensor const& up, at::Tensor const& g,
                            expert_tensors& gradient) {
  at::Tensor gh = at::zeros({h.size(0), c.hidden}, ops::wide(h).options());
  at::Tensor const weights = routes.weights.flatten().index_select(0, routes.places).unsqueeze(-1);
  at::Tensor of_weights = at::empty({routes.weights.numel()}, routes.weights.options());
  for (std::size_t e = 0; e < w.experts.size(); ++e) {
    std::int64_t const begin = routes.begin[e], size = routes.begin[e + 1] - begin;
    if (size == 0) continue;
    auto const rows = [&](at::Tensor const& x) { return x.narrow(0, begin, size); };
    at::Tensor const tokens = rows(routes.tokens), x = h.index_select(0, tokens), from = g.index_select(0, tokens);
    at::Tensor const own_gate = rows(gate).contiguous(), own_up = rows(up).contiguous(),
                     inner = ops::gated(c.act, own_gate, own_up);
    at::Tensor g_inner = ops::input_gradient(from, w.experts[e].down);
    of_weights.index_copy_(0, rows(routes.places),
                           at::mul(g_inner, inner).sum(-1, /*keepdim=*/false, of_weights.scalar_type()));
    at::Tensor const share = rows(weights).to(g_inner.scalar_type());
    expert_maps& into = gradient.experts[e];
    add_gradient(into.down, at::mul(from, share.to(from.scalar_type())), inner, w.experts[e].down);
    auto const [g_gate, g_up] = ops::gated_backward(c.act, g_inner.mul_(share), own_gate, own_up);
    add_gradient(into.gate, g_gate, x, w.experts[e].gate);
    add_gradient(into.up, g_up, x, w.experts[e].up);
    at::Tensor gx = ops::input_gradient(g_gate, w.experts[e].gate);
    ops::add_input_gradient(gx, g_up, w.experts[e].up);
    gh.index_add_(0, tokens, gx.to(gh.scalar_type()));
  }
  at::Tensor const of_logits = logit_gradient(c, routes, of_weights.view_as(routes.weights)).to(h.scalar_type());
  add_gradient(gradient.router, of_logits, h, w.router);
  return gh.add_(ops::input_gradient(of_logits, w.router));
}

}  // namespace kedge::llm
