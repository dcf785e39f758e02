// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <thread>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "experiment.hpp"

namespace kedge_on_policy {
namespace {

using kedge::llm::error;

constexpr int exit_interrupted = 130;

json kept(job const& j) {
  std::ifstream file(j.folder / "figures.json");
  json const all = json::parse(file, nullptr, false);
  return all.is_object() && all.contains("figures") && all.value("settings", json()) == j.settings ? all["figures"] : json();
}

// In the process of the job. It has a process group of its own: Ctrl-C in the terminal reaches the parent alone, which passes it on.
[[noreturn]] void work(job const& j, bool log_to_file) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (log_to_file) {
    int const log = ::open((j.folder / "log.txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log >= 0) ::dup2(log, STDERR_FILENO);
  }
  int code = 0;
  try {
    json const figures = j.run();
    if (figures.is_null()) code = exit_interrupted;
    if (code == 0) kedge::llm::write_file_atomically(j.folder / "figures.json", json{{"settings", j.settings}, {"figures", figures}}.dump(1) + "\n");
  } catch (std::exception const& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    code = 1;
  }
  std::fflush(nullptr);
  ::_exit(code);  // what the parent has registered for its own end is not the child's
}

std::string last_line(fs::path const& file) {
  std::ifstream in(file);
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) last = line;
  return last;
}

class pool {
 public:
  pool(std::vector<job> const& jobs, bool log_to_file) : jobs_(jobs), log_to_file_(log_to_file) {}
  pool(pool const&) = delete;
  ~pool() {
    for (auto const& [process, which] : running_) ::kill(process, SIGTERM);
    for (auto const& [process, which] : running_) ::waitpid(process, nullptr, 0);
  }

  void start(std::size_t which) {
    fs::create_directories(jobs_[which].folder);
    fs::remove(jobs_[which].folder / "figures.json");
    std::fflush(nullptr);
    pid_t const process = ::fork();
    if (process < 0) throw error("can't start a process for " + jobs_[which].folder.string());
    if (process == 0) work(jobs_[which], log_to_file_);
    running_[process] = which;
  }

  // Waits a moment for one to end; true if one has.
  bool reap() {
    for (auto const& [process, which] : running_) {
      int status = 0;
      if (::waitpid(process, &status, WNOHANG) != process) continue;
      fs::path const folder = jobs_[which].folder;
      running_.erase(process);
      if (WIFEXITED(status) && WEXITSTATUS(status) == exit_interrupted) throw interrupted();
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        throw error(folder.string() + ": " + (log_to_file_ ? last_line(folder / "log.txt") : "the run failed, see above"));
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return false;
  }

  [[nodiscard]] std::size_t size() const { return running_.size(); }

 private:
  std::vector<job> const& jobs_;
  bool log_to_file_;
  std::map<pid_t, std::size_t> running_;
};

}  // namespace

std::vector<json> run_jobs(std::vector<job> const& jobs, std::string const& what, std::size_t at_once, bool fresh) {
  std::vector<std::size_t> waiting;
  for (std::size_t i = 0; i < jobs.size(); ++i)
    if (fresh || kept(jobs[i]).is_null()) waiting.push_back(i);
  std::size_t const all = waiting.size();
  if (all < jobs.size()) std::fprintf(stderr, "%s: %zu of %zu are there already\n", what.c_str(), jobs.size() - all, jobs.size());
  std::reverse(waiting.begin(), waiting.end());
  bool const terminal = ::isatty(STDERR_FILENO) == 1;
  auto const begin = std::chrono::steady_clock::now();
  {
    kedge::llm::interrupt_guard const guard;
    pool processes(jobs, at_once > 1);
    for (std::size_t done = 0; done < all;) {
      while (processes.size() < at_once && !waiting.empty()) {
        if (at_once == 1) std::fprintf(stderr, "\n%s %zu of %zu: %s\n", what.c_str(), done + 1, all, jobs[waiting.back()].folder.filename().c_str());
        processes.start(waiting.back());
        waiting.pop_back();
      }
      if (guard.requested()) throw interrupted();
      if (!processes.reap()) continue;
      ++done;
      double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      double const left = seconds / static_cast<double>(done) * static_cast<double>(all - done);
      if (terminal || done == all)
        std::fprintf(stderr, "%s%s: %zu of %zu done, %s left%s", terminal ? "\r" : "", what.c_str(), done, all, kedge::llm::clock_text(left).c_str(),
                     terminal && done < all ? "\033[K" : "\n");
    }
  }
  std::vector<json> figures;
  for (job const& j : jobs) figures.push_back(kept(j));
  return figures;
}

json figures_of(std::vector<kedge::llm::policy_evaluation> const& evaluations) {
  json all = json::array();
  for (auto const& e : evaluations)
    all.push_back({{"round", e.round}, {"reward", e.reward}, {"reward_stderr", e.reward_stderr}, {"kl", e.kl},
                   {"win_rate", e.win_rate}, {"length", e.length}, {"finished", e.finished}});
  return all;
}

}  // namespace kedge_on_policy
