// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "adapter_layout.hpp"
#include "layer.hpp"
#include "quantised_matrix.hpp"

namespace kedge::llm {

/// Matrices that stay quantised, in the order of parameters_of; those that don't are undefined.
struct stored_matrices {
  std::vector<quantised_matrix> all;
};

/// A model's own weights, frozen, in the type of the computation or quantised, and where an adapter changes them.
struct adapted_base {
  adapter_layout layout;
  pack weights;
  std::shared_ptr<stored_matrices const> stored{};
};

/// The tensors of a model by what they are for, of its weights or of their gradients. Of gradients, those of a frozen base are undefined.
class model_tensors {
 public:
  static model_tensors weights(causal_lm const& model, pack const& weights);
  static model_tensors gradients(causal_lm const& model, pack const& gradients);

  [[nodiscard]] linear_map embedding() const;
  [[nodiscard]] at::Tensor final_norm() const { return own(at_.final_norm()); }
  [[nodiscard]] at::Tensor final_norm_bias() const { return config_.norm_bias ? own(at_.final_norm_bias()) : at::Tensor(); }
  [[nodiscard]] linear_map head() const { return map(at_.head()); }
  [[nodiscard]] at::Tensor scalar_head() const { return own(at_.scalar_head()); }
  [[nodiscard]] layer_tensors layer(std::int64_t i) const;
  /// A tensor with the adapter in it.   i: in the order of parameters_of
  [[nodiscard]] at::Tensor merged(std::size_t i) const;
  [[nodiscard]] at::Tensor merged(std::int64_t layer, layer_slot slot) const { return merged(at_.of(layer, slot)); }
  [[nodiscard]] slots const& at() const { return at_; }

 private:
  model_tensors(transformer_config const& config, pack const* own, adapter_layout const* layout, pack const* adapter, stored_matrices const* stored = nullptr);
  [[nodiscard]] at::Tensor own(std::size_t i) const;
  [[nodiscard]] quantised_matrix stored(std::size_t i) const;
  [[nodiscard]] expert_tensors experts(std::int64_t i) const;
  [[nodiscard]] linear_map map(std::int64_t layer, layer_slot weight, layer_slot bias) const;
  [[nodiscard]] linear_map map(std::size_t weight) const;
  /// What the adapter has there, the length of rows left out.
  [[nodiscard]] linear_map adapter(adapted_place const& place) const;

  transformer_config const& config_;
  slots at_;
  pack const* own_;
  adapter_layout const* layout_;
  pack const* adapter_;
  stored_matrices const* stored_;
};

}  // namespace kedge::llm
