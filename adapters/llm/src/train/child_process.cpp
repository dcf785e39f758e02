// SPDX-License-Identifier: Apache-2.0
#include "child_process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <string_view>
#include <thread>
#include <vector>

#include <kedge/llm/base/error.hpp>

extern char** environ;

namespace kedge::llm {
namespace {

constexpr double grace_seconds = 1;

[[noreturn]] void fail(std::string const& command, int reason) {
  throw error("the judge " + in_quotes(command) + " can't be started: " + std::strerror(reason));
}

// Both ends of a pipe, closed unless released.
struct pipe_ends {
  std::array<int, 2> at{-1, -1};
  pipe_ends() = default;
  pipe_ends(pipe_ends const&) = delete;
  pipe_ends& operator=(pipe_ends const&) = delete;
  ~pipe_ends() {
    for (int const end : at)
      if (end >= 0) ::close(end);
  }
  int release(std::size_t which) {
    int const end = at[which];
    at[which] = -1;
    ::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | O_NONBLOCK);
    return end;
  }
};

// posix_spawn's two objects; the child gets default signals, however this program treats them.
struct spawn_plan {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};
  spawn_plan(int read_from, int write_to) {
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, read_from, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, write_to, STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    sigset_t usual;
    sigemptyset(&usual);
    for (int const signal : {SIGPIPE, SIGINT, SIGTERM}) sigaddset(&usual, signal);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  spawn_plan(spawn_plan const&) = delete;
  spawn_plan& operator=(spawn_plan const&) = delete;
  ~spawn_plan() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

// What tells this process of those that it works with: a judge that is given it, and computes with torch, would wait for them. RANK and LOCAL_RANK
// stay, for one that chooses a GPU by them.
bool invites(std::string_view variable) {
  for (std::string_view const name : {"WORLD_SIZE=", "LOCAL_WORLD_SIZE=", "MASTER_ADDR=", "MASTER_PORT=", "TORCHELASTIC_"})
    if (variable.starts_with(name)) return true;
  return false;
}

// This process's environment for a child, ended by a null.
std::vector<char*> own_environment() {
  std::vector<char*> kept;
  for (char** one = environ; *one != nullptr; ++one)
    if (!invites(*one)) kept.push_back(*one);
  kept.push_back(nullptr);
  return kept;
}

}  // namespace

child_process::child_process(std::string const& command) {
  pipe_ends questions, answers;
  if (::pipe2(questions.at.data(), O_CLOEXEC) != 0 || ::pipe2(answers.at.data(), O_CLOEXEC) != 0) fail(command, errno);
  spawn_plan const plan(questions.at[0], answers.at[1]);
  std::array<std::string, 3> words{"sh", "-c", command};
  std::array<char*, 4> const argv{words[0].data(), words[1].data(), words[2].data(), nullptr};
  if (int const reason = ::posix_spawn(&process_, "/bin/sh", &plan.files, &plan.attributes, argv.data(), own_environment().data()); reason != 0)
    fail(command, reason);
  input_ = questions.release(1);
  output_ = answers.release(0);
}

child_process::~child_process() {
  ::close(input_);
  // Not reaped before the group is killed, so that the number can't belong to anybody else by then.
  (void)wait_for_end(grace_seconds);
  ::kill(-process_, SIGKILL);
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  ::close(output_);
}

bool child_process::wait_for_end(double seconds) const {
  auto const until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR) return true;
    if (info.si_pid == process_) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string child_process::ending() {
  if (!wait_for_end(grace_seconds)) return "closed its output but still runs";
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return "ended";
  if (info.si_code != CLD_EXITED) return "was killed by signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
  return "exited with status " + std::to_string(info.si_status) + (info.si_status == 127 ? " (command not found)" : "");
}

no_pipe_signal::no_pipe_signal() {
  sigset_t pipe_signal, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  pending_before_ = sigismember(&pending, SIGPIPE) == 1;
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before_);
}

no_pipe_signal::~no_pipe_signal() {
  if (!pending_before_) {  // take what a write has raised before it is let through
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    timespec const at_once{};
    while (sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace kedge::llm
