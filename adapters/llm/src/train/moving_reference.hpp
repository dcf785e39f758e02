// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "run_checkpoint.hpp"

namespace kedge::llm {

/// TR-DPO's reference: a point of its own that goes after the policy while a round trains.                Gorbatovski et al. 2024
/// math    θ_ref ← α θ + (1 − α) θ_ref after every k-th optimiser step of a round; α = 1 puts it where the policy is
/// An adapter is mixed by its product, α B A + (1 − α) B_ref A_ref (docs/decisions/0006).
/// cost    memory of one more point; after the first move, a forward pass more over every batch
class moving_reference {
 public:
  moving_reference(causal_lm const& model, double alpha, std::size_t every) : model_(model), alpha_(alpha), every_(every) {}

  /// Round `round` begins at `anchor`.
  /// throws  error for a second anchor in a round: a sum of log-probabilities is no model that could move
  void begin(pack const& anchor, std::size_t round);

  /// Moves toward theta if that is due after so many steps of the round and hasn't been done.   theta: asked for only then
  void follow(std::function<pack const&()> const& theta, std::size_t steps);

  /// Whether it has left the anchor in this round: what was scored before doesn't hold any more.
  [[nodiscard]] bool moved() const { return moves_ > 0; }
  /// Those of the batch's sequences.
  [[nodiscard]] std::vector<double> log_probs(ragged_batch const& batch) const { return model_.log_probs(weights_, batch); }

  void save(checkpoint_writer& to) const;
  void restore(checkpoint_reader const& from, at::Device device);

 private:
  causal_lm const& model_;
  double alpha_;
  std::size_t every_, moves_ = 0;
  std::optional<std::size_t> round_;
  pack point_;    // masters
  pack weights_;  // the same for computing
};

}  // namespace kedge::llm
