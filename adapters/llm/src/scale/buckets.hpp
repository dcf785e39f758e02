// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "shard.hpp"

namespace kedge::llm {

/// Tensors of a pack that lie side by side, in memory of `size` elements. It is cut in as many equal parts as there are processes.
struct bucket {
  std::int64_t layer;               ///< the gradients in it are complete when this layer's are
  std::vector<tensor_part> places;  ///< a tensor, where it begins, and its elements; gaps are zero
  std::int64_t size;
};

/// Where buckets end: when they are large enough to travel, or with each layer, so that one holds what a layer needs.
enum class buckets_of { size, layers };

/// The layer that buckets name for what is complete at the end of a backward pass, and before all layers.
inline constexpr std::int64_t at_the_end = std::numeric_limits<std::int64_t>::min(), after_all_layers = std::numeric_limits<std::int64_t>::max();

/// Elements of each tensor, of a pack or by whole shapes.
[[nodiscard]] std::vector<std::int64_t> sizes_of(pack const& theta);
[[nodiscard]] std::vector<std::int64_t> sizes_of(std::vector<parameter> const& names);

/// A pack in buckets.
struct bucketed_pack {
  pack buckets;  ///< [size] each
  pack tensors;  ///< views of them, in the pack's order
};

/// How the tensors of a pack lie in buckets, in the order in which a backward pass completes their gradients: head and last layers first, the
/// embedding, which may be the head too, last. Kin lie side by side (side_by_side.hpp). Process r of W owns part r of W of every bucket. A
/// function of names, shapes and W alone.
class bucket_layout {
 public:
  /// names: of theta's first tensors; further ones are another model's that is trained beside, complete at the end
  bucket_layout(std::vector<parameter> const& names, pack const& theta, int processes, buckets_of cut = buckets_of::size);
  /// sizes: elements of each tensor
  bucket_layout(std::vector<parameter> const& names, std::vector<std::int64_t> const& sizes, int processes, buckets_of cut);

  [[nodiscard]] std::vector<bucket> const& buckets() const { return buckets_; }
  /// What a process owns, bucket by bucket. One process owns all, in the pack's order.
  [[nodiscard]] shard share(int rank) const;
  /// Zeros in the shapes and types of a pack.
  [[nodiscard]] bucketed_pack zeros(pack const& like) const;
  /// Moves a pack into buckets: its tensors become views of them.   returns  the buckets
  pack take(pack& values) const;

 private:
  void place(std::vector<std::size_t> const& which, std::int64_t layer, std::vector<std::int64_t> const& sizes);

  int processes_;
  shard all_;
  std::vector<bucket> buckets_;
};

}  // namespace kedge::llm
