// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/training_log.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

std::string number(char const* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

metric& find_or_add(std::vector<metric>& all, metric const& fresh) {
  auto const found = std::find_if(all.begin(), all.end(), [&](metric const& m) { return m.name == fresh.name; });
  return found == all.end() ? all.emplace_back(fresh) : *found;
}

}  // namespace

std::string short_number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string short_count(std::int64_t count) {
  constexpr std::array units{"", "k", "M", "B"};
  auto value = static_cast<double>(count);
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < units.size(); ++unit) value /= 1000;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f%s", unit > 0 && value < 9.95 ? 1 : 0, value, units[unit]);
  return text.data();
}

std::string clock_text(double seconds) {
  auto const whole = static_cast<long>(std::max(0.0, seconds) + 0.5);
  std::array<char, 32> text{};
  if (whole >= 3600)
    std::snprintf(text.data(), text.size(), "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text.data(), text.size(), "%02ld:%02ld", whole / 60, whole % 60);
  return text.data();
}

void show_progress(screen const& to, std::size_t done, std::size_t all, char const* what, double seconds) {
  if (done == 0) return;
  std::string const left = clock_text(seconds / static_cast<double>(done) * static_cast<double>(all - done));
  to.draw(done == all ? "" : std::to_string(done) + "/" + std::to_string(all) + " " + what + "  " + left + " left");
}

void step_report::add(std::string_view name, double value, double share, across processes) {
  find_or_add(metrics, {std::string(name), 0, processes}).value += share * value;
}

void step_report::begin(std::string_view name, std::size_t batches) {
  if (batches > 0) find_or_add(metrics, {.name = std::string(name), .value = 0, .batches = batches});
}

double step_report::metric_or_nan(std::string_view name) const {
  for (metric const& m : metrics)
    if (m.name == name) return m.value;
  return std::numeric_limits<double>::quiet_NaN();
}

training_log::training_log(std::filesystem::path const& file, std::size_t logging_steps, std::size_t all_steps, screen to,
                           std::vector<shown_metric> shown)
    : path_(file),
      shown_(std::move(shown)),
      logging_steps_(std::max<std::size_t>(1, logging_steps)),
      all_steps_(all_steps),
      screen_(to) {
  if (path_.empty()) return;
  file_.open(path_, std::ios::app);
  if (!file_) throw error(file.string() + ": can't be written; choose an --output_dir where you may write");
}

void training_log::step(step_report const& report) {
  ++global_step_;
  ++in_window_;
  examples_ += report.examples;
  tokens_ += report.tokens;
  padded_like_tokens_ += report.padded_like_tokens;
  window_.loss += report.loss;
  window_.grad_norm += report.grad_norm;
  for (metric const& m : report.metrics) {
    metric& sum = find_or_add(window_.metrics, {.name = m.name, .value = 0, .batches = 0});
    sum.value += static_cast<double>(m.batches) * m.value;
    sum.batches += m.batches;
  }
  if (global_step_ % logging_steps_ == 0 || report.step == report.steps) write_window(report);
  if (screen_.draws()) draw(report);
}

std::string training_log::figures(step_report const& report) const {
  std::string text = number("  loss %.4f", report.loss);
  for (shown_metric const& shown : shown_)
    if (double const value = report.metric_or_nan(shown.name); !std::isnan(value)) text += std::string("  ") + shown.label + number(" %.3f", value);
  return text;
}

void training_log::write_window(step_report const& last) {
  double const share = 1 / static_cast<double>(in_window_);
  window_.loss *= share;
  window_.grad_norm *= share;
  for (metric& m : window_.metrics) m.value /= static_cast<double>(m.batches);
  json line{{"step", global_step_},     {"epoch", last.epoch},           {"round", last.round},
            {"loss", window_.loss}, {"grad_norm", window_.grad_norm}, {"learning_rate", last.learning_rate}};
  for (metric const& m : window_.metrics) line[m.name] = m.value;
  line["num_tokens"] = padded_like_tokens_;
  record(line);
  if (!screen_.draws())
    say("step " + std::to_string(global_step_) + "/" + std::to_string(all_steps_) + "  round " + std::to_string(last.round) + figures(window_) +
        number("  grad norm %.3g", window_.grad_norm) + number("  lr %.2e", last.learning_rate));
  window_ = {};
  in_window_ = 0;
}

void training_log::draw(step_report const& last) {
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  double const done = static_cast<double>(global_step_) / static_cast<double>(std::max<std::size_t>(1, all_steps_));
  double const per_step = seconds / static_cast<double>(global_step_ - steps_at_start_);
  constexpr std::size_t width = 24;
  auto const filled = std::min(width, static_cast<std::size_t>(done * width));
  std::string bar;
  for (std::size_t i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
  screen_.draw(bar + " " + std::to_string(global_step_) + "/" + std::to_string(all_steps_) + "  round " + std::to_string(last.round) + figures(last) + "  " +
               clock_text(per_step * static_cast<double>(all_steps_ - global_step_)) + " left");
  bar_drawn_ = true;
}

void training_log::clear_bar() {
  if (bar_drawn_) screen_.wipe();
  bar_drawn_ = false;
}

void training_log::record(json const& line) {
  if (path_.empty()) return;
  file_ << line.dump() << '\n' << std::flush;
  if (!file_) throw error(path_.string() + ": can't be written; is the disk full?");
  if (on_line) on_line(line);
}

void training_log::say(std::string const& sentence) {
  clear_bar();
  screen_.say(sentence);
}

void training_log::finish() { clear_bar(); }

json training_log::save() {
  json metrics = json::object();
  for (metric const& m : window_.metrics) metrics[m.name] = {m.value, m.batches};
  return {{"global_step", global_step_}, {"examples", examples_},           {"tokens", tokens_},
          {"num_tokens", padded_like_tokens_}, {"in_window", in_window_}, {"loss", window_.loss},
          {"grad_norm", window_.grad_norm}, {"metrics", metrics}, {"file_size", static_cast<std::uint64_t>(file_.tellp())}};
}

void training_log::restore(json const& saved) {
  global_step_ = steps_at_start_ = saved.at("global_step").get<std::size_t>();
  examples_ = saved.at("examples").get<std::size_t>();
  tokens_ = saved.at("tokens").get<std::size_t>();
  padded_like_tokens_ = saved.at("num_tokens").get<std::size_t>();
  in_window_ = saved.at("in_window").get<std::size_t>();
  window_.loss = saved.at("loss").get<double>();
  window_.grad_norm = saved.at("grad_norm").get<double>();
  for (auto const& [name, value] : saved.at("metrics").items()) window_.metrics.push_back({.name = name, .value = value.at(0).get<double>(), .batches = value.at(1).get<std::size_t>()});
  if (path_.empty()) return;
  auto const size = saved.at("file_size").get<std::uint64_t>();
  if (std::filesystem::file_size(path_) >= size) {
    file_.close();
    std::filesystem::resize_file(path_, size);
    file_.open(path_, std::ios::app);
  }
}

}  // namespace kedge::llm
