// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/data/unpaired.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../scale/process_group.hpp"
#include "step_batches.hpp"

namespace kedge::llm {

/// Which completion follows a prompt: its own, or one that answers another prompt.
enum class follows { own, other };

/// Single completions as a run trains on them. Within each block of examples, in their order, the completion before an example's own stands for
/// one that doesn't answer its prompt; before the first one of a block stands its last one.   TRL 1.16: KTOTrainer._prepare_dataset
class labelled_data {
 public:
  labelled_data() = default;
  /// block: examples; max_length: of a prompt with a completion, whose end is cut; 0: no limit
  /// Examples whose prompt fills max_length are left out.
  labelled_data(std::vector<unpaired_ids> examples, std::size_t block, std::size_t max_length);

  [[nodiscard]] std::size_t size() const { return examples_.size(); }
  [[nodiscard]] std::size_t left_out() const { return left_out_; }
  [[nodiscard]] std::vector<unpaired_ids> const& examples() const { return examples_; }
  [[nodiscard]] bool desirable(std::size_t i) const { return examples_[i].desirable; }
  [[nodiscard]] std::span<std::int32_t const> completion(std::size_t i, follows what) const;
  /// Of prompt and completion together.
  [[nodiscard]] std::size_t tokens(std::size_t i, follows what) const { return examples_[i].prompt.size() + completion(i, what).size(); }
  /// Tokens of its own completion that something stands before.
  [[nodiscard]] std::size_t rows(std::size_t i) const { return completion(i, follows::own).size() - (examples_[i].prompt.empty() ? 1 : 0); }

  /// A sequence an example.
  [[nodiscard]] ragged_batch pack(std::span<std::size_t const> which, follows what, bool shares_prefixes) const;
  /// The examples of a step that this process computes.
  [[nodiscard]] std::vector<std::size_t> own_share(process_group const& group, std::span<std::size_t const> step) const;
  /// Those in micro-batches of so many tokens.
  [[nodiscard]] std::vector<std::span<std::size_t const>> cut(std::span<std::size_t const> which, std::size_t max_tokens, follows what) const;

 private:
  std::vector<unpaired_ids> examples_;
  std::size_t block_ = 1, max_length_ = 0, left_out_ = 0;
};

/// Sums over the tokens of an example's own completion.
struct labelled_figures {
  double logp = 0, entropy = 0, logits = 0;  ///< nats, nats, of each token's logits the mean
};

/// What TRL's KTOTrainer tells of the examples of a step, or of an evaluation: the mean over its batches of their means. What only desirable
/// completions have (chosen), or only others, is told of the batches that have such ones.
class labelled_metrics {
 public:
  /// batch: examples of one of TRL's batches, over all processes
  labelled_metrics(labelled_data const& data, std::span<std::size_t const> which, std::size_t batch);

  [[nodiscard]] step_batches const& batches() const { return batches_; }
  /// Lists the metrics that there will be, in TRL's order.
  void begin(step_report& report) const;
  /// An example's part in them.
  void add(std::size_t example, labelled_figures const& figures, double reference, double beta, step_report& report) const;

 private:
  labelled_data const& data_;
  step_batches batches_;
  batch_shares tokens_, tokens_chosen_, tokens_rejected_, chosen_, rejected_;
  std::size_t mixed_ = 0;  // batches with completions of both kinds
};

}  // namespace kedge::llm
