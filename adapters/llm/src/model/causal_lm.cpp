// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/causal_lm.hpp>

#include <string>
#include <utility>

#include "head.hpp"
#include "ops.hpp"
#include "slots.hpp"

namespace kedge::llm {
namespace {

struct layer_tape {
  ops::rms_norm before_attention, before_mlp;
  at::Tensor q, k, v, attended;
  ops::shared_prompt_attention attention;
  at::Tensor gate, up;
};

at::Tensor indices(std::vector<std::int64_t> const& values, at::Device device) {
  return at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong).to(device);
}

}  // namespace

struct causal_lm::tape {
  std::vector<shared_prompt> prompts;
  at::Tensor tokens, rows;
  ops::rotation rotation;
  std::vector<layer_tape> layers;
  std::int64_t length = 0;
  ops::rms_norm final_norm;
  completion_head head;
};

causal_lm::pullback_type::pullback_type(causal_lm const& model, pack const& weights, std::unique_ptr<tape> kept)
    : model_(model), weights_(weights), tape_(std::move(kept)) {}
causal_lm::pullback_type::pullback_type(pullback_type&&) noexcept = default;
causal_lm::pullback_type::~pullback_type() = default;

causal_lm::causal_lm(transformer_config config, compute_settings settings)
    : config_(std::move(config)),
      settings_(settings),
      inverse_frequencies_(ops::inverse_frequencies(config_.rope, config_.head_dim).to(settings.device)) {}

pack causal_lm::weights_for(pack const& theta) const {
  pack weights;
  weights.reserve(theta.size());
  for (at::Tensor const& t : theta) weights.push_back(t.to(settings_.device, settings_.type));
  return weights;
}

namespace {

at::Tensor layer_forward(transformer_config const& c, pack const& w, std::size_t at_slot, at::Tensor const& x,
                         ops::rotation const& rotation, layer_tape& kept) {
  std::int64_t const T = x.size(0);
  kept.before_attention = ops::rms_norm(x, c.rms_norm_eps);
  at::Tensor h = kept.before_attention.output(w[at_slot + input_norm]);
  kept.q = rotation.forward(ops::linear(h, w[at_slot + q_proj]).view({T, c.heads, c.head_dim}));
  kept.k = rotation.forward(ops::linear(h, w[at_slot + k_proj]).view({T, c.kv_heads, c.head_dim}));
  kept.v = ops::linear(h, w[at_slot + v_proj]).view({T, c.kv_heads, c.head_dim});
  kept.attended = kept.attention.forward(kept.q, kept.k, kept.v);
  at::Tensor const middle = ops::linear_onto(x, kept.attended.view({T, c.heads * c.head_dim}), w[at_slot + o_proj]);
  kept.before_mlp = ops::rms_norm(middle, c.rms_norm_eps);
  h = kept.before_mlp.output(w[at_slot + post_norm]);
  kept.gate = ops::linear(h, w[at_slot + gate_proj]);
  kept.up = ops::linear(h, w[at_slot + up_proj]);
  return ops::linear_onto(middle, ops::swiglu(kept.gate, kept.up), w[at_slot + down_proj]);
}

// gx: gradient with respect to the layer's output, in the residual's type; becomes that of its input.
void layer_backward(transformer_config const& c, pack const& w, std::size_t at_slot, ops::rotation const& rotation,
                    layer_tape const& kept, at::Tensor& gx, pack& gradient) {
  std::int64_t const T = gx.size(0);
  auto type = kept.q.scalar_type();
  auto back = [&](layer_slot slot, at::Tensor const& g, at::Tensor const& x) {
    ops::add_weight_gradient(gradient[at_slot + slot], g, x);
  };
  at::Tensor g = gx.to(type);
  back(down_proj, g, ops::swiglu(kept.gate, kept.up));
  auto const [g_gate, g_up] = ops::swiglu_backward(at::mm(g, w[at_slot + down_proj]), kept.gate, kept.up);
  at::Tensor h = kept.before_mlp.output(w[at_slot + post_norm]);
  back(gate_proj, g_gate, h);
  back(up_proj, g_up, h);
  at::Tensor gh = at::mm(g_gate, w[at_slot + gate_proj]).addmm_(g_up, w[at_slot + up_proj]);
  gx.add_(kept.before_mlp.backward(gh, w[at_slot + post_norm], gradient[at_slot + post_norm]));

  g = gx.to(type);
  at::Tensor const attended = kept.attended.view({T, c.heads * c.head_dim});
  back(o_proj, g, attended);
  auto d = kept.attention.backward(at::mm(g, w[at_slot + o_proj]).view_as(kept.q), kept.q, kept.k, kept.v, kept.attended);
  at::Tensor const gq = rotation.backward(d.q).view({T, -1}), gk = rotation.backward(d.k).view({T, -1}), gv = d.v.view({T, -1});
  h = kept.before_attention.output(w[at_slot + input_norm]);
  back(q_proj, gq, h);
  back(k_proj, gk, h);
  back(v_proj, gv, h);
  gh = at::mm(gq, w[at_slot + q_proj]).addmm_(gk, w[at_slot + k_proj]).addmm_(gv, w[at_slot + v_proj]);
  gx.add_(kept.before_attention.backward(gh, w[at_slot + input_norm], gradient[at_slot + input_norm]));
}

}  // namespace

std::vector<double> causal_lm::compute(pack const& weights, ragged_batch const& batch, tape* kept) const {
  at::NoGradGuard const no_grad;
  slots const at_slot{config_};
  tape scratch;
  tape& t = kept ? *kept : scratch;
  t.prompts = batch.prompts;
  t.tokens = indices(batch.tokens, settings_.device);
  t.rows = indices(batch.rows, settings_.device);
  t.length = static_cast<std::int64_t>(batch.size());
  t.rotation = ops::rotation(indices(batch.positions, settings_.device), inverse_frequencies_, settings_.type);
  at::ScalarType const wide = settings_.type == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor x = weights[at_slot.embedding()].index_select(0, t.tokens).to(wide);
  t.layers.resize(static_cast<std::size_t>(kept ? config_.layers : 1));
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    layer_tape& layer = t.layers[kept ? static_cast<std::size_t>(i) : 0];
    layer.attention = ops::shared_prompt_attention(t.prompts);
    x = layer_forward(config_, weights, at_slot.layer(i), x, t.rotation, layer);
  }
  t.final_norm = ops::rms_norm(x.index_select(0, t.rows), config_.rms_norm_eps);
  t.head = completion_head(t.final_norm.output(weights[at_slot.final_norm()]), indices(batch.targets, settings_.device),
                           indices(batch.sequence, settings_.device), batch.sequences);
  return t.head.forward(weights[at_slot.head()], settings_.head_rows, kept ? settings_.kept_logits : 0);
}

causal_lm::forward_result causal_lm::forward(pack const& weights, ragged_batch const& batch) const {
  auto kept = std::make_unique<tape>();
  std::vector<double> logp = compute(weights, batch, kept.get());
  return {std::move(logp), pullback_type(*this, weights, std::move(kept))};
}

std::vector<double> causal_lm::log_probs(pack const& weights, ragged_batch const& batch) const {
  return compute(weights, batch, nullptr);
}

void causal_lm::pullback_type::operator()(std::span<double const> cotangent, pack& gradient) {
  at::NoGradGuard const no_grad;
  transformer_config const& c = model_.config();
  slots const at_slot{c};
  tape& t = *tape_;
  at::Tensor const gh = t.head.backward(cotangent, weights_[at_slot.head()], gradient[at_slot.head()]);
  at::Tensor const g_rows =
      t.final_norm.backward(gh, weights_[at_slot.final_norm()], gradient[at_slot.final_norm()]);
  at::Tensor gx = at::zeros({t.length, c.hidden}, g_rows.options()).index_add_(0, t.rows, g_rows);
  t.head = {};
  t.final_norm = {};
  for (std::int64_t i = c.layers; i-- > 0;) {
    layer_backward(c, weights_, at_slot.layer(i), t.rotation, t.layers.back(), gx, gradient);
    t.layers.pop_back();  // its memory serves the next layer's temporaries
  }
  gradient[at_slot.embedding()].index_add_(0, t.tokens, gx);
  tape_.reset();
}

}  // namespace kedge::llm
