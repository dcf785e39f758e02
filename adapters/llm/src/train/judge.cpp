// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/judge.hpp>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

#include "child_process.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using clock = std::chrono::steady_clock;

constexpr std::size_t longest_answer = 1 << 20;  // bytes of a line; a judge that streams without line ends is stopped here

// Bytes that aren't UTF-8 reach the judge as U+FFFD, as they do in the files that kedge writes.
std::string question(judged const& item) {
  return json{{"prompt", item.prompt}, {"completion", item.completion}}.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::string seconds_text(double seconds) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%g s", seconds);
  return buffer.data();
}

// The score in a line, or nothing.
std::optional<double> read_score(std::string_view line) try {
  json const answer = parse_json(line, "answer");
  if (!answer.is_object()) return std::nullopt;
  auto const found = answer.find("score");
  if (found == answer.end() || !found->is_number()) return std::nullopt;
  double const score = found->get<double>();
  return std::isfinite(score) ? std::optional(score) : std::nullopt;
} catch (error const&) {
  return std::nullopt;
}

}  // namespace

class judge::implementation {
 public:
  explicit implementation(judge_settings settings) : settings_(std::move(settings)) {
    if (settings_.command.find_first_not_of(" \t\r\n") == std::string::npos)
      throw error("the judge's command is empty; give --judge a program that reads completions and answers scores");
    if (!(settings_.timeout_seconds > 0)) throw error("the judge's time-out has to be positive, not " + seconds_text(settings_.timeout_seconds));
    process_.emplace(settings_.command);
  }

  std::vector<double> score(std::span<judged const> completions) try {
    if (!process_) throw error(named() + " has failed before and is not running; start the run again, with --resume_from_checkpoint latest");
    no_pipe_signal const quiet;
    outgoing_.clear();
    line_ends_.clear();
    sent_ = 0;
    for (judged const& item : completions) {
      outgoing_ += question(item);
      line_ends_.push_back(outgoing_.size());
    }
    read_answers();  // what it says before it is asked
    std::vector<double> scores;
    take_lines(scores);
    due_since_ = clock::now();
    while (scores.size() < completions.size()) {
      exchange();
      take_lines(scores);
    }
    if (!incoming_.empty()) fail_unasked(incoming_);
    return scores;
  } catch (...) {
    process_.reset();
    throw;
  }

 private:
  [[nodiscard]] std::string named() const { return "the judge " + in_quotes(settings_.command); }

  [[noreturn]] void fail_unasked(std::string_view said) const {
    throw error(named() + " said " + in_quotes(said.substr(0, said.find('\n'))) + " after answer " + std::to_string(answers_) +
                ", unasked; it has to write one line {\"score\": number} for each line it reads, and nothing else on standard output");
  }

  // Waits until something can be written or read, and does it.
  void exchange() {
    std::array<pollfd, 2> ends{{{process_->output(), POLLIN, 0}, {process_->input(), POLLOUT, 0}}};
    double const left = settings_.timeout_seconds - std::chrono::duration<double>(clock::now() - due_since_).count();
    if (left <= 0)
      throw error(named() + " gave no answer " + std::to_string(answers_ + 1) + " within " + seconds_text(settings_.timeout_seconds) +
                  "; does it read line by line and flush its output after every answer? raise --judge_timeout if it needs longer");
    nfds_t const watched = sent_ < outgoing_.size() ? 2 : 1;
    int const milliseconds = static_cast<int>(std::min(std::ceil(left * 1000), 1e6));
    if (::poll(ends.data(), watched, milliseconds) < 0 && errno != EINTR) throw error(named() + " can't be reached: " + std::strerror(errno));
    if (ends[0].revents != 0 && !read_answers()) fail_ended();
    if (watched == 2 && ends[1].revents != 0) write_questions();
  }

  // A judge that reads no more may still answer what it has read, so a broken pipe is no error here: the end of its output is,
  // or its silence.
  void write_questions() {
    ssize_t const n = ::write(process_->input(), outgoing_.data() + sent_, outgoing_.size() - sent_);
    if (n > 0) sent_ += static_cast<std::size_t>(n);
    if (n < 0 && errno == EPIPE) outgoing_.resize(sent_);
  }

  // False at the end of its output.
  bool read_answers() {
    std::array<char, 65536> buffer;
    ssize_t const n = ::read(process_->output(), buffer.data(), buffer.size());
    if (n > 0) incoming_.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
  }

  // Complete lines become scores, as long as their questions have left.
  void take_lines(std::vector<double>& scores) {
    std::size_t begin = 0;
    for (std::size_t end; scores.size() < line_ends_.size() && (end = incoming_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      std::string_view const line = std::string_view(incoming_).substr(begin, end - begin);
      if (line_ends_[scores.size()] > sent_) fail_unasked(line);
      std::optional<double> const score = read_score(line);
      if (!score) fail_nonsense(line);
      scores.push_back(*score);
      ++answers_;
      due_since_ = clock::now();
    }
    incoming_.erase(0, begin);
    if (incoming_.size() > longest_answer) fail_nonsense(incoming_);
  }

  [[noreturn]] void fail_nonsense(std::string_view line) const {
    throw error(named() + " said " + in_quotes(line) + " as answer " + std::to_string(answers_ + 1) +
                ", which is no line {\"score\": number} with a finite number; its standard output is for answers alone, standard error for the rest");
  }

  [[noreturn]] void fail_ended() {
    throw error(named() + ' ' + process_->ending() + " before answer " + std::to_string(answers_ + 1) +
                (incoming_.empty() ? "" : ", its last words " + in_quotes(incoming_)) +
                "; try it by hand: it has to answer every line until its input ends");
  }

  judge_settings settings_;
  std::optional<child_process> process_;
  std::string outgoing_, incoming_;       // lines to write, of which sent_ bytes are gone; bytes read, not yet understood
  std::vector<std::size_t> line_ends_;    // in outgoing_, one a question
  std::size_t sent_ = 0;
  std::size_t answers_ = 0;               // since the start of the program
  clock::time_point due_since_;
};

judge::judge(judge_settings settings) : implementation_(std::make_unique<implementation>(std::move(settings))) {}
judge::judge(judge&&) noexcept = default;
judge& judge::operator=(judge&&) noexcept = default;
judge::~judge() = default;

std::vector<double> judge::score(std::span<judged const> completions) { return implementation_->score(completions); }

}  // namespace kedge::llm
