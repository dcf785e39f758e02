// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/memory_plan.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include "gpu_ops.hpp"
#include "host_ops.hpp"
#include "model_tensors.hpp"
#include "passes.hpp"
#include "ring_attention.hpp"
#include "side_by_side.hpp"
#include "varlen_attention.hpp"
#include "weight_division.hpp"

namespace kedge::llm {
namespace {

// Sizes of the tensors must follow from a size_class, which those of experts don't, and on a GPU attention must read its segments from
// there.
bool can_record(transformer_config const& c, compute_settings const& settings) {
  bool const fixed = c.experts.count == 0 && !c.sinks && !ops::rotates_by_length(c.rope) && !ops::rotates_by_length(c.local_rope);
  return fixed && (!settings.device.is_cuda() || ops::takes_varlen(settings.device, settings.type, c.head_dim, c.attention_soft_cap));
}

}  // namespace

bool fast_fp32_products() { return !host_ops::rounds_operands(); }

causal_lm::pullback_type::pullback_type(causal_lm const& model, pack const& weights, std::unique_ptr<tape> kept)
    : model_(model), weights_(weights), tape_(std::move(kept)) {}
causal_lm::pullback_type::pullback_type(pullback_type&&) noexcept = default;
causal_lm::pullback_type::~pullback_type() = default;

causal_lm::causal_lm(transformer_config config, compute_settings settings) : config_(std::move(config)), settings_(settings) {
  if (settings_.graphs && can_record(config_, settings_)) recorder_ = std::make_shared<pass_recorder>(settings_.device);
}

causal_lm::causal_lm(transformer_config config, compute_settings settings, lora_settings const& lora, pack const& base)
    : causal_lm(config, settings, lora, frozen_base(config, settings, lora, base)) {}

causal_lm::causal_lm(transformer_config config, compute_settings settings, lora_settings const& lora, base_weights base)
    : causal_lm(std::move(config), settings) {
  settings_.fp32_weights = false;  // the base has no masters
  adapted_ = std::make_shared<adapted_base const>(adapted_base{adapter_layout(config_, lora), std::move(base.tensors), std::move(base.stored)});
  config_ = adapted_->layout.config();
}

std::vector<parameter> causal_lm::parameters() const { return adapted_ ? adapted_->layout.parameters() : parameters_of(config_); }

bool causal_lm::shares_prefixes() const { return !ops::rotates_by_length(config_.rope) && !ops::rotates_by_length(config_.local_rope); }

at::ScalarType causal_lm::weights_type() const { return settings_.fp32_weights && settings_.type == at::kBFloat16 ? at::kFloat : settings_.type; }

pack causal_lm::weights_for(pack const& theta) const {
  at::ScalarType const type = weights_type();
  if (division_ && division_->divides_weights()) return division_->weights_for(theta, settings_.device, type);
  pack weights = theta;
  convert_side_by_side(weights, kin_of(parameters(), theta.size()), settings_.device, type);
  return weights;
}

void causal_lm::divide(std::shared_ptr<weight_division const> by) {
  division_ = std::move(by);
  recorder_.reset();
}

pack causal_lm::whole(pack const& weights) const { return division_ && division_->divides_weights() ? division_->whole(weights) : weights; }

namespace {

// A pass's weights, of the unit that it has entered where they are divided.
class pass_weights {
 public:
  pass_weights(pack const& all, std::unique_ptr<unit_pass> divided) : divided_(std::move(divided)), all_(divided_ ? divided_->weights() : all) {}
  [[nodiscard]] pack const& all() const { return all_; }
  [[nodiscard]] pack& gradient(pack& whole) { return divided_ ? divided_->gradient() : whole; }
  void enter(std::int64_t unit) {
    if (divided_) divided_->enter(unit);
  }
  void finish() {
    if (divided_) divided_->finish();
  }

 private:
  std::unique_ptr<unit_pass> divided_;
  pack const& all_;
};

bool keeps_layers(transformer_config const& c, compute_settings const& settings, std::int64_t tokens) {
  auto const bytes = activation_bytes_per_token(c, static_cast<std::int64_t>(at::elementSize(settings.type)));
  return tokens <= settings.activation_bytes / bytes;
}

}  // namespace

namespace {

// Adds how a layer spread the tokens of a batch, each as often as it stands in a sequence.
void add_use(expert_routes const& routes, at::Tensor const& copies, row_tensors& out) {
  at::Tensor const probabilities = at::mv(routes.probabilities.to(at::kDouble).t(), copies);
  at::Tensor const each = copies.unsqueeze(-1).expand(routes.chosen.sizes()).flatten();
  at::Tensor const chosen = at::zeros_like(probabilities).index_add_(0, routes.chosen.flatten(), each);
  out.probabilities = out.probabilities.defined() ? out.probabilities.add_(probabilities) : probabilities;
  out.chosen = out.chosen.defined() ? out.chosen.add_(chosen) : chosen;
}

expert_use use_of(transformer_config const& c, row_tensors const& out) {
  if (!out.chosen.defined()) return {};
  auto const experts = static_cast<std::size_t>(c.experts.count);
  at::Tensor const numbers = at::stack({out.chosen.to(at::kDouble), out.probabilities.to(at::kDouble)}).to(at::kCPU);
  double const* const all = numbers.const_data_ptr<double>();
  expert_use use{{all, all + experts}, {all + experts, all + 2 * experts}};
  for (double const n : use.chosen) use.tokens += n / static_cast<double>(c.experts.chosen);
  return use;
}

}  // namespace

namespace {

// Of passes over batches. Decoding has too few rows at a time for 8 bits to pay.
layer_tensors layer_of(causal_lm const& model, pack const& weights, std::int64_t i) {
  layer_tensors const layer = model_tensors::weights(model, weights).layer(i);
  return model.settings().fp8 ? layer.in_fp8() : layer;
}

void pass_layer(causal_lm const& model, pack const& weights, causal_lm::tape const& t, std::int64_t i, ops::residual_stream& stream, layer_tape& layer) {
  transformer_config const& c = model.config();
  layer_settings const of_layer = c.layer(i);
  layer_tensors const own = layer_of(model, weights, i);
  layer.attention = ops::shared_prompt_attention(
      t.batch.segments, {.scale = c.score_scale(), .soft_cap = c.attention_soft_cap, .window = of_layer.window, .sinks = own.sinks});
  auto const attend = [&](at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) { return layer.attention.forward(q, k, v); };
  layer_forward(c, own, stream, t.rotations.of(of_layer), attend, layer);
}

}  // namespace

row_tensors causal_lm::forward_pass(pack const& weights, tape& t, bool keep, row_figures const& wanted) const {
  pass_weights of(weights, division_ ? division_->forward(weights) : nullptr);
  model_tensors const w = model_tensors::weights(*this, of.all());
  of.enter(before_layers);
  batch_inputs const& batch = t.batch;
  t.rotations = {config_, batch.positions, batch.frequencies, batch.local_frequencies, settings_.type};
  ops::residual_stream stream{embed(config_, w.embedding(), batch.tokens), {}, 1};
  bool const keeps = keep && keeps_layers(config_, settings_, t.part ? t.most_tokens : stream.x.size(0));
  layer_tape passing;
  row_tensors out;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    layer_tape& layer = keeps ? t.layers.emplace_back() : passing;
    of.enter(i);
    pass_layer(*this, of.all(), t, i, stream, layer);
    if (keep && !keeps) t.inputs.push_back(layer.input);
    if (wanted.routing && config_.has_experts(i)) add_use(layer.routes, batch.copies, out);
    if (keeps) layer = layer.in(settings_.type);
  }
  if (t.part && t.part->rows.empty()) {  // other processes have them all
    of.finish();
    return out;
  }
  ops::residual_stream of_rows = stream.rows(batch.rows);
  stream = {};
  of.enter(config_.layers);
  at::Tensor const hidden = ops::normalised(of_rows, {config_.rms_norm_eps, config_.norm_offset, config_.norm}, w.final_norm(), w.final_norm_bias(),
                                            settings_.type, t.final_norm);
  if (config_.lm_head) {
    t.head = completion_head(hidden, batch.targets, settings_.temperature / config_.logit_scale, config_.logit_soft_cap, settings_.label_smoothing);
    auto const head = t.head.forward(w.head(), settings_.head_rows, keep ? settings_.kept_logits : 0, wanted);
    out = {.logp = head.logp, .value = {}, .entropy = head.entropy, .log_squares = head.log_squares,
           .log_sum = head.log_sum, .mean_logit = head.mean_logit, .likeliest = head.likeliest,
           .chosen = out.chosen, .probabilities = out.probabilities};
  }
  if (config_.scalar_head) {
    t.scalar = scalar_head(hidden);
    out.value = t.scalar.forward(w.scalar_head());
  }
  of.finish();
  return out;
}

row_outputs causal_lm::compute(pack const& weights, ragged_batch const& batch, tape* kept, row_figures const& wanted) const {
  at::NoGradGuard const no_grad;
  tape scratch;
  tape& t = kept ? *kept : scratch;
  if (settings_.context) return compute_together(weights, batch, t, kept, wanted);
  t.sequence = batch.sequence;
  t.weights = batch.weights;
  if (auto const size = recorder_ ? size_class(batch) : std::nullopt) {
    t.batch = inputs_of(config_, settings_, padded(batch, *size), &*size);
    if (kept) t.recorded = recorder_->find(weights, *size, wanted);
  } else {
    t.batch = inputs_of(config_, settings_, batch);
  }
  row_tensors const out = t.recorded ? t.recorded->forward(*this, weights, t.batch) : forward_pass(weights, t, kept, wanted);
  row_outputs figures = on_host(out, batch.rows.size());
  figures.routing = use_of(config_, out);
  return figures;
}

row_outputs causal_lm::compute_together(pack const& weights, ragged_batch const& batch, tape& t, bool keep, row_figures const& wanted) const {
  context_division const division(batch, settings_.context->rank(), settings_.context->size());
  if (division.least_tokens() == 0)
    throw error("a batch of " + std::to_string(batch.size()) + " tokens is too short for " + std::to_string(settings_.context->size()) +
                " processes to share; lower --context_parallel_size");
  auto const part = std::make_shared<context_part const>(batch, division);
  t.part = part;
  t.most_tokens = division.most_tokens();
  t.sequence = part->batch.sequence;
  t.weights = part->batch.weights;
  t.batch = inputs_of(config_, settings_, part->batch);
  t.batch.segments.ring = std::make_shared<ops::ring_segments const>(ops::ring_segments{*settings_.context, division});
  row_outputs figures = on_host(forward_pass(weights, t, keep, wanted), part->rows.size());
  for (auto const& [is_there, figure] :
       {std::pair(config_.lm_head, &row_outputs::logp), std::pair(config_.scalar_head, &row_outputs::value), std::pair(wanted.entropy, &row_outputs::entropy),
        std::pair(wanted.log_squares, &row_outputs::log_squares), std::pair(wanted.logits, &row_outputs::log_sum), std::pair(wanted.logits, &row_outputs::mean_logit),
        std::pair(wanted.logits, &row_outputs::likeliest)})
    if (is_there) part->complete(*settings_.context, figures.*figure);
  return figures;
}

void causal_lm::share_sequences(std::shared_ptr<context_ring> with) {
  recorder_.reset();
  std::vector<double> budgets(static_cast<std::size_t>(with->size()));
  budgets[static_cast<std::size_t>(with->rank())] = static_cast<double>(settings_.activation_bytes);
  with->sum(budgets);
  constexpr double no_limit = 0x1p62;
  if (double const least = *std::min_element(budgets.begin(), budgets.end()); least < no_limit) settings_.activation_bytes = static_cast<std::int64_t>(least);
  settings_.context = std::move(with);
}

std::size_t causal_lm::recorded_runs() const { return recorder_ ? recorder_->runs : 0; }

causal_lm::row_result causal_lm::forward_rows(pack const& weights, ragged_batch const& batch, row_figures const& wanted) const {
  auto kept = std::make_unique<tape>();
  row_outputs out = compute(weights, batch, kept.get(), wanted);
  return {std::move(out), pullback_type(*this, weights, std::move(kept))};
}

row_outputs causal_lm::rows(pack const& weights, ragged_batch const& batch, row_figures const& wanted) const {
  return compute(weights, batch, nullptr, wanted);
}

causal_lm::forward_result causal_lm::forward(pack const& weights, ragged_batch const& batch) const {
  row_result rows = forward_rows(weights, batch);
  return {sums_by_sequence(rows.out.logp, batch), std::move(rows.pullback)};
}

std::vector<double> causal_lm::log_probs(pack const& weights, ragged_batch const& batch) const {
  return sums_by_sequence(rows(weights, batch).logp, batch);
}

void causal_lm::pullback_type::operator()(std::span<double const> cotangent, pack& gradient, layer_callback const& complete,
                                          std::span<double const> routing) {
  std::vector<double> rows;
  rows.reserve(tape_->sequence.size());
  for (std::int64_t const sequence : tape_->sequence) rows.push_back(cotangent[static_cast<std::size_t>(sequence)]);
  for (std::size_t r = 0; r < tape_->weights.size(); ++r) rows[r] *= tape_->weights[r];
  pass(rows, {}, gradient, complete, routing);
}

void causal_lm::pullback_type::operator()(std::span<double const> logp, std::span<double const> value, pack& gradient,
                                          layer_callback const& complete, std::span<double const> routing) {
  if (!tape_->part) return pass(logp, value, gradient, complete, routing);
  pass(tape_->part->own(logp), tape_->part->own(value), gradient, complete, routing);
}

void causal_lm::pullback_type::pass(std::span<double const> logp, std::span<double const> value, pack& gradient, layer_callback const& complete,
                                    std::span<double const> routing) {
  at::NoGradGuard const no_grad;
  row_slopes const slopes(logp, value, tape_->batch, routing);
  if (!slopes.logp.defined() && !slopes.value.defined() && !tape_->part) return;  // with others it goes on: they wait for keys
  if (tape_->recorded) {
    tape_->recorded->backward(model_, weights_, slopes, gradient);
    for (std::int64_t layer = model_.config().layers; complete && layer >= 0; --layer) complete(layer);
  } else {
    model_.backward_pass(weights_, *tape_, slopes, gradient, complete);
  }
  tape_.reset();
}

namespace {

// Gradients of rows as those of the tokens that they are read at.   g: [R, H] -> [T, H]
at::Tensor spread(batch_inputs const& batch, at::Tensor const& g) {
  std::int64_t const sizes[] = {batch.tokens.size(0), g.size(1)};
  if (!batch.row_starts.defined() || !gpu_ops::takes(g)) return at::zeros(sizes, g.options()).index_add_(0, batch.rows, g);
  at::Tensor const all = at::empty(sizes, g.options());
  gpu_ops::reduce(batch.row_starts, batch.row_places, g, {}, all, {});
  return all;
}

}  // namespace

void causal_lm::backward_pass(pack const& weights, tape& t, row_slopes const& slopes, pack& gradient, layer_callback const& complete) const {
  transformer_config const& c = config_;
  pass_weights of(weights, division_ ? division_->backward(weights, gradient) : nullptr);
  model_tensors const w = model_tensors::weights(*this, of.all()), into = model_tensors::gradients(*this, of.gradient(gradient));
  of.enter(c.layers);
  linear_map of_head = into.head();
  at::Tensor gh, of_scalar_head = into.scalar_head(), of_norm = into.final_norm(), of_norm_bias = into.final_norm_bias();
  if (slopes.logp.defined()) gh = t.head.backward(slopes.logp, w.head(), of_head);
  if (slopes.value.defined()) {
    at::Tensor const g = t.scalar.backward(slopes.value, w.scalar_head(), of_scalar_head);
    gh = gh.defined() ? gh.add_(g) : g;
  }
  stream_gradient gx;
  if (gh.defined()) {
    if (of_norm_bias.defined()) of_norm_bias.add_(gh.sum(0, /*keepdim=*/false, of_norm_bias.scalar_type()));
    gx.wide = spread(t.batch, t.final_norm.backward(gh, w.final_norm(), of_norm, t.final_norm.x.scalar_type()));
  } else {  // other processes have all rows
    gx.wide = at::zeros({t.batch.tokens.size(0), c.hidden}, at::TensorOptions(settings_.device).dtype(settings_.type == at::kDouble ? at::kDouble : at::kFloat));
  }
  t.head = {};
  t.scalar = {};
  t.final_norm = {};
  if (complete) complete(c.layers);
  at::Tensor const of_routing = slopes.routing.defined() ? at::outer(t.batch.copies, slopes.routing).to(gx.wide.scalar_type()) : at::Tensor();
  for (std::int64_t i = c.layers; i-- > 0;) {
    of.enter(i);
    if (!t.inputs.empty()) {
      ops::residual_stream again{t.inputs.back(), {}, 1};
      pass_layer(*this, of.all(), t, i, again, t.layers.emplace_back());
      t.layers.back() = t.layers.back().in(settings_.type);
      t.inputs.pop_back();
    }
    layer_backward(c, layer_of(*this, of.all(), i), t.rotations.of(c.layer(i)), t.layers.back(), gx, of_routing, into.layer(i));
    t.layers.pop_back();  // its memory serves the next layer's temporaries
    if (complete) complete(i);
  }
  of.enter(before_layers);
  linear_map of_embedding = into.embedding();
  if (of_embedding.weight.defined() || of_embedding.a.defined())
    add_look_up_gradients(of_embedding, w.embedding(), t.batch.tokens, c.embedding_scale == 1 ? gx.wide : gx.wide.mul_(c.embedding_scale));
  of.finish();
}

}  // namespace kedge::llm
