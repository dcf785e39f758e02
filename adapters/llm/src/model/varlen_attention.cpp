// SPDX-License-Identifier: Apache-2.0
#include "varlen_attention.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

#include "attention_call.hpp"
#include "gpu_ops.hpp"
#include "gpu_way.hpp"
#include "launches.hpp"
#include "on_device.hpp"

namespace kedge::llm::ops {
namespace {

std::optional<std::int64_t> left_of(attention_settings const& settings) {
  return settings.window > 0 ? std::optional(settings.window - 1) : std::nullopt;
}

std::optional<std::int64_t> right_of(attention_settings const& settings) { return settings.window > 0 ? std::optional<std::int64_t>(0) : std::nullopt; }

// Gives the last runs, of one key each, evenly those that are left: each sees its own token as often.
void share_keys_left(varlen_sequences& all, std::int64_t keys) {
  std::int64_t const first = all.key_ends.back() - spare_runs, each = (keys - first) / spare_runs, more = (keys - first) % spare_runs;
  std::vector<std::int64_t> const tokens(all.keys.end() - spare_runs, all.keys.end());
  all.keys.resize(static_cast<std::size_t>(first));
  for (std::int64_t i = 0; i < spare_runs; ++i) {
    all.keys.insert(all.keys.end(), static_cast<std::size_t>(each + (i < more ? 1 : 0)), tokens[static_cast<std::size_t>(i)]);
    all.key_ends[all.key_ends.size() - static_cast<std::size_t>(spare_runs - i)] = static_cast<std::int32_t>(all.keys.size());
  }
}

// Keys and values of all sequences, one behind the other.
struct sequence_keys {
  at::Tensor k, v;
  sequence_keys(varlen_lists const& lists, at::Tensor const& of_k, at::Tensor const& of_v) {
    if (gpu_ops::takes(of_k) && gpu_ops::takes(of_v)) {
      std::tie(k, v) = gpu_ops::gather(lists.keys, of_k, of_v);
    } else {
      k = of_k.index_select(0, lists.keys);
      v = of_v.index_select(0, lists.keys);
    }
  }
};

// The way back: a prompt's keys stand in several sequences, and their gradients are summed wide.   to: rows may lie apart
void sum_keys(varlen_lists const& lists, at::Tensor const& k, at::Tensor const& v, at::Tensor const& to_k, at::Tensor const& to_v) {
  if (gpu_ops::takes(k) && gpu_ops::takes(v)) return gpu_ops::reduce(lists.starts, lists.places, k, v, to_k, to_v);
  auto const add = [&](at::Tensor const& from, at::Tensor const& to) {
    to.copy_(at::zeros(to.sizes(), from.options().dtype(at::kFloat)).index_add_(0, lists.keys, from.to(at::kFloat)));
  };
  add(k, to_k);
  add(v, to_v);
}

// On the host: f(queries, keys) for every sequence that has some.
template <class F>
void each_sequence(varlen_lists const& lists, F const& f) {
  auto const range = [](at::Tensor const& ends, std::int64_t s) {
    std::int32_t const* const at = ends.const_data_ptr<std::int32_t>() + s;
    return token_range{at[0], at[1] - at[0]};
  };
  for (std::int64_t s = 0; s + 1 < lists.query_ends.size(0); ++s)
    if (token_range const queries = range(lists.query_ends, s); queries.size > 0) f(queries, range(lists.key_ends, s));
}

at::Tensor part(at::Tensor const& x, token_range const& tokens) { return by_head(x.narrow(0, tokens.begin, tokens.size)); }

// What stands in for the kernel on the host.   log_sums: [heads, T]
at::Tensor calls_of_sequences(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& q, sequence_keys const& keys,
                              at::Tensor& log_sums) {
  at::Tensor output = at::empty(q.sizes(), q.options());
  log_sums = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
  launch_mark const mark("kedge::attention_of_sequences", {q, keys.k, keys.v, output, log_sums});
  each_sequence(lists, [&](token_range const& own, token_range const& seen) {
    attended const result = attention_call(settings, part(q, own), part(keys.k, seen), part(keys.v, seen)).forward();
    output.narrow(0, own.begin, own.size).copy_(by_token(result.output));
    log_sums.narrow(1, own.begin, own.size).copy_(result.log_sum.squeeze(0));
  });
  return output;
}

shared_prompt_attention::gradients calls_of_sequences_backward(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& g,
                                                               at::Tensor const& q, sequence_keys const& keys, at::Tensor const& output,
                                                               at::Tensor const& log_sums) {
  shared_prompt_attention::gradients all{at::empty(q.sizes(), q.options()), at::empty_like(keys.k), at::empty_like(keys.v), {}};
  launch_mark const mark("kedge::attention_of_sequences_backward", {g, q, keys.k, keys.v, output, log_sums, all.q, all.k, all.v}, 3);
  each_sequence(lists, [&](token_range const& own, token_range const& seen) {
    attention_call const made(settings, part(q, own), part(keys.k, seen), part(keys.v, seen));
    shared_prompt_attention::gradients const one =
        made.backward(part(g, own), {part(output, own), log_sums.narrow(1, own.begin, own.size).unsqueeze(0)});
    all.q.narrow(0, own.begin, own.size).copy_(by_token(one.q));
    all.k.narrow(0, seen.begin, seen.size).copy_(by_token(one.k));
    all.v.narrow(0, seen.begin, seen.size).copy_(by_token(one.v));
  });
  return all;
}

}  // namespace

varlen_sequences varlen_of(std::vector<shared_prompt> const& prompts, packed_size const* fixed) {
  varlen_sequences all;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) {
      for (token_range const& part : {run.prefix, run.prompt, run.own})
        for (std::int64_t i = 0; i < part.size; ++i) all.keys.push_back(part.begin + i);
      auto const keys = static_cast<std::int32_t>(all.keys.size());
      all.most_queries = std::max(all.most_queries, run.own.size);
      all.most_keys = std::max<std::int64_t>(all.most_keys, keys - all.key_ends.back());
      all.query_ends.push_back(all.query_ends.back() + static_cast<std::int32_t>(run.own.size));
      all.key_ends.push_back(keys);
    });
  if (!fixed) return all;
  all.most_queries = all.most_keys = fixed->longest;
  share_keys_left(all, fixed->keys);
  auto const ends = static_cast<std::size_t>(fixed->runs) + 1;
  all.query_ends.resize(ends, all.query_ends.back());
  all.key_ends.resize(ends, all.key_ends.back());
  return all;
}

inverse_lists::inverse_lists(std::span<std::int64_t const> index, std::size_t size) : starts(size + 1), places(index.size()) {
  for (std::int64_t const n : index) ++starts[static_cast<std::size_t>(n) + 1];
  for (std::size_t n = 0; n < size; ++n) starts[n + 1] += starts[n];
  std::vector<std::int64_t> next = starts;
  for (std::size_t i = 0; i < index.size(); ++i) places[static_cast<std::size_t>(next[static_cast<std::size_t>(index[i])]++)] = static_cast<std::int64_t>(i);
}

varlen_lists lists_on(at::Device device, varlen_sequences const& all) {
  inverse_lists const back(all.keys, static_cast<std::size_t>(all.query_ends.back()));
  auto const there = [&](auto const& numbers, at::ScalarType type) { return on_device(at::tensor(numbers, type), device); };
  return {there(all.keys, at::kLong),   there(all.query_ends, at::kInt), there(all.key_ends, at::kInt), there(back.starts, at::kLong),
          there(back.places, at::kLong), all.most_queries,               all.most_keys};
}

bool takes_varlen(at::Device device, at::ScalarType type, std::int64_t head_dim, double soft_cap) {
  return goes_gpu_way(device) && at::isReducedFloatingType(type) && soft_cap == 0 && head_dim <= 256;
}

at::Tensor varlen_attention(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            std::vector<at::Tensor>& kept) {
  sequence_keys const keys(lists, k, v);
  if (!q.is_cuda()) return calls_of_sequences(lists, settings, q, keys, kept.emplace_back());
  auto [output, log_sums, state, offset, unused] =
      at::_flash_attention_forward(q, keys.k, keys.v, lists.query_ends, lists.key_ends, lists.most_queries, lists.most_keys, 0.0,
                                   /*is_causal=*/true, /*return_debug_mask=*/false, settings.scale, left_of(settings), right_of(settings));
  kept = {log_sums, state, offset};
  return output;
}

shared_prompt_attention::gradients varlen_attention_backward(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& g,
                                                             at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& output,
                                                             std::vector<at::Tensor> const& kept) {
  sequence_keys const keys(lists, k, v);
  shared_prompt_attention::gradients all;
  if (!q.is_cuda())
    all = calls_of_sequences_backward(lists, settings, g, q, keys, output, kept[0]);
  else
    std::tie(all.q, all.k, all.v) = at::_flash_attention_backward(
        g, q, keys.k, keys.v, output, kept[0], lists.query_ends, lists.key_ends, lists.most_queries, lists.most_keys, 0.0, /*is_causal=*/true, kept[1],
        kept[2], settings.scale, left_of(settings), right_of(settings));
  // Side by side, as the maps that made them read.
  std::int64_t const heads = q.size(1), kv_heads = k.size(1);
  at::Tensor const together = at::empty({q.size(0), heads + 2 * kv_heads, q.size(2)}, q.options());
  auto const part_of = [&](std::int64_t begin, std::int64_t size) { return together.narrow(1, begin, size); };
  shared_prompt_attention::gradients const parts{part_of(0, heads).copy_(all.q), part_of(heads, kv_heads), part_of(heads + kv_heads, kv_heads), {}};
  sum_keys(lists, all.k, all.v, parts.k, parts.v);
  return parts;
}

}  // namespace kedge::llm::ops
