// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t
#include <memory>   // unique_ptr
#include <span>     // span
#include <string>   // string
#include <vector>   // vector

#include <kedge/llm/train/scorer.hpp>

namespace kedge::llm {

/// Which program judges, and how patient to be with it.
struct judge_settings {
  std::string command;          ///< what /bin/sh -c starts
  double timeout_seconds = 60;  ///< without an answer while one is due; the start of the program counts for the first
};

/// A program that rewards completions. It runs as long as the object lives, reads one JSON object a line,
/// {"prompt": …, "completion": …}, and answers each with one line {"score": number}, in order, flushed by the time it waits for
/// more. Questions are written while answers are read, so a judge may work on many at once. What it says on standard error is
/// passed on. It has a process group of its own: Ctrl-C in the terminal doesn't reach it.
class judge {
 public:
  /// Starts the program.
  /// throws  error if the command is empty, the time-out isn't positive, or no process can be started
  explicit judge(judge_settings settings);
  judge(judge&&) noexcept;
  judge& operator=(judge&&) noexcept;
  /// Ends the program's input, gives it a second to leave, and then kills its process group.
  ~judge();

  /// The rewards of completions, in order.
  /// throws  error, one line with the command, the number of the answer since the start and what to do: the program ended, was
  ///         silent for too long, or said something that is no finite score, or more than it was asked. The judge is over then
  /// cost    one line each way a completion
  [[nodiscard]] std::vector<double> score(std::span<judged const> completions);

 private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

}  // namespace kedge::llm
