// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include <kedge/llm/model/fsdp.hpp>

#include "../model/weight_division.hpp"
#include "buckets.hpp"
#include "process_group.hpp"

namespace kedge::llm {

/// A model divided among processes by units (weight_division.hpp): each unit's tensors lie in one bucket, of which a process owns an equal part. A pass
/// gathers a unit before it is entered, the next one while that is computed, and frees it afterwards; gradients of a unit are summed, and each process
/// keeps its part, while the pass goes on. Own parts of a pack lie in one memory, unit by unit.
///
/// Passes are made together. A process that has fewer of them takes part in those of the others while it waits at the group's next operation.
class divided_model final : public weight_division {
 public:
  /// names: with whole shapes; all processes make theirs in the same order
  /// head_is_embedding: the unit behind the layers reads the embedding too
  divided_model(process_group const& group, std::vector<parameter> names, std::int64_t layers, bool head_is_embedding, llm::division what);
  ~divided_model() override;
  divided_model(divided_model const&) = delete;
  divided_model& operator=(divided_model const&) = delete;

  [[nodiscard]] bool divides_weights() const override { return what_ == llm::division::weights; }
  [[nodiscard]] pack weights_for(pack const& theta, at::Device device, at::ScalarType type) const override;
  [[nodiscard]] std::unique_ptr<unit_pass> forward(pack const& weights) const override;
  [[nodiscard]] std::unique_ptr<unit_pass> backward(pack const& weights, pack& gradient) const override;
  [[nodiscard]] pack whole(pack const& weights) const override;

  [[nodiscard]] process_group const& group() const { return group_; }
  [[nodiscard]] std::vector<parameter> const& names() const { return names_; }
  [[nodiscard]] bucket_layout const& layout() const { return layout_; }
  /// What this process owns of each tensor, perhaps nothing.
  [[nodiscard]] shard const& parts() const { return parts_; }
  /// The parts that aren't nothing, unit by unit, and a pack's numbers in them: whole tensors in their shape, of matrices else a row.
  [[nodiscard]] shard const& own() const { return own_; }
  [[nodiscard]] pack shaped(pack const& own) const;
  /// Own parts as zeros, side by side in one memory; and that memory. A pack may lack the last tensors.
  [[nodiscard]] pack zeros(at::TensorOptions const& options) const;
  [[nodiscard]] at::Tensor memory_of(pack const& own) const;
  /// Own parts of a pack that is whole.
  [[nodiscard]] pack cut(pack const& whole) const;
  /// One tensor, while some of the processes ask for it.   weights: of weights_for
  [[nodiscard]] at::Tensor whole(pack const& weights, std::size_t tensor) const;

  /// Where the sums of gradients go when others make a backward pass and this process has none.
  void collect_in(pack const& gradient) const { collects_ = gradient; }

 private:
  class pass;
  friend class pass;
  enum kind : std::int64_t { forwards, backwards, everything, one_tensor };

  [[nodiscard]] std::int64_t number_of(pack const& weights) const;
  [[nodiscard]] bool lies_flat(pack const& own, at::Device device, at::ScalarType type) const;
  [[nodiscard]] at::Tensor own_part(at::Tensor const& memory, std::size_t bucket) const;
  [[nodiscard]] at::Tensor gather(at::Tensor const& memory, std::size_t bucket) const;
  [[nodiscard]] at::Tensor join_tensor(at::Tensor const& memory, std::size_t tensor) const;
  /// Memory of a bucket, as it was left; kept for the next one of its size, since memory that comes and goes between others' falls to pieces.
  [[nodiscard]] at::Tensor take_memory(std::size_t bucket, at::TensorOptions const& options) const;
  void give_back(at::Tensor memory) const;
  void put(std::size_t bucket, at::Tensor const& memory, pack& into) const;
  void drop(std::size_t bucket, pack& from) const;
  void join(std::int64_t what) const;

  process_group group_;
  std::vector<parameter> names_;
  std::int64_t layers_;
  bool head_is_embedding_;
  llm::division what_;
  bucket_layout layout_;
  shard parts_, own_;
  std::vector<std::int64_t> place_;                   ///< of each tensor's part in the memory of own parts
  std::vector<std::int64_t> bucket_place_;            ///< and of each bucket's
  std::unordered_map<std::int64_t, std::size_t> unit_;  ///< the bucket of a unit
  std::int64_t partner_ = -1;
  mutable pack collects_, idle_memory_;
  using weak_tensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  mutable std::vector<weak_tensor> known_;            ///< the first tensors of packs of weights, by the order in which they were made
};

/// The division of a model, where there is one.
[[nodiscard]] inline std::shared_ptr<divided_model const> division_of(causal_lm const& model) {
  return std::dynamic_pointer_cast<divided_model const>(model.division());
}

/// Divides a model that isn't an adapter on a frozen one.
void divide(causal_lm& model, process_group const& group, division what);

}  // namespace kedge::llm
