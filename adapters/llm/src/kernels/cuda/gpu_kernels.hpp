// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loops of a GPU as a table of functions over plain memory, so that neither LibTorch nor CUDA is needed to name them. A table is made twice
// of the same bodies: by nvcc for a GPU, and by the C++ compiler for this host, where tests hold it to fp64. Each function is one launch unless
// it says otherwise. Pointers are of the device, matrices lie row by row, and nothing is waited for.

#include <cstddef>
#include <cstdint>

#include "../gate_function.hpp"
#include "../score_edits.hpp"

namespace kedge::llm {

/// Where a kernel is put in line: a CUDA stream; null on the host.
using gpu_stream = void*;

/// The type of numbers between products.
enum class gpu_number : std::int32_t { fp32, bf16 };

/// A matrix of numbers of either type.
struct gpu_matrix {
  void* at = nullptr;
  gpu_number type = gpu_number::fp32;
  std::int64_t stride = 0;  ///< numbers from row to row
};

/// x' = x + scale · added;  r = 1/√(mean x'² + eps);  out = x' r (w + offset), where x' r is rounded to out's type first if offset is 0.
struct gpu_norm {
  std::int64_t rows, width;
  float const* x;            ///< [rows, width]
  gpu_matrix added;          ///< null: x' is x, and `sum` isn't written
  float added_scale;
  float* sum;                ///< x'
  float* inverse_rms;        ///< r: [rows]
  gpu_matrix weight;         ///< w: one row
  float offset, eps;
  gpu_matrix out;
};

/// gx += what comes back through r and out;  weight_gradient += Σ over rows.
struct gpu_norm_backward {
  std::int64_t rows, width;
  gpu_matrix g;              ///< gradient of out
  float const *x, *inverse_rms;
  gpu_matrix weight;
  float offset;
  float* gx;                 ///< [rows, width]
  gpu_matrix narrowed;       ///< gx once more in a product's type; null: not written
  float* weight_gradient;    ///< [width]; null: none
  float* partial;            ///< [norm_partial_rows(rows), width]: memory for its sums, so that no bit depends on who comes first
};

/// The heads of each row in turn: halves, or neighbours, rotated by their angle, in place. direction −1 is the way back.
struct gpu_rotation {
  std::int64_t rows, heads, head_dim, half;  ///< 2 half coordinates of a head turn
  gpu_matrix x;                              ///< heads side by side: [rows, at least heads · head_dim]
  float const *cosine, *sine;                ///< [rows, half]
  float direction;
  bool interleaved;
};

/// out = act(gate) ∘ up.   gate_up: [rows, 2 width], gate in front
struct gpu_gate {
  std::int64_t rows, width;
  gate_function act;
  gpu_matrix gate_up, out;
};

/// Gradients of gate and up, side by side, and act(gate) ∘ up once more.
struct gpu_gate_backward {
  std::int64_t rows, width;
  gate_function act;
  gpu_matrix g, gate_up, g_gate_up;
  gpu_matrix out;  ///< null: not written
};

/// Scores of a row become log Σ exp, the target's log-probability, and c (p − (1 − ε) onehot − ε/V), formed in fp32.
struct gpu_softmax {
  std::int64_t rows, vocabulary;
  float const* scores;         ///< [rows, vocabulary]
  std::int64_t const* targets;
  float smoothing;             ///< ε
  float *log_sum, *logp;       ///< [rows]
  gpu_matrix residual;         ///< null: not written. May be `scores` itself: of bf16 then, its stride 2 · vocabulary
  float const* slopes;         ///< c: [rows]; null: 1
  float *entropy, *mean, *likeliest, *square_sum;  ///< [rows] each; null: not wanted. square_sum: Σ p²
};

/// out[i] = in[index[i]], of keys and values at once; null values: of keys alone.
struct gpu_gather {
  std::int64_t count, width;
  std::int64_t const* index;
  gpu_matrix keys, values, out_keys, out_values;
};

/// out[t] = Σ in[places[j]] over starts[t] ≤ j < starts[t + 1], in this order, in fp32: the way back of a gather, without atomics.
struct gpu_reduce {
  std::int64_t rows, width;
  std::int64_t const *starts, *places;  ///< [rows + 1], [count]
  gpu_matrix keys, values, out_keys, out_values;
};

/// How moments are kept: as adam.hpp has it.
enum class gpu_moments : std::int32_t { fp32, bf16, bits8 };

/// A tensor of an AdamW step, as adam.hpp's adam_range; adam_block numbers a block.
struct gpu_adam_tensor {
  float *theta, *gradient;
  void *first, *second;
  float *first_scale, *second_scale;  ///< of bits8 alone
  std::uint16_t* copy;                ///< bf16; null: none
  std::int64_t count;
  std::int64_t first_block;           ///< blocks of all tensors before it
  float decay;
  std::uint32_t seed;
};

/// All tensors in one launch. θ, moments, copy and the gradient's zeros in one pass over memory.
struct gpu_adam {
  gpu_adam_tensor const* tensors;     ///< on the device
  std::int64_t count, blocks;         ///< of tensors, and their blocks together
  gpu_moments moments;
  float rate, root, beta1, beta2, epsilon;
  float scale;                        ///< of gradients, where `norm` is null
  double const* norm;                 ///< of all gradients, on the device: where scale · norm > most_norm > 0, the scale is times
                                      ///< most_norm / (scale · norm + 10⁻⁶)
  float most_norm;
  bool zero_gradient;
};

/// out = √Σ x² over all tensors' gradients, in fp64, the same bits whatever comes first. Two launches.
struct gpu_square_sum {
  gpu_adam_tensor const* tensors;
  std::int64_t count, blocks;
  double* partial;                    ///< [square_sum_partials(blocks)]
  double* out;
};

/// Draws a token a row, as draw_token (sampler.hpp) says: edits, temperature, top-k, top-p, min-p.
struct gpu_sample {
  std::int64_t rows, vocabulary, stride;
  float* scores;                      ///< [rows, vocabulary], `stride` numbers from row to row; edits are made in it
  double temperature;                 ///< 0: the likeliest, the first of several
  std::int64_t top_k;                 ///< 0: all
  double top_p, min_p;                ///< 1 and 0: all
  score_edit const* edits;            ///< row by row by token, those of all tokens first, those of one token in their order
  std::int64_t const* edit_starts;    ///< [rows + 1]; null: there are none
  float* originals;                   ///< memory: a number an edit
  double const* uniform;              ///< [rows] in [0, 1): of each sample's own stream
  std::int32_t* token;                ///< [rows]
  float* logp;                        ///< [rows] of the scores as they came, at temperature 1
};

/// Keys of a part of an attention: each part is a block's. All sums of a query depend on its own keys alone.
inline constexpr std::int64_t attention_part_keys = 256;
/// Queries of a part: at least 1, and at most so many for so many query heads that share a key-value head.
[[nodiscard]] constexpr std::int64_t attention_part_queries(std::int64_t group_heads) { return group_heads < 8 ? 8 / group_heads : 1; }

/// Some queries of a sequence, whose positions follow one another, and keys from first_key on: attention_part_keys, or fewer up to the last query.
struct gpu_attention_part {
  std::int64_t sequence, query, queries, first_key;
  std::int64_t partial;               ///< row of `partial` for the first query; −1: these are all its keys, and the output is written
  std::int64_t partial_stride;        ///< rows to that of the next query
};
/// A query whose parts stand in so many rows from `partial` on.
struct gpu_attention_join {
  std::int64_t query, partial, parts;
};

/// Attention of new queries over pages of keys and values: each sees the keys up to its own position. q, keys, values and out are of one type.
struct gpu_paged_attention {
  std::int64_t heads, kv_heads, head_dim, page_tokens;
  gpu_matrix q;                       ///< [queries, heads · head_dim]
  gpu_matrix keys, values;            ///< of a page's token: [pages · page_tokens, kv_heads · head_dim]
  std::int64_t const* pages;          ///< [sequences, most_pages]
  std::int64_t most_pages;
  std::int64_t const* positions;      ///< [queries]
  gpu_attention_part const* parts;
  std::int64_t part_count, most_queries;  ///< most_queries: of a part
  gpu_attention_join const* joins;
  std::int64_t join_count;
  float* partial;                     ///< memory: heads · (head_dim + 2) numbers for each of partial_count rows
  std::int64_t partial_count;
  float scale, soft_cap;              ///< soft_cap 0: none
  std::int64_t window;                ///< 0: all
  float const* sinks;                 ///< [heads]; null: none
  gpu_matrix out;                     ///< as q
};

/// Every kernel of one device. A new one is a body, a member here, and a line in each of the two tables.
struct gpu_kernel_table {
  void (*norm)(gpu_stream, gpu_norm const&);
  void (*norm_backward)(gpu_stream, gpu_norm_backward const&);  ///< two launches where there is a weight's gradient
  void (*rotate)(gpu_stream, gpu_rotation const&);
  void (*gate)(gpu_stream, gpu_gate const&);
  void (*gate_backward)(gpu_stream, gpu_gate_backward const&);
  void (*softmax)(gpu_stream, gpu_softmax const&);
  void (*gather)(gpu_stream, gpu_gather const&);
  void (*reduce)(gpu_stream, gpu_reduce const&);
  void (*adam)(gpu_stream, gpu_adam const&);
  void (*square_sum)(gpu_stream, gpu_square_sum const&);
  void (*sample)(gpu_stream, gpu_sample const&);
  void (*paged_attention)(gpu_stream, gpu_paged_attention const&);  ///< two launches where there are joins
};

/// Rows of gpu_norm_backward::partial: a block of threads each, some for every multiprocessor.
[[nodiscard]] constexpr std::int64_t norm_partial_rows(std::int64_t rows) { return rows < 528 ? rows : 528; }

/// Numbers of gpu_square_sum::partial, and how many blocks of a tensor's numbers each is of.
inline constexpr std::int64_t square_sum_blocks = 64;
[[nodiscard]] constexpr std::int64_t square_sum_partials(std::int64_t blocks) { return (blocks + square_sum_blocks - 1) / square_sum_blocks; }

/// The table whose functions run on this host, from the same bodies.
[[nodiscard]] gpu_kernel_table const& host_gpu_kernels();

}  // namespace kedge::llm
