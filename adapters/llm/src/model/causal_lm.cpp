// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/memory_plan.hpp>

#include <algorithm>
#include <utility>

#include "fused.hpp"
#include "head.hpp"
#include "model_tensors.hpp"
#include "on_device.hpp"
#include "rope.hpp"

namespace kedge::llm {
namespace {

at::Tensor indices(std::vector<std::int64_t> const& values, at::Device device) {
  return on_device(at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong), device);
}

}  // namespace

bool fast_fp32_products() { return fused::multiplies(at::empty({0}, at::kBFloat16)) && fused::takes(at::empty({0}, at::kFloat)); }

struct causal_lm::tape {
  std::vector<shared_prompt> prompts;
  at::Tensor tokens, rows;
  ops::rotations rotations;
  std::vector<layer_tape> layers;   // empty where layers are computed again, from
  std::vector<at::Tensor> inputs;
  std::int64_t length = 0;
  ops::rms_norm final_norm;
  completion_head head;
  scalar_head scalar;
  std::vector<std::int64_t> sequence;  // of each row
};

causal_lm::pullback_type::pullback_type(causal_lm const& model, pack const& weights, std::unique_ptr<tape> kept)
    : model_(model), weights_(weights), tape_(std::move(kept)) {}
causal_lm::pullback_type::pullback_type(pullback_type&&) noexcept = default;
causal_lm::pullback_type::~pullback_type() = default;

causal_lm::causal_lm(transformer_config config, compute_settings settings) : config_(std::move(config)), settings_(settings) {}

causal_lm::causal_lm(transformer_config config, compute_settings settings, lora_settings const& lora, pack const& base)
    : causal_lm(std::move(config), settings) {
  settings_.fp32_weights = false;  // the base has no masters
  adapted_ = std::make_shared<adapted_base const>(adapted_base{adapter_layout(config_, lora), weights_for(base)});
}

std::vector<parameter> causal_lm::parameters() const { return adapted_ ? adapted_->layout.parameters() : parameters_of(config_); }

bool causal_lm::shares_prefixes() const { return !ops::rotates_by_length(config_.rope) && !ops::rotates_by_length(config_.local_rope); }

pack causal_lm::weights_for(pack const& theta) const {
  at::ScalarType const type = settings_.fp32_weights && settings_.type == at::kBFloat16 ? at::kFloat : settings_.type;
  pack weights;
  weights.reserve(theta.size());
  for (at::Tensor const& t : theta) weights.push_back(t.to(settings_.device, type));
  return weights;
}

namespace {

ops::rotations rotations_of(transformer_config const& c, ragged_batch const& batch, compute_settings const& settings) {
  auto const frequencies = [&](rope_settings const& rope) { return ops::frequencies_of(rope, c.head_dim, batch.prompts).to(settings.device); };
  auto const local = [](layer_settings const& layer) { return layer.rope == rotary::local; };
  bool const has_local = std::any_of(c.attention.begin(), c.attention.end(), local);
  return {c, indices(batch.positions, settings.device), frequencies(c.rope), has_local ? frequencies(c.local_rope) : at::Tensor(), settings.type};
}

bool keeps_layers(transformer_config const& c, compute_settings const& settings, std::size_t tokens) {
  auto const bytes = activation_bytes_per_token(c, static_cast<std::int64_t>(at::elementSize(settings.type)));
  return static_cast<std::int64_t>(tokens) <= settings.activation_bytes / bytes;
}

}  // namespace

at::Tensor causal_lm::forward_layer(pack const& weights, tape const& t, std::int64_t i, at::Tensor const& x, layer_tape& layer) const {
  layer_settings const of_layer = config_.layer(i);
  layer.attention = ops::shared_prompt_attention(
      t.prompts, {.scale = config_.score_scale(), .soft_cap = config_.attention_soft_cap, .window = of_layer.window});
  auto const attend = [&](at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) { return layer.attention.forward(q, k, v); };
  return layer_forward(config_, model_tensors::weights(*this, weights).layer(i), x, t.rotations.of(of_layer), attend, layer);
}

row_outputs causal_lm::compute(pack const& weights, ragged_batch const& batch, tape* kept, bool entropies) const {
  at::NoGradGuard const no_grad;
  model_tensors const w = model_tensors::weights(*this, weights);
  tape scratch;
  tape& t = kept ? *kept : scratch;
  t.prompts = batch.prompts;
  t.sequence = batch.sequence;
  t.tokens = indices(batch.tokens, settings_.device);
  t.rows = indices(batch.rows, settings_.device);
  t.length = static_cast<std::int64_t>(batch.size());
  t.rotations = rotations_of(config_, batch, settings_);
  at::Tensor x = embed(config_, w.embedding(), t.tokens);
  bool const keeps = kept && keeps_layers(config_, settings_, batch.size());
  layer_tape passing;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    if (kept && !keeps) t.inputs.push_back(x);
    x = forward_layer(weights, t, i, x, keeps ? t.layers.emplace_back() : passing);
    if (keeps) t.layers.back() = t.layers.back().in(settings_.type);
  }
  t.final_norm = ops::rms_norm(x.index_select(0, t.rows), config_.rms_norm_eps, config_.norm_offset);
  at::Tensor const hidden = t.final_norm.output(w.final_norm());
  row_outputs out;
  if (config_.lm_head) {
    t.head = completion_head(hidden, indices(batch.targets, settings_.device), settings_.temperature, config_.logit_soft_cap);
    auto head = t.head.forward(w.head(), settings_.head_rows, kept ? settings_.kept_logits : 0, entropies);
    out.logp = std::move(head.logp);
    out.entropy = std::move(head.entropy);
  }
  if (config_.scalar_head) {
    t.scalar = scalar_head(hidden);
    out.value = t.scalar.forward(w.scalar_head());
  }
  return out;
}

causal_lm::row_result causal_lm::forward_rows(pack const& weights, ragged_batch const& batch, bool entropies) const {
  auto kept = std::make_unique<tape>();
  row_outputs out = compute(weights, batch, kept.get(), entropies);
  return {std::move(out), pullback_type(*this, weights, std::move(kept))};
}

row_outputs causal_lm::rows(pack const& weights, ragged_batch const& batch) const { return compute(weights, batch, nullptr, false); }

namespace {

std::vector<double> by_sequence(std::vector<double> const& rows, ragged_batch const& batch) {
  std::vector<double> sums(batch.sequences);
  for (std::size_t r = 0; r < rows.size(); ++r) sums[static_cast<std::size_t>(batch.sequence[r])] += rows[r];
  return sums;
}

}  // namespace

causal_lm::forward_result causal_lm::forward(pack const& weights, ragged_batch const& batch) const {
  row_result rows = forward_rows(weights, batch);
  return {by_sequence(rows.out.logp, batch), std::move(rows.pullback)};
}

std::vector<double> causal_lm::log_probs(pack const& weights, ragged_batch const& batch) const {
  return by_sequence(rows(weights, batch).logp, batch);
}

void causal_lm::pullback_type::operator()(std::span<double const> cotangent, pack& gradient, layer_callback const& complete) {
  std::vector<double> rows;
  rows.reserve(tape_->sequence.size());
  for (std::int64_t const sequence : tape_->sequence) rows.push_back(cotangent[static_cast<std::size_t>(sequence)]);
  (*this)(rows, {}, gradient, complete);
}

void causal_lm::pullback_type::operator()(std::span<double const> logp, std::span<double const> value, pack& gradient,
                                            layer_callback const& complete) {
  at::NoGradGuard const no_grad;
  transformer_config const& c = model_.config();
  model_tensors const w = model_tensors::weights(model_, weights_), into = model_tensors::gradients(model_, gradient);
  tape& t = *tape_;
  at::Tensor gh, of_head = into.head(), of_scalar_head = into.scalar_head(), of_norm = into.final_norm(), of_embedding = into.embedding();
  if (!logp.empty()) gh = t.head.backward(logp, w.head(), of_head);
  if (!value.empty()) {
    at::Tensor const g = t.scalar.backward(value, w.scalar_head(), of_scalar_head);
    gh = gh.defined() ? gh.add_(g) : g;
  }
  if (!gh.defined()) return;
  at::Tensor const g_rows = t.final_norm.backward(gh, w.final_norm(), of_norm);
  at::Tensor gx = at::zeros({t.length, c.hidden}, g_rows.options()).index_add_(0, t.rows, g_rows);
  t.head = {};
  t.scalar = {};
  t.final_norm = {};
  if (complete) complete(c.layers);
  for (std::int64_t i = c.layers; i-- > 0;) {
    if (!t.inputs.empty()) {
      model_.forward_layer(weights_, t, i, t.inputs.back(), t.layers.emplace_back());
      t.layers.back() = t.layers.back().in(model_.settings().type);
      t.inputs.pop_back();
    }
    layer_backward(c, w.layer(i), t.rotations.of(c.layer(i)), t.layers.back(), gx, into.layer(i));
    t.layers.pop_back();  // its memory serves the next layer's temporaries
    if (complete) complete(i);
  }
  if (of_embedding.defined()) of_embedding.index_add_(0, t.tokens, gx, c.embedding_scale);
  tape_.reset();
}

}  // namespace kedge::llm
