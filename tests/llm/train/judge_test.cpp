// SPDX-License-Identifier: Apache-2.0

// A judge is a program that someone else wrote: here are good ones and all the bad ones, each a line of shell.

#include <kedge/llm/train/judge.hpp>

#include <fcntl.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <kedge/llm/base/error.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;

namespace {

std::vector<judged> completions(std::size_t count, std::string const& text = "so it is") {
  std::vector<judged> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back({"question " + std::to_string(i), text});
  return out;
}

std::vector<double> counted(std::size_t from, std::size_t count) {
  std::vector<double> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(static_cast<double>(from + i));
  return out;
}

// Answers 1, 2, 3, … in order.
std::string const counting = R"(sed -u -n = | sed -u 's/.*/{"score": &}/')";

// Reads one question and says this.
std::string instead(std::string const& said) { return "read -r q; echo '" + said + "'; cat > /dev/null"; }

// Answers `good` times, then does `then`.
std::string after(int good, std::string const& then) {
  return "i=0; while [ $i -lt " + std::to_string(good) + " ] && read -r line; do i=$((i+1)); echo '{\"score\": 0.5}'; done; " + then;
}

void check_fails(std::string const& command, std::string const& part, std::size_t count = 4, double timeout_seconds = 20) {
  INFO(command);
  judge bad({.command = command, .timeout_seconds = timeout_seconds});
  auto const questions = completions(count);
  try {
    (void)bad.score(questions);
    FAIL("it was believed");
  } catch (error const& problem) {
    std::string const text = problem.what();
    CHECK_THAT(text, contains(part));
    CHECK_THAT(text, contains("the judge '"));
    CHECK(text.find('\n') == std::string::npos);
  }
  CHECK_THROWS_WITH(bad.score(questions), contains("start the run again"));
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

TEST_CASE("a judge is started once and answers in order", "[judge]") {
  scratch_folder const folder;
  judge counter({.command = "echo started >> '" + (folder / "starts").string() + "'; " + counting});
  CHECK(counter.score(completions(3)) == counted(1, 3));
  CHECK(counter.score({}).empty());
  CHECK(counter.score(completions(2)) == counted(4, 2));
  judge moved = std::move(counter);
  CHECK(moved.score(completions(1)) == counted(6, 1));
  CHECK(kedge::testing::read_file(folder / "starts") == "started\n");
}

TEST_CASE("a judge gets prompt and completion as one JSON object a line", "[judge]") {
  scratch_folder const folder;
  auto const heard = folder / "heard";
  {
    judge listener({.command = "tee '" + heard.string() + "' | " + counting});
    std::vector<judged> const questions{{"two\nlines", "say \"hm\""},
                                        {{{{"role", "user"}, {"content", "h\u00e9"}}}, ""},
                                        {"cut", "no \xc3 text"}};
    CHECK(listener.score(questions).size() == 3);
  }
  CHECK(kedge::testing::read_file(heard) ==
        "{\"prompt\":\"two\\nlines\",\"completion\":\"say \\\"hm\\\"\"}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"h\u00e9\"}],\"completion\":\"\"}\n"
        "{\"prompt\":\"cut\",\"completion\":\"no \ufffd text\"}\n");
}

TEST_CASE("pipes that fill up in both directions stop neither side", "[judge]") {
  // Questions and answers of 2 MB each, against pipes of 64 kB; the second judge answers only when it has read eight lines.
  auto const questions = completions(1000, std::string(2000, 'x'));
  std::vector<double> const ones(1000, 1.0);
  judge echo({.command = R"x(sed -u 's/.*"completion":"\(.*\)"}/{"score": 1, "why": "\1"}/')x"});
  CHECK(echo.score(questions) == ones);
  judge batching({.command = R"x(sed -u 'N;N;N;N;N;N;N;s/[^\n]*"completion":"\([^\n]*\)"}/{"score": 1, "why": "\1"}/g')x"});
  CHECK(batching.score(questions) == ones);
}

TEST_CASE("numbers of every spelling are scores, further keys are welcome", "[judge]") {
  judge fixed({.command = R"(for a in '{"score": -1}' '{"score":2.5e-1}' ' {"score": 7, "why": "so"} '; do read -r q; printf '%s\r\n' "$a"; done; cat)"});
  CHECK(fixed.score(completions(3)) == std::vector<double>{-1, 0.25, 7});
}

TEST_CASE("a judge that ends is one line with how it ended and which answer is missing", "[judge]") {
  check_fails(after(2, "exit 3"), "exited with status 3 before answer 3");
  check_fails(after(0, "exit 0"), "exited with status 0 before answer 1");
  check_fails(after(1, "kill -SEGV $$"), "was killed by signal 11");
  check_fails("/nonexistent/judge 2> /dev/null", "exited with status 127 (command not found)");
  check_fails(after(1, "printf half; exit 1"), "last words 'half'");
  check_fails(after(1, "exec >&-; sleep 100"), "closed its output but still runs");
  check_fails(after(2, "exit 0"), "before answer 3", 5000);  // more than the pipe holds: writing breaks first
}

TEST_CASE("a judge that talks nonsense is one line with what it said", "[judge]") {
  check_fails(after(1, "echo Traceback; cat"), "said 'Traceback' as answer 2");
  for (std::string const said : {R"({"score": NaN})", R"({"score": 1e999})", R"({"score": "9"})", R"({"score": null})", R"({"sc": 1})", "[1]", "0.5", ""})
    check_fails(instead(said), "said '" + said + "' as answer 1");
  check_fails("read -r q; printf '\\377\\n'; cat > /dev/null", "\\xff");
  check_fails("read -r q; cat /dev/zero", "as answer 1");
}

TEST_CASE("a judge that says more than it was asked is one line", "[judge]") {
  check_fails(R"(read -r q; printf '{"score": 1}\n{"score": 2}\n'; cat > /dev/null)", "said '{\"score\": 2}' after answer 1, unasked", 1);
  check_fails("yes '{\"score\": 1}'", "unasked");
  judge late({.command = R"(read -r q; echo '{"score": 1}'; sleep 0.2; echo extra; cat)"});
  CHECK(late.score(completions(1)) == counted(1, 1));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  CHECK_THROWS_WITH(late.score(completions(1)), contains("said 'extra' after answer 1"));
}

TEST_CASE("a silent judge is given up after its time-out and a slow one is not", "[judge]") {
  check_fails(after(1, "sleep 100"), "gave no answer 2 within 1 s", 4, 1);
  check_fails("sed 's/.*/{\"score\": 1}/'", "flush its output", 4, 0.3);  // keeps short output to itself
  check_fails("sleep 100", "gave no answer 1", 5000, 0.3);
  judge slow({.command = R"(while read -r q; do sleep 0.8; echo '{"score": 1}'; done)", .timeout_seconds = 3});
  CHECK(slow.score(completions(5)).size() == 5);  // four seconds together, each in time
}

TEST_CASE("a judge that goes on is killed with all that it started", "[judge]") {
  scratch_folder const folder;
  auto const fifo = folder / "alive";
  REQUIRE(std::system(("mkfifo '" + fifo.string() + "'").c_str()) == 0);
  auto const begin = std::chrono::steady_clock::now();
  std::ifstream reader;
  {
    judge deaf({.command = "trap '' TERM; (exec 3> '" + fifo.string() + "'; sleep 1000) & " + counting + "; wait"});
    reader.open(fifo);  // returns when the grandchild has opened it
    CHECK(deaf.score(completions(2)) == counted(1, 2));
  }
  REQUIRE(reader.is_open());
  CHECK(reader.get() == std::ifstream::traits_type::eof());  // nobody holds the other end any more
  CHECK(reader.eof());
  CHECK(seconds_since(begin) < 500);  // and not because the thousand seconds are over
}

TEST_CASE("a judge that leaves at the end of its input is not killed", "[judge]") {
  scratch_folder const folder;
  auto const farewell = folder / "farewell";
  { judge const polite({.command = "cat > /dev/null; echo bye > '" + farewell.string() + "'"}); }
  CHECK(kedge::testing::read_file(farewell) == "bye\n");
}

TEST_CASE("a judge inherits neither this program's files nor its blocked signals", "[judge]") {
  judge const neighbour({.command = "sleep 100"});
  // The neighbour's pipes would be among the open files of the second judge, were they inherited.
  judge count({.command = R"(read -r q; n=$(ls /proc/self/fd | wc -l); echo "{\"score\": $n}"; read -r q; m=$(awk '/^SigBlk/ {print $2}' /proc/self/status); [ $m = 0000000000000000 ] && echo '{"score": 1}'; cat)"});
  auto const answers = count.score(completions(2));
  std::size_t ours = 0;  // what this test was started with and does not close on exec
  for (auto const& file : std::filesystem::directory_iterator("/proc/self/fd"))
    if (int const flags = ::fcntl(std::stoi(file.path().filename().string()), F_GETFD); flags >= 0 && (flags & FD_CLOEXEC) == 0) ++ours;
  CHECK(answers[0] <= static_cast<double>(ours + 2));  // ls has its own folder open, and the shell may keep one
  CHECK(answers[1] == 1);
}

TEST_CASE("judges refuse settings that can't work", "[judge]") {
  CHECK_THROWS_WITH(judge({.command = " "}), contains("empty"));
  CHECK_THROWS_WITH(judge({.command = "cat", .timeout_seconds = 0}), contains("positive"));
}
