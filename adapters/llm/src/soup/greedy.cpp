// SPDX-License-Identifier: Apache-2.0
#include <array>      // array
#include <cerrno>     // errno
#include <cmath>      // isfinite
#include <cstdio>     // fprintf
#include <cstdlib>    // strtod
#include <cstring>    // strerror

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kedge/greedy_soup.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "cook.hpp"

namespace kedge::llm {
namespace {

/// Standard output of `sh -c 'COMMAND "$@"' sh ARGUMENT`; standard error is the program's own.
std::string output_of(std::string const& command, std::string const& argument, int& status) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw error(std::string{"cannot start the evaluation: "} + std::strerror(errno));
  std::string const script = command + " \"$@\"";
  pid_t const child = ::fork();
  if (child < 0) {
    int const reason = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw error(std::string{"cannot start the evaluation: "} + std::strerror(reason));
  }
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl("/bin/sh", "sh", "-c", script.c_str(), "sh", argument.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string out;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) != 0;) {
    if (n < 0 && errno != EINTR) break;
    if (n > 0) out.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return out;
}

double score_of(std::string const& command, std::filesystem::path const& model, soup_settings const& settings) {
  int status = 0;
  std::string const text = output_of(command, model.string(), status);
  if (settings.stop && settings.stop()) throw soup_interrupted{};
  std::string const what = "the evaluation " + in_quotes(command) + " of " + in_quotes(model.string());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw error(what + (WIFEXITED(status) ? " ended with exit code " + std::to_string(WEXITSTATUS(status))
                                          : " was killed by signal " + std::to_string(WTERMSIG(status))) +
                "; it has to end with 0 and print one number");
  char* end = nullptr;
  double const score = std::strtod(text.c_str(), &end);
  bool const number = end != text.c_str() && std::string_view{end}.find_first_not_of(" \t\r\n") == std::string_view::npos;
  if (!number || !std::isfinite(score)) throw error(what + " printed " + in_quotes(text) + " instead of one finite number");
  return score;
}

/// The mean of some of the recipe's models, in this order.
soup_recipe mean_of(soup_recipe const& recipe, std::vector<std::size_t> const& kept) {
  soup_recipe out = recipe;
  out.slices.front().sources.clear();
  for (std::size_t const i : kept) out.slices.front().sources.push_back(recipe.slices.front().sources[i]);
  return out;
}

void say(soup_settings const& settings, std::string const& line) {
  if (!settings.quiet) settings.tells.say(line);
}

}  // namespace

std::pair<soup_size, std::vector<greedy_step>> make_greedy_soup(soup_recipe const& recipe, std::string const& evaluate,
                                                                soup_settings const& settings) {
  if_taken const taken = settings.overwrite_output_dir ? if_taken::replace : if_taken::refuse;
  check_output_folder(settings.output_dir, taken);
  soup_models const models(recipe, settings);
  auto const& sources = recipe.slices.front().sources;
  plan(recipe, models);  // disagreements show before the first evaluation
  for (auto const& source : sources)
    if (!source.model.adapter.empty())
      throw error(in_quotes(source.model.text()) + ": a greedy soup evaluates each model from its folder; merge the adapter first (kedge merge)");
  std::vector<double> own;
  for (auto const& source : sources) own.push_back(score_of(evaluate, source.model.model, settings));
  auto const score_of_mean = [&](std::vector<std::size_t> const& some) {
    pending_directory trial(settings.output_dir, taken);  // gone again at the end of this turn
    cook_into(trial, mean_of(recipe, some), models, settings);
    return score_of(evaluate, trial.path(), settings);
  };
  auto const tell = [&](greedy_trial const& trial) {
    say(settings, (trial.taken ? "kept    " : "dropped ") + sources[trial.point].model.text() + ": alone " +
                      std::to_string(trial.own_score) + ", the mean with it " + std::to_string(trial.score));
  };
  std::vector<std::size_t> kept;
  std::vector<greedy_step> steps;
  for (greedy_trial const& trial : greedy_selection(own, score_of_mean, tell)) {
    if (trial.taken) kept.push_back(trial.point);
    steps.push_back({sources[trial.point].model, trial.own_score, trial.score, trial.taken});
  }
  pending_directory folder(settings.output_dir, taken);
  soup_size const size = cook_into(folder, mean_of(recipe, kept), models, settings);
  folder.commit();
  return {size, steps};
}

}  // namespace kedge::llm
