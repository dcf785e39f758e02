// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>

namespace kedge::llm {

/// A command of the shell in a process group of its own, with pipes to its standard input and from its standard output.
class child_process {
 public:
  /// throws  error with the system's reason
  explicit child_process(std::string const& command);
  child_process(child_process const&) = delete;
  child_process& operator=(child_process const&) = delete;
  /// Closes its input, waits up to a second for it to leave, kills the group.
  ~child_process();

  /// Our ends of the pipes, not blocking, closed in programs started later.
  [[nodiscard]] int input() const { return input_; }
  [[nodiscard]] int output() const { return output_; }

  /// How it ended, "exited with status 3", or that it still runs after the grace of a second. Sends no signal.
  [[nodiscard]] std::string ending();

 private:
  [[nodiscard]] bool wait_for_end(double seconds) const;

  pid_t process_ = -1;
  int input_ = -1, output_ = -1;
};

/// While one lives, writing to a pipe that nobody reads fails with EPIPE in this thread and sends no signal.
class no_pipe_signal {
 public:
  no_pipe_signal();
  ~no_pipe_signal();
  no_pipe_signal(no_pipe_signal const&) = delete;
  no_pipe_signal& operator=(no_pipe_signal const&) = delete;

 private:
  sigset_t before_{};
  bool pending_before_ = false;
};

}  // namespace kedge::llm
