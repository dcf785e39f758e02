// SPDX-License-Identifier: Apache-2.0
#include "batch_inputs.hpp"

#include <algorithm>
#include <utility>

#include "on_device.hpp"
#include "rope.hpp"
#include "varlen_attention.hpp"

namespace kedge::llm {
namespace {

at::Tensor indices(std::vector<std::int64_t> const& values, at::Device device) {
  return on_device(at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong), device);
}

void put(at::Tensor& mine, at::Tensor const& other) {
  if (!mine.defined())
    mine = other.defined() ? other.clone() : other;
  else
    mine.copy_(other);
}

at::Tensor slopes(std::span<double const> values, batch_inputs const& batch) {
  if (values.empty()) return {};
  at::Tensor const all = at::zeros(batch.rows.sizes(), at::kDouble);
  std::copy(values.begin(), values.end(), all.mutable_data_ptr<double>());
  return on_device(all, batch.rows.device());
}

}  // namespace

void batch_inputs::take(batch_inputs const& other) {
  put(tokens, other.tokens);
  put(positions, other.positions);
  put(rows, other.rows);
  put(targets, other.targets);
  put(frequencies, other.frequencies);
  put(local_frequencies, other.local_frequencies);
  ops::varlen_lists const& lists = other.segments.lists;
  put(segments.lists.keys, lists.keys);
  put(segments.lists.query_ends, lists.query_ends);
  put(segments.lists.key_ends, lists.key_ends);
  segments.lists.most_queries = lists.most_queries;
  segments.lists.most_keys = lists.most_keys;
  segments.prompts = other.segments.prompts;
  segments.runs = other.segments.runs;
}

batch_inputs inputs_of(transformer_config const& c, compute_settings const& settings, ragged_batch const& batch, packed_size const* fixed) {
  auto const frequencies = [&](rope_settings const& rope) { return on_device(ops::frequencies_of(rope, c.head_dim, batch.prompts), settings.device); };
  bool const has_local = std::any_of(c.attention.begin(), c.attention.end(), [](layer_settings const& layer) { return layer.rope == rotary::local; });
  bool const in_one_call = ops::takes_varlen(settings.device, settings.type, c.head_dim, c.attention_soft_cap);
  return {.tokens = indices(batch.tokens, settings.device),
          .positions = indices(batch.positions, settings.device),
          .rows = indices(batch.rows, settings.device),
          .targets = indices(batch.targets, settings.device),
          .frequencies = frequencies(c.rope),
          .local_frequencies = has_local ? frequencies(c.local_rope) : at::Tensor(),
          .segments = {batch.prompts, in_one_call ? ops::lists_on(settings.device, ops::varlen_of(batch.prompts, fixed)) : ops::varlen_lists()}};
}

row_slopes::row_slopes(std::span<double const> of_logp, std::span<double const> of_value, batch_inputs const& batch)
    : logp(slopes(of_logp, batch)), value(slopes(of_value, batch)) {}

std::vector<double> on_host(at::Tensor const& values, std::size_t rows) {
  if (!values.defined()) return {};
  at::Tensor const host = values.to(at::kCPU, at::kDouble).contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + rows};
}

}  // namespace kedge::llm
