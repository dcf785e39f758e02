// SPDX-License-Identifier: Apache-2.0

// The page on a run: what it says, that it draws every peak, and that nothing in a run's data becomes markup.

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/report/report_page.hpp>

#include "../adapters/llm/src/report/chart.hpp"
#include "../adapters/llm/src/report/markup.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::read_file;
using kedge::testing::scratch_folder;
using kedge::testing::write_file;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

// A run of two rounds, as the trainer leaves it.
void write_run(fs::path const& folder, double rate, std::string const& name = "tiny") {
  fs::create_directories(folder);
  json const record{{"kedge", "1"},
                    {"device", "cpu"},
                    {"dtype", "Float"},
                    {"about",
                     {{"method", "apo"},
                      {"examples_are", "pairs"},
                      {"model", {{"name", name}, {"family", "llama"}, {"parameters", 135000000}, {"adapter", false}}},
                      {"steps", 4},
                      {"rounds", {{{"beta", 0.1}, {"effective_beta", 0.1}, {"pairs", 11}}, {{"beta", 0.1}, {"effective_beta", 0.0869}, {"pairs", 12}}}}}},
                    {"settings", {{"learning_rate", rate}, {"beta", 0.1}, {"dataset", {"/data/" + name + ".jsonl"}}, {"seed", 42}}},
                    {"defaults", {{"learning_rate", 1e-6}}},
                    {"status", "finished"},
                    {"outcome", {{"steps", 4}, {"examples", 23}, {"seconds", 75.0}, {"peak_memory_bytes", 2500000000}}}};
  write_file(folder / "run.json", record.dump());
  std::string lines = R"({"step": 0, "round": 0, "eval_loss": 0.6931, "eval_rewards/accuracies": 0})"
                      "\n";
  for (int step = 1; step <= 4; ++step) {
    lines += json{{"step", step}, {"epoch", 0.5}, {"round", step < 3 ? 1 : 2}, {"loss", 0.7 - rate * step}, {"grad_norm", 1.5}, {"rewards/margins", 0.1 * step}, {"made_up", step}}.dump() + "\n";
    if (step == 2) lines += R"({"step": 2, "round": 1, "eval_loss": 0.65, "eval_rewards/accuracies": 0.5})" "\n";
  }
  lines += R"({"step": 4, "round": 2, "eval_loss": 0.6123, "eval_rewards/accuracies": 0.75})" "\n";
  write_file(folder / "metrics.jsonl", lines);
}

std::string page_of(std::vector<fs::path> const& folders) {
  std::vector<run_folder> runs;
  for (auto const& folder : folders) runs.push_back(read_run(folder));
  return report_page(runs);
}

std::size_t count_of(std::string const& text, std::string const& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a page says what was trained, how it ended, and what its rounds did", "[report]") {
  scratch_folder const folder;
  write_run(folder / "aligned", 0.01);
  std::string const page = page_of({folder / "aligned"});
  for (char const* const said : {"<h1>aligned</h1>", "kedge apo", "finished", "accelerated preference optimization", "135M parameters", "23 pairs", "tiny.jsonl", "in 2 rounds", "4 steps in 1 min 15 s", "2.50 GB",
                                 "0.6931 → 0.6123", "0 → 0.75", "0.0869"}) {
    INFO(said);
    CHECK(page.find(said) != std::string::npos);
  }
  CHECK(count_of(page, "<figure class=\"chart\"") == 5);  // loss, margin, accuracy, gradient norm, and one that kedge doesn't know
  CHECK(count_of(page, "class=\"border\"") == 5);         // the second round begins in each of them
  CHECK(page.find("<td>0.01</td><td class=\"soft\">1e-6</td>") != std::string::npos);
  CHECK(page.find("<td class=\"figure\">start</td>") < page.find("<td class=\"figure\">2</td>"));
  CHECK(page.find("3 settings at their defaults") != std::string::npos);
}

TEST_CASE("a page of several runs draws them over each other and tells the settings that differ", "[report]") {
  scratch_folder const folder;
  write_run(folder / "slow", 0.01);
  write_run(folder / "fast", 0.05);
  std::string const page = page_of({folder / "slow", folder / "fast"});
  CHECK(count_of(page, "<figure class=\"chart\"") == 5);
  CHECK(page.find("<td><code>learning_rate</code></td><td>0.01</td><td>0.05</td>") != std::string::npos);
  CHECK(page.find("<td><code>beta</code></td>") == std::string::npos);
  CHECK(count_of(page, "slow, held out") == 4);  // of loss and accuracy: once in the legend, once in the words for people who see no curves
  fs::create_directories(folder / "other");
  fs::rename(folder / "fast", folder / "other" / "slow");
  CHECK(page_of({folder / "slow", folder.path() / "other" / "slow"}).find("<strong>other/slow</strong>") != std::string::npos);
}

TEST_CASE("nothing in a run becomes markup", "[report]") {
  scratch_folder const folder;
  std::string const hostile = "</script><img src=x onerror=alert(1)>\"'&<b \x01\xE2\x80\xAE";
  write_run(folder / "<i>run<" , 0.01, hostile);
  fs::create_directories(folder.path() / "<i>run<" / "samples");
  std::string lines;
  for (char const* const kind : {"text", "messages"}) {
    json const prompt = kind == std::string("text") ? json(hostile) : json::array({{{"role", hostile}, {"content", hostile}}});
    lines += json{{"prompt", prompt}, {"completion", hostile}, {"score", 1}}.dump() + "\n";
  }
  write_file(folder.path() / "<i>run<" / "samples" / "round-0.jsonl", lines);
  write_file(folder.path() / "<i>run<" / "samples" / "round-2.jsonl", lines);
  std::string metrics = read_file(folder.path() / "<i>run<" / "metrics.jsonl");
  for (int step = 1; step < 3; ++step) metrics += json{{"step", step}, {hostile, 1}}.dump() + "\n";
  metrics += "{\"step\": <script>\n";
  write_file(folder.path() / "<i>run<" / "metrics.jsonl", metrics);
  for (std::string const& page : {page_of({folder / "<i>run<"}), page_of({folder / "<i>run<", folder / "<i>run<"})}) {
    CHECK(page.find("<img") == std::string::npos);
    CHECK(page.find("<i>") == std::string::npos);
    CHECK(page.find("<b ") == std::string::npos);
    CHECK(count_of(page, "<script>") == 1);
    CHECK(count_of(page, "</script>") == 1);
    CHECK(page.find('\x01') == std::string::npos);
    CHECK(page.find("\xE2\x80\xAE") == std::string::npos);
    CHECK(page.find("http://") == std::string::npos);
    CHECK(page.find("src=\"") == std::string::npos);
  }
  CHECK(page_of({folder / "<i>run<"}).find("after round 2, score 1") != std::string::npos);
}

TEST_CASE("escaped text has no character that a page reads as anything else", "[report]") {
  CHECK(escaped("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(escaped("é\n\t漢😀") == "é\n\t漢😀");
  CHECK(escaped(std::string("\0\x1B\x7F", 3)) == "␀␛␡");
  CHECK(escaped("\xFF\xC3") == "��");
}

TEST_CASE("numbers are written as people read them", "[report]") {
  CHECK(short_figure(0.69314718) == "0.6931");
  CHECK(short_figure(2e-5) == "2e-5");
  CHECK(short_figure(-0.0) == "0");
  CHECK(short_figure(1.5e10) == "1.5e10");
  CHECK(short_figure(1e-10) == "1e-10");
  CHECK(short_figure(NAN) == "not a number");
  CHECK(short_steps(12500) == "12.5k");
  CHECK(duration(4.44) == "4.4 s");
  CHECK(duration(59.7) == "1 min 0 s");
  CHECK(duration(12000) == "3 h 20 min");
}

TEST_CASE("ticks are round numbers with as many digits as tell them apart", "[report]") {
  CHECK(tick_texts(ticks_between(0.58, 0.71, 5)) == std::vector<std::string>{"0.60", "0.65", "0.70"});
  CHECK(tick_texts(ticks_between(0, 40, 6)) == std::vector<std::string>{"0", "10", "20", "30", "40"});
  CHECK(tick_texts(ticks_between(-1, 1, 4)) == std::vector<std::string>{"-1.0", "-0.5", "0.0", "0.5", "1.0"});
  CHECK(tick_texts(ticks_between(0, 2e-5, 4)) == std::vector<std::string>{"0", "5e-6", "1e-5", "1.5e-5", "2e-5"});
  for (double const size : {1e-12, 3e-4, 0.7, 12.0, 98765.0, 4e9}) {
    INFO(size);
    CHECK(ticks_between(0, size, 5).size() >= 3);
    CHECK(ticks_between(0, size, 5).size() <= 6);
  }
}

TEST_CASE("a thinned curve keeps every pixel columns first, last, lowest and highest value", "[report]") {
  constexpr std::size_t n = 100000, columns = 338;
  std::vector<double> x(n), y(n);
  std::iota(x.begin(), x.end(), 1.0);
  for (std::size_t i = 0; i < n; ++i) y[i] = std::sin(0.37 * static_cast<double>(i)) + (i == 54321 ? 50 : 0) - (i == 54333 ? 30 : 0);
  std::vector<std::size_t> const kept = thinned(x, y, 1, n, columns);
  CHECK(kept.size() <= 4 * (columns + 1));
  CHECK(std::is_sorted(kept.begin(), kept.end()));
  CHECK(kept.front() == 0);
  CHECK(kept.back() == n - 1);
  for (std::size_t const peak : {54321U, 54333U}) CHECK(std::binary_search(kept.begin(), kept.end(), peak));
  std::size_t begin = 0;
  for (std::size_t column = 0; begin < n; ++column) {
    std::size_t end = begin;
    while (end < n && static_cast<std::size_t>((x[end] - 1) / (n - 1) * columns) == column) ++end;
    if (end == begin) continue;
    auto const [low, high] = std::minmax_element(y.begin() + static_cast<long>(begin), y.begin() + static_cast<long>(end));
    for (std::size_t const i : {begin, end - 1, static_cast<std::size_t>(low - y.begin()), static_cast<std::size_t>(high - y.begin())})
      if (!std::binary_search(kept.begin(), kept.end(), i)) FAIL("column " << column << " lacks point " << i);
    begin = end;
  }
  std::vector<double> const few{1, 2, 3, 4}, gap{0.5, NAN, 0.25, 0.125};
  CHECK(thinned(few, gap, 1, 4, columns) == std::vector<std::size_t>{0, 1, 2, 3});
  std::vector<double> const near{1, 2, 3, 4, 5, 6};
  CHECK(thinned(near, std::vector<double>{0, 3, 1, NAN, NAN, 2}, 1, 1e6, 1) == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("a run that goes on is read up to its last whole line, and what can't be read is told", "[report]") {
  scratch_folder const folder;
  write_file(folder / "metrics.jsonl", "{\"step\": 1, \"loss\": 0.5}\nnonsense\n{\"step\": 2, \"loss\": null}\n{\"step\": 3, \"lo");
  run_folder const run = read_run(folder.path());
  CHECK(run.figures.size() == 1);
  CHECK(run.figure("loss")->step == std::vector<double>{1, 2});
  CHECK(std::isnan(run.figure("loss")->value[1]));
  CHECK(run.notes.size() == 1);
  CHECK_THAT(run.notes.front(), contains("metrics.jsonl:2"));
  CHECK_THAT(report_page({&run, 1}), contains("metrics.jsonl:2"));
}

TEST_CASE("a run of transformers Trainer is read from the newest checkpoint, and stands beside one of kedges", "[report]") {
  scratch_folder const folder;
  for (int const step : {9, 10}) {
    fs::path const checkpoint = folder.path() / "trl" / ("checkpoint-" + std::to_string(step));
    fs::create_directories(checkpoint);
    json log = json::array();
    for (int i = 1; i <= step; ++i) log.push_back({{"loss", 1.0 / i}, {"rewards/margins", 0.1 * i}, {"epoch", 0.1}, {"step", i}});
    log.push_back({{"eval_loss", 0.25}, {"eval_runtime", 1.5}, {"step", step}});
    write_file(checkpoint / "trainer_state.json", json{{"global_step", step}, {"max_steps", 12}, {"log_history", log}}.dump());
  }
  run_folder const run = read_run(folder / "trl");
  CHECK(run.last_step() == 10);
  CHECK(run.figure("loss")->value.size() == 10);
  CHECK_THAT(report_page({&run, 1}), contains("10 of 12 steps"));
  write_run(folder / "kedge", 0.01);
  CHECK(count_of(page_of({folder / "kedge", folder / "trl"}), "<span class=\"key\">") >= 4);
}

TEST_CASE("a folder without a run is refused in one line", "[report]") {
  scratch_folder const folder;
  CHECK_THROWS_WITH(read_run(folder.path()), contains("holds no run") && !contains("\n"));
  CHECK_THROWS_WITH(read_run(folder / "absent"), contains("no folder"));
  CHECK_THROWS_WITH(report_page({}), contains("at least one"));
}
