// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <kedge/loop.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "optimizer.hpp"

namespace kedge::llm {

/// AdamW over epochs of numbered examples: the solver of a round, whatever the examples are and whatever is minimised.
/// It owns the order of the examples, the learning rate, clipping, and the place where a stopped round goes on.
class epoch_solver {
 public:
  /// Adds the gradient of the mean loss over the examples `which` to `gradient`; reports loss, metrics, examples and tokens.
  using step_function = std::function<step_report(pack const& weights, std::span<std::size_t const> which, pack& gradient)>;
  using step_callback = std::function<bool(step_report const&)>;  ///< false: stop after this step

  /// `run_steps`: the learning rate and Adam's moments go on from round to round, for so many steps in all.
  /// Without it both start anew each round.
  explicit epoch_solver(run_settings const& settings, std::optional<std::size_t> run_steps = {})
      : settings_(settings), run_steps_(run_steps) {}

  /// Steps of a round over so many examples.
  [[nodiscard]] std::size_t steps(std::size_t examples) const;
  /// In which order an epoch takes the examples.
  [[nodiscard]] std::vector<std::size_t> order(std::size_t round, std::size_t epoch, std::size_t examples) const;

  /// Minimises in place.
  /// returns  `stopped` if on_step said so: call again to go on; `diverged` if loss or gradient is not finite, theta is left as before that step
  kedge::status solve(causal_lm const& model, pack& theta, std::size_t examples, std::size_t round, step_function const& step);

  /// What a resume needs beside theta; absent before the first step.
  struct progress {
    adamw optimizer;
    std::size_t step = 0;  ///< done in the running round
  };
  std::optional<progress> inside;

  [[nodiscard]] progress start(pack const& theta) const;

  step_callback on_step = [](step_report const&) { return true; };
  double seconds = 0;  ///< spent in steps so far

 private:
  run_settings const& settings_;
  std::optional<std::size_t> run_steps_;
};

}  // namespace kedge::llm
