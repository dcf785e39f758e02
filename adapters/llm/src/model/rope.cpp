// SPDX-License-Identifier: Apache-2.0
#include "rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kedge::llm::ops {
namespace {

at::Tensor powers(double theta, std::int64_t d) { return at::pow(theta, at::arange(0, d, 2, at::kFloat).div_(static_cast<double>(d))); }

at::Tensor llama3(rope_settings const& rope, at::Tensor const& frequency) {
  at::Tensor const wavelength = at::reciprocal(frequency).mul_(2 * std::numbers::pi);
  at::Tensor const smooth = at::reciprocal(wavelength)
                                .mul_(static_cast<double>(rope.original_length))
                                .sub_(rope.low_frequency_factor)
                                .div_(rope.high_frequency_factor - rope.low_frequency_factor)
                                .clamp_(0, 1);
  return frequency * (smooth + (1 - smooth) / rope.factor);
}

// Arithmetic between the frequency and its share, along a ramp of coordinates: arXiv 2309.00071, section 3.2.
at::Tensor yarn(rope_settings const& rope, std::int64_t d, at::Tensor const& frequency) {
  auto const coordinate = [&](double turns) {
    return static_cast<double>(d) * std::log(static_cast<double>(rope.original_length) / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  double low = coordinate(rope.beta_fast), high = coordinate(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(d - 1));
  if (low == high) high += 0.001;
  at::Tensor const slow = at::arange(d / 2, at::kFloat).sub_(low).div_(high - low).clamp_(0, 1);
  return frequency * (slow / rope.factor + (1 - slow));
}

std::int64_t longest(shared_prompt const& group) {
  auto const most = std::max_element(group.completions.begin(), group.completions.end());
  return group.prefix.size + group.prompt + (most == group.completions.end() ? 0 : *most);
}

}  // namespace

at::Tensor inverse_frequencies(rope_settings const& rope, std::int64_t head_dim, std::int64_t length) {
  auto const d = static_cast<std::int64_t>(rope.share * static_cast<double>(head_dim));
  bool const beyond = length > rope.original_length;
  double theta = rope.theta;
  if (rope.type == rope_type::dynamic && beyond) {
    double const grown = rope.factor * static_cast<double>(length) / static_cast<double>(rope.original_length) - (rope.factor - 1);
    theta *= std::pow(grown, static_cast<double>(d) / static_cast<double>(d - 2));
  }
  at::Tensor const frequency = at::reciprocal(powers(theta, d));
  if (rope.type == rope_type::linear) return frequency / rope.factor;
  if (rope.type == rope_type::llama3) return llama3(rope, frequency);
  if (rope.type == rope_type::yarn) return yarn(rope, d, frequency);
  if (rope.type == rope_type::longrope) return frequency / at::tensor(beyond ? rope.long_factors : rope.short_factors, at::kFloat);
  return frequency;
}

bool rotates_by_length(rope_settings const& rope) { return rope.type == rope_type::dynamic || rope.type == rope_type::longrope; }

at::Tensor frequencies_of(rope_settings const& rope, std::int64_t head_dim, std::vector<shared_prompt> const& prompts) {
  at::Tensor const usual = inverse_frequencies(rope, head_dim);
  bool const by_length = rotates_by_length(rope);
  auto const beyond = [&](shared_prompt const& group) { return by_length && longest(group) > rope.original_length; };
  if (std::none_of(prompts.begin(), prompts.end(), beyond)) return usual;
  std::vector<at::Tensor> all;
  for (shared_prompt const& group : prompts) {
    std::int64_t tokens = group.prompt;
    for (std::int64_t const n : group.completions) tokens += n;
    all.push_back((beyond(group) ? inverse_frequencies(rope, head_dim, longest(group)) : usual).expand({tokens, usual.size(0)}));
  }
  return at::cat(all);
}

rotations::rotations(transformer_config const& config, at::Tensor const& positions, at::Tensor const& global, at::Tensor const& local,
                     at::ScalarType type)
    : global_(positions, global, type, config.rope.attention_factor) {
  global_.interleaved = config.rope.interleaved;
  if (config.rope.query_growth != 0)
    global_.growth = at::floor(positions.to(at::kFloat).div_(static_cast<double>(config.rope.original_length)))
                         .log1p_()
                         .mul_(config.rope.query_growth)
                         .add_(1)
                         .to(global_.cosine.scalar_type())
                         .view({-1, 1, 1});
  if (local.defined()) local_ = rotation(positions, local, type, config.local_rope.attention_factor);
}

rotation const* rotations::of(layer_settings const& layer) const {
  if (layer.rope == rotary::none) return nullptr;
  return layer.rope == rotary::local ? &local_ : &global_;
}

}  // namespace kedge::llm::ops
