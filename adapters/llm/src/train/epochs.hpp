// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <kedge/loop.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/optimizer.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../scale/buckets.hpp"
#include "../scale/divided_pack.hpp"
#include "../scale/process_group.hpp"
#include "step_gradient.hpp"

namespace kedge::llm {

class trained_parameters;

/// An optimizer over epochs of numbered examples: the solver of a round, whatever the examples are and whatever is minimised.
/// Several processes share each step and keep the optimizer's state of a part of the parameters each (ZeRO-1); their weights are the same.
/// It owns the order of the examples, the learning rate, clipping, and the place where a stopped round goes on.
class epoch_solver {
 public:
  /// Adds this process's part of the gradient of the mean loss over the examples `which` to `gradient`; reports loss, metrics, examples
  /// and tokens of that part.
  using step_function = std::function<step_report(pack const& weights, std::span<std::size_t const> which, step_gradient& gradient)>;
  using step_callback = std::function<bool(step_report const&)>;  ///< false: stop after this step

  /// `run_steps`: as go_on_for. Without it both start anew each round.
  /// throws  error where the schedule of the learning rate doesn't read what it is told
  explicit epoch_solver(run_settings const& settings, process_group group = {}, std::optional<std::size_t> run_steps = {})
      : data(group), settings_(settings), group_(std::move(group)), run_steps_(run_steps) {
    require_read(settings.lr_kwargs, settings.lr_scheduler_type);
  }

  /// The learning rate and the optimizer's state go on from round to round, for so many steps in all.
  void go_on_for(std::size_t run_steps) { run_steps_ = run_steps; }

  /// Steps of a round over so many examples.
  [[nodiscard]] std::size_t steps(std::size_t examples) const;
  /// In which order an epoch takes the examples.
  [[nodiscard]] std::vector<std::size_t> order(std::size_t round, std::size_t epoch, std::size_t examples) const;

  /// Minimises in place.
  /// returns  `stopped` if on_step said so: call again to go on; `diverged` if loss or gradient is not finite, theta is left as before that step
  kedge::status solve(causal_lm const& model, pack& theta, std::size_t examples, std::size_t round, step_function const& step);

  /// What of a pack like theta this process keeps the state of.   names: of its tensors
  [[nodiscard]] shard owned(std::vector<parameter> const& names, pack const& theta) const {
    return division ? division.share() : bucket_layout(names, theta, group_.size()).share(group_.rank());
  }
  /// And that part of theta.
  [[nodiscard]] pack own_of(std::vector<parameter> const& names, pack const& theta) const {
    return division.divides_weights() ? division.shaped(theta) : parts_of(theta, owned(names, theta));
  }

  /// In a round of several processes, what others own of θ may be as it was at the round's start. All of them call this together before they
  /// read θ inside a round; at its end θ is whole.
  void complete_theta() const;

  [[nodiscard]] process_group const& group() const { return group_; }

  /// What a resume needs beside theta; absent before the first step.
  struct progress {
    optimizer_state optimizer;  ///< of what is owned
    std::size_t step = 0;       ///< done in the running round
  };
  std::optional<progress> inside;

  /// Before the first step, of what this process owns.
  [[nodiscard]] progress start(pack const& own) const;

  /// Names of theta's tensors, where more is trained than the model that solve() is given.
  std::vector<parameter> names;

  /// Of the models that are trained.
  divided_pack division;

  /// The processes that have other examples: all of the group, unless some share every sequence.
  process_group data;

  step_callback on_step = [](step_report const&) { return true; };
  double seconds = 0;  ///< spent in steps so far

 private:
  [[nodiscard]] double learning_rate(std::size_t total) const;
  [[nodiscard]] std::vector<std::size_t> examples_of_step(std::size_t round, std::size_t examples) const;
  kedge::status take_steps(trained_parameters& parameters, std::size_t examples, std::size_t round, step_function const& step);
  [[nodiscard]] step_report mean_gradient(pack const& weights, std::span<std::size_t const> which, step_function const& step, step_gradient& gradient) const;

  run_settings const& settings_;
  process_group group_;
  std::optional<std::size_t> run_steps_;
  std::weak_ptr<trained_parameters> running_;  ///< of the round that is being solved
};

}  // namespace kedge::llm
