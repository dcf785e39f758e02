// SPDX-License-Identifier: Apache-2.0
#include "panels.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace kedge::llm {
namespace {

// A line of a panel: the figure of training, that of held-out data, and what tells it from the panel's other lines.
struct role {
  std::string figure, held_out, name;
};

struct panel {
  std::string title, unit;
  std::vector<role> roles;
};

role both(std::string const& figure, std::string const& name = "") { return {figure, "eval_" + figure, name}; }

// What everybody looks at, in this order. Whatever else metrics.jsonl has gets a panel of its own behind them.
std::vector<panel> const& known_panels() {
  static std::vector<panel> const all{
      {"Loss", "", {both("loss")}},
      {"Reward margin", "beta × nats", {both("rewards/margins")}},
      {"Margin of rewards", "", {both("margin")}},
      {"Accuracy", "share of pairs", {both("rewards/accuracies")}},
      {"Accuracy", "share of pairs", {both("accuracy")}},
      {"Score", "of the judge", {{"objective/scores", "eval_reward", ""}}},
      {"KL to the reference", "nats a completion", {{"objective/kl", "", ""}}},
      {"KL to the start", "nats a completion", {{"", "eval_kl", ""}}},
      {"Wins against the start", "share", {{"", "eval_win_rate", ""}}},
      {"Length", "tokens a completion", {{"completions/mean_length", "eval_mean_length", ""}}},
      {"Log-probability", "nats a completion", {both("logps/chosen", "chosen"), both("logps/rejected", "rejected")}},
      {"Entropy", "nats a token", {both("entropy")}},
      {"Learning rate", "", {both("learning_rate")}},
      {"Gradient norm", "before clipping", {both("grad_norm")}},
      {"Rewards", "beta × nats", {both("rewards/chosen", "chosen"), both("rewards/rejected", "rejected")}},
  };
  return all;
}

// They count, and say nothing as curves.
std::set<std::string> const counters{
    "epoch", "num_tokens", "episode", "pairs", "eval_completions", "sampled_completions", "sampled_pairs", "total_flos"};

bool is_held_out(std::string_view figure) { return figure.starts_with("eval_"); }

chart_line line_of(run_figure const& f, std::string name, std::size_t colour, chart_stroke stroke) {
  return {std::move(name), f.step, f.value, colour, stroke};
}

bool worth_drawing(run_figure const* f) { return f != nullptr && f->value.size() > 1; }

std::string joined(std::string const& a, std::string const& b) { return a.empty() ? b : b.empty() ? a : a + ", " + b; }

// One run: roles are colours. Marks have the colour of their curve where several roles have to be told apart.
void add_lines(chart& c, run_folder const& run, panel const& p) {
  for (std::size_t i = 0; i < p.roles.size(); ++i) {
    role const& r = p.roles[i];
    run_figure const *const trained = run.figure(r.figure), *const measured = run.figure(r.held_out);
    if (worth_drawing(trained)) c.lines.push_back(line_of(*trained, joined(r.name, "training"), i, chart_stroke::curve));
    if (worth_drawing(measured))
      c.lines.push_back(line_of(*measured, joined(r.name, "held out"), p.roles.size() > 1 ? i : 1, chart_stroke::marks));
  }
}

// Several runs: they are colours.
void add_lines(chart& c, std::span<run_folder const> runs, role const& r) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    run_figure const *const trained = runs[i].figure(r.figure), *const measured = runs[i].figure(r.held_out);
    if (worth_drawing(trained)) c.lines.push_back(line_of(*trained, runs[i].name, i, chart_stroke::curve));
    if (worth_drawing(measured))
      c.lines.push_back(line_of(*measured, joined(runs[i].name, "held out"), i, chart_stroke::marks));
  }
}

// Where all runs agree on them.
std::vector<chart_border> borders_of(std::span<run_folder const> runs) {
  constexpr std::size_t most = 24;  // PPO has a round an update
  std::vector<chart_border> borders;
  for (run_folder const& run : runs)
    if (run.round_starts != runs.front().round_starts) return {};
  if (runs.front().round_starts.size() > most) return {};
  for (std::size_t i = 0; i < runs.front().round_starts.size(); ++i)
    borders.push_back({runs.front().round_starts[i], "round " + std::to_string(i + 2)});
  return borders;
}

void add_panel(std::vector<chart>& to, std::span<run_folder const> runs, panel const& p) {
  std::vector<chart> charts;
  if (runs.size() == 1) {
    charts.push_back({p.title, p.unit, {}, borders_of(runs)});
    add_lines(charts.back(), runs.front(), p);
  } else {
    for (role const& r : p.roles) {
      charts.push_back({joined(p.title, r.name), p.unit, {}, borders_of(runs)});
      add_lines(charts.back(), runs, r);
    }
  }
  for (chart& c : charts)
    if (!c.lines.empty()) to.push_back(std::move(c));
}

}  // namespace

run_charts charts_of(std::span<run_folder const> runs) {
  run_charts charts;
  std::set<std::string> drawn = counters;
  for (panel const& p : known_panels()) {
    add_panel(charts.first, runs, p);
    for (role const& r : p.roles) drawn.insert({r.figure, r.held_out});
  }
  for (run_folder const& run : runs)
    for (run_figure const& f : run.figures) {
      if (drawn.contains(f.name)) continue;
      std::string const base = is_held_out(f.name) ? f.name.substr(5) : f.name;
      add_panel(charts.rest, runs, {base, "", {both(base)}});
      drawn.insert({base, "eval_" + base});
    }
  return charts;
}

std::string within(std::string title) {
  if (title.size() < 2 || title[1] < 'A' || title[1] > 'Z') title[0] = static_cast<char>(title[0] | 0x20);
  return title;
}

std::string title_of(std::string_view figure) {
  for (panel const& p : known_panels())
    for (role const& r : p.roles) {
      std::string title = joined(p.title, r.name);
      if (r.figure == figure && !r.figure.empty()) return title;
      if (r.held_out != figure || r.held_out.empty()) continue;
      if (r.figure.empty()) return title;
      return "Held-out " + within(std::move(title));
    }
  return std::string(figure);
}

std::vector<std::string> const& headline_figures() {
  static std::vector<std::string> const all{
      "eval_loss",   "eval_rewards/accuracies", "eval_accuracy", "eval_rewards/margins", "eval_margin",
      "eval_reward", "eval_win_rate",           "eval_kl"};
  return all;
}

}  // namespace kedge::llm
