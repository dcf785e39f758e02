// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include "quantised_matrix.hpp"

namespace kedge::llm {

/// A linear map W x + b with what an adapter adds to it, weights or their gradients: views into a pack. Undefined: the family has
/// none, or no adapter is on it, or, of gradients, it is frozen.
///
/// With an adapter z = W x + s (B A x + b_B) stands in place of W x; with DoRA m ∘ z / ‖W + s B A‖, where the lengths of the rows are
/// constants to a gradient.                                                                    arXiv 2106.09685; 2402.09353, 4.3
struct linear_map {
  at::Tensor weight, bias;  ///< [out, in], [out]
  at::Tensor a, b;          ///< [r, in], [out, r]
  double scale = 1;         ///< s
  at::Tensor bias_of_b;     ///< [out]
  at::Tensor magnitude;     ///< m: [1, out]
  at::Tensor length;        ///< ‖W + s B A‖ of each row: [1, out], at least fp32; of weights alone
  bool fp8 = false;         ///< rows are multiplied by the weight in 8 bits, where that goes
  quantised_matrix stored{};  ///< in place of the weight, where a frozen base stays quantised

  /// Whether there is such a map; outputs; the type of its activations (ops::stream_type).
  [[nodiscard]] bool there() const { return weight.defined() || stored.defined(); }
  [[nodiscard]] std::int64_t width() const { return stored.defined() ? stored.out() : weight.size(0); }
  [[nodiscard]] at::ScalarType stream_type() const;

  /// The part that makes `size` outputs from `begin` on.
  [[nodiscard]] linear_map outputs(std::int64_t begin, std::int64_t size) const;
  /// Whether it is W x + b and nothing else.
  [[nodiscard]] bool plain() const { return !a.defined(); }
  /// Whether such rows, or gradients of what the weight makes of them, are multiplied in 8 bits.
  [[nodiscard]] bool goes_fp8(at::Tensor const& rows) const;
};

/// The lengths of the rows of W + s B A: [1, out], at least fp32.
at::Tensor row_lengths(at::Tensor const& weight, at::Tensor const& a, at::Tensor const& b, double scale);
at::Tensor row_lengths(quantised_matrix const& weight, at::Tensor const& a, at::Tensor const& b, double scale);
/// Those of the weight alone, [1, out].
at::Tensor row_lengths(quantised_matrix const& weight);

/// x: [T, in] -> [T, out], in the type of products, or at least fp32.
at::Tensor apply(linear_map const& map, at::Tensor const& x);
at::Tensor apply_wide(linear_map const& map, at::Tensor const& x);

/// residual + W x + b, in the residual's type, of a map without an adapter.
at::Tensor apply_onto(at::Tensor const& residual, linear_map const& map, at::Tensor const& x);

/// x as it is multiplied by the weight; see ops::operand.
at::Tensor operand(at::Tensor const& x, linear_map const& map);

/// Adds the gradients of the map, from that of its output and from its input.   g: [T, out], x: [T, in]
void add_gradients(linear_map& gradient, linear_map const& map, at::Tensor const& g, at::Tensor const& x);
/// The same but for biases.
void add_weight_gradients(linear_map& gradient, linear_map const& map, at::Tensor const& g, at::Tensor const& x);

/// The gradient of the map's input, from that of its output; added to `sum` where there is one.
at::Tensor input_gradient(linear_map const& map, at::Tensor const& g, at::Tensor sum = {});

/// Maps that read the same input, or their gradients. On a GPU their outputs lie side by side, and where their tensors do too they are one map.
class joint_maps {
 public:
  /// The outputs' gradients: each, and on a GPU all side by side.
  struct output_gradients {
    std::vector<at::Tensor> each;  ///< [T, out] of each map
    at::Tensor all;                ///< undefined: the maps aren't one
  };

  joint_maps(std::initializer_list<linear_map> maps);

  /// x: [T, in] -> [T, out] of each map
  [[nodiscard]] std::vector<at::Tensor> apply(at::Tensor const& x) const;
  [[nodiscard]] output_gradients joined(std::vector<at::Tensor> each) const;
  /// Adds the gradients of all maps.
  void add_gradients(joint_maps& into, output_gradients const& g, at::Tensor const& x) const;
  [[nodiscard]] at::Tensor input_gradient(output_gradients const& g) const;

 private:
  std::vector<linear_map> each_;
  linear_map whole_;  ///< weight undefined: those of the maps lie apart
  bool complete_;     ///< whole_ has all that the maps have; else adapters and biases lie apart
};

/// The weight with all of the adapter in it but biases, computed in fp64: [out, in], in the weight's type; of one that is stored quantised in fp32,
/// or in the type of the computation where that is wider.
at::Tensor merged(linear_map const& map);

/// An embedding looked up, with its adapter: a map from tokens whose weight lies transposed, [V, H]; a: [r, V], b: [H, r].
/// tokens: [T] -> [T, H]
at::Tensor look_up(linear_map const& embedding, at::Tensor const& tokens);
/// Adds the gradients of an embedding.   g: [T, H]
void add_look_up_gradients(linear_map& gradient, linear_map const& embedding, at::Tensor const& tokens, at::Tensor const& g);

}  // namespace kedge::llm
