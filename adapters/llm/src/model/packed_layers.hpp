// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "packed_weights.hpp"
#include "quantised_matrix.hpp"

namespace kedge::llm {

/// A map, or several that read the same. On a quantised base its rows stay as they lie, and what an adapter adds is multiplied apart.
struct packed_map {
  packed_matrix weight;
  packed_matrix a, b;                ///< of the adapter, scaled; without panels where there is none
  std::vector<float> factors, bias;  ///< DoRA: what outputs are multiplied by, and what is added behind; empty without

  packed_map() = default;
  packed_map(packed_matrix packed) : weight(std::move(packed)) {}
  /// Whether more than a product is to be done.
  [[nodiscard]] bool adapted() const { return a.panels() > 0; }
};

/// An MLP's maps: gate and up in one where it is gated, else up alone.
struct packed_mlp {
  packed_map up, down;
};

/// The tensors of a layer as steps of generation read them. Norms are fp32, with their offset in them; undefined: the family has none.
struct packed_layer {
  at::Tensor input_norm, post_norm, q_norm, k_norm, attention_output_norm, mlp_output_norm;
  packed_map qkv, o;
  packed_matrix router;          ///< fp32 whatever the others are: rounding would send tokens to other experts
  std::vector<packed_mlp> mlps;  ///< the experts, or the only one
};

struct layer_tensors;

/// A norm's weight as steps of generation read it; and a layer with all of its norms, and nothing else yet.
[[nodiscard]] at::Tensor norm_of(transformer_config const& c, at::Tensor const& weight);
[[nodiscard]] packed_layer norms_of(transformer_config const& c, layer_tensors const& t);

/// The tensors of a model for steps of generation on the host, adapters merged.
struct packed_model {
  packed_model(causal_lm const& model, pack const& weights, thread_pool& threads);

  std::vector<packed_layer> layers;
  packed_map head;
  at::Tensor embedding, final_norm;  ///< the embedding in the model's type
  bool stays_quantised = false;      ///< maps are multiplied by rows as they lie
  std::size_t most_rank = 0;         ///< of an adapter that is multiplied apart
  quantised_matrix stored_embedding; ///< in its place, where it stays quantised

 private:
  void packed(causal_lm const& model, pack const& weights, thread_pool& threads);
  void by_rows(causal_lm const& model, pack const& weights);

  large_buffer bytes_;
};

/// Cosines and sines of a rotation, by position.
class angle_table {
 public:
  angle_table() = default;
  angle_table(rope_settings const& rope, std::int64_t head_dim);

  /// Positions up to this one may be asked for.
  void know(std::size_t last);
  [[nodiscard]] float const* cosine(std::size_t position) const { return &cosine_[position * half()]; }
  [[nodiscard]] float const* sine(std::size_t position) const { return &sine_[position * half()]; }
  /// Pairs that turn.
  [[nodiscard]] std::size_t half() const { return frequencies_.size(); }

 private:
  float factor_ = 1;
  std::vector<float> frequencies_, cosine_, sine_;
};

}  // namespace kedge::llm
