// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <kedge/llm/data/fixed_size.hpp>

#include "ops.hpp"

namespace kedge::llm::ops {

/// The segments of a batch as kernels for sequences of unequal lengths want them: sequence s has the queries query_ends[s] … query_ends[s + 1] − 1,
/// tokens of the batch, and the keys of the same range of key_ends, in which its queries are the last ones. A sequence is an attention_run: its
/// keys are those of prefix, prompt and its own.
struct varlen_sequences {
  std::vector<std::int64_t> keys;                             ///< [K] token of each key
  std::vector<std::int32_t> query_ends{0}, key_ends{0};       ///< [sequences + 1]
  std::int64_t most_queries = 0, most_keys = 0;               ///< of a sequence, or a bound of that
};

/// `fixed`: a size_class that the batch was padded to. There are as many sequences and keys as it says: the last runs, of one token each, see
/// themselves as often as keys are left; sequences after them are empty.
[[nodiscard]] varlen_sequences varlen_of(std::vector<shared_prompt> const& prompts, packed_size const* fixed = nullptr);

/// The way back of an index: where each of `size` numbers stands in it, number by number, places[starts[n]] … places[starts[n + 1] − 1].
struct inverse_lists {
  std::vector<std::int64_t> starts, places;  ///< [size + 1], [index]
  inverse_lists(std::span<std::int64_t const> index, std::size_t size);
};

/// Sequences on a device, once for all layers.
[[nodiscard]] varlen_lists lists_on(at::Device device, varlen_sequences const& all);

/// Whether one call of the CUDA kernel can take such numbers: bf16 or fp16 on a GPU, without a cap on scores. Where a GPU's way is tried on the
/// host, calls of each sequence stand in for it.
[[nodiscard]] bool takes_varlen(at::Device device, at::ScalarType type, std::int64_t head_dim, double soft_cap);

/// Attention over shared prompts in one call, and its backward step; `kept` is filled by the one for the other. Their twin on the host, of the same
/// result up to rounding, is shared_prompt_attention's plain way.
[[nodiscard]] at::Tensor varlen_attention(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& q, at::Tensor const& k,
                                          at::Tensor const& v, std::vector<at::Tensor>& kept);
[[nodiscard]] shared_prompt_attention::gradients varlen_attention_backward(varlen_lists const& lists, attention_settings const& settings,
                                                                           at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                                           at::Tensor const& v, at::Tensor const& output,
                                                                           std::vector<at::Tensor> const& kept);

}  // namespace kedge::llm::ops
