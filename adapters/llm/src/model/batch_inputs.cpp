// SPDX-License-Identifier: Apache-2.0
#include "batch_inputs.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "gpu_way.hpp"
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

at::Tensor slopes(std::span<double const> values, std::int64_t size, batch_inputs const& batch) {
  if (values.empty()) return {};
  at::Tensor const all = at::zeros({size}, at::kDouble);
  std::copy(values.begin(), values.end(), all.mutable_data_ptr<double>());
  return on_device(all, batch.rows.device());
}

// How many sequences each token of a batch stands in: a prompt in one for each completion, a shared prefix in those of all that see it.
std::vector<double> copies_of(ragged_batch const& batch) {
  std::vector<double> copies(batch.tokens.size());
  auto const add = [&](token_range const& tokens, double n) {
    for (std::int64_t i = tokens.begin; i < tokens.begin + tokens.size; ++i) copies[static_cast<std::size_t>(i)] += n;
  };
  for (shared_prompt const& group : batch.prompts) {
    auto const sequences = static_cast<double>(group.completions.size());
    add(group.prefix, sequences);
    add({group.begin, group.prompt}, sequences);
    add({group.begin + group.prompt, std::accumulate(group.completions.begin(), group.completions.end(), std::int64_t{0})}, 1);
  }
  return copies;
}

}  // namespace

void batch_inputs::take(batch_inputs const& other) {
  put(tokens, other.tokens);
  put(positions, other.positions);
  put(rows, other.rows);
  put(targets, other.targets);
  put(row_starts, other.row_starts);
  put(row_places, other.row_places);
  put(frequencies, other.frequencies);
  put(local_frequencies, other.local_frequencies);
  ops::varlen_lists const& lists = other.segments.lists;
  put(segments.lists.keys, lists.keys);
  put(segments.lists.query_ends, lists.query_ends);
  put(segments.lists.key_ends, lists.key_ends);
  put(segments.lists.starts, lists.starts);
  put(segments.lists.places, lists.places);
  segments.lists.most_queries = lists.most_queries;
  segments.lists.most_keys = lists.most_keys;
  segments.prompts = other.segments.prompts;
  segments.runs = other.segments.runs;
}

batch_inputs inputs_of(transformer_config const& c, compute_settings const& settings, ragged_batch const& batch, packed_size const* fixed) {
  auto const frequencies = [&](rope_settings const& rope) { return on_device(ops::frequencies_of(rope, c.head_dim, batch.prompts), settings.device); };
  bool const has_local = std::any_of(c.attention.begin(), c.attention.end(), [](layer_settings const& layer) { return layer.rope == rotary::local; });
  bool const in_one_call = !c.sinks && ops::takes_varlen(settings.device, settings.type, c.head_dim, c.attention_soft_cap);
  at::Tensor copies;
  if (c.experts.count > 0) copies = on_device(at::tensor(copies_of(batch), at::kDouble), settings.device);
  ops::inverse_lists const of_rows = gpu_kernels(settings.device) ? ops::inverse_lists(batch.rows, batch.tokens.size()) : ops::inverse_lists({}, 0);
  auto const list = [&](std::vector<std::int64_t> const& one) { return gpu_kernels(settings.device) ? indices(one, settings.device) : at::Tensor(); };
  return {.tokens = indices(batch.tokens, settings.device),
          .positions = indices(batch.positions, settings.device),
          .rows = indices(batch.rows, settings.device),
          .targets = indices(batch.targets, settings.device),
          .row_starts = list(of_rows.starts),
          .row_places = list(of_rows.places),
          .frequencies = frequencies(c.rope),
          .local_frequencies = has_local ? frequencies(c.local_rope) : at::Tensor(),
          .segments = {batch.prompts, in_one_call ? ops::lists_on(settings.device, ops::varlen_of(batch.prompts, fixed)) : ops::varlen_lists()},
          .copies = std::move(copies)};
}

row_slopes::row_slopes(std::span<double const> of_logp, std::span<double const> of_value, batch_inputs const& batch, std::span<double const> of_routing)
    : logp(slopes(of_logp, batch.rows.size(0), batch)),
      value(slopes(of_value, batch.rows.size(0), batch)),
      routing(slopes(of_routing, static_cast<std::int64_t>(of_routing.size()), batch)) {}

row_outputs on_host(row_tensors const& tensors, std::size_t rows) {
  constexpr std::array figures{std::pair(&row_tensors::logp, &row_outputs::logp), std::pair(&row_tensors::value, &row_outputs::value),
                               std::pair(&row_tensors::entropy, &row_outputs::entropy), std::pair(&row_tensors::log_squares, &row_outputs::log_squares),
                               std::pair(&row_tensors::log_sum, &row_outputs::log_sum), std::pair(&row_tensors::mean_logit, &row_outputs::mean_logit),
                               std::pair(&row_tensors::likeliest, &row_outputs::likeliest)};
  std::vector<at::Tensor> given;
  for (auto const& [from, to] : figures)
    if ((tensors.*from).defined()) given.push_back((tensors.*from).to(at::kDouble));
  row_outputs out;
  if (given.empty()) return out;
  at::Tensor const host = at::stack(given).to(at::kCPU);
  double const* next = host.const_data_ptr<double>();
  for (auto const& [from, to] : figures)
    if ((tensors.*from).defined()) {
      (out.*to).assign(next, next + rows);
      next += host.size(1);
    }
  return out;
}

}  // namespace kedge::llm
