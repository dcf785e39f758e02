// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>

#include "markup.hpp"
#include "panels.hpp"
#include "sections.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Columns in their order; a column without a value is left out.
struct column {
  std::string head;
  std::vector<std::string> cells;
};

std::string text_of(json const& object, char const* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return "";
  return short_figure(object[key].get<double>());
}

// The value at the last step up to `step` and after `before`.
std::string value_at(run_folder const& run, char const* figure, double before, double step) {
  run_figure const* const f = run.figure(figure);
  double value = NAN;
  for (std::size_t i = 0; f != nullptr && i < f->step.size(); ++i)
    if (f->step[i] > before && f->step[i] <= step) value = f->value[i];
  return std::isnan(value) ? "" : short_figure(value);
}

// The first line about a round: later ones of that number are measured while the next one trains.
json first_of(std::vector<json> const& lines, std::size_t round, char const* key) {
  for (json const& line : lines)
    if (line.value("round", std::size_t{0}) == round && line.contains(key)) return line;
  return {};
}

std::vector<column> columns_of(run_folder const& run, json const& rounds) {
  std::vector<std::pair<std::string, char const*>> const held_out{{"eval_loss", "eval_loss"},
                                                                  {"eval_rewards/accuracies", "eval_rewards/accuracies"},
                                                                  {"eval_rewards/margins", "eval_rewards/margins"},
                                                                  {"eval_reward", "eval_reward"},
                                                                  {"eval_kl", "eval_kl"},
                                                                  {"eval_win_rate", "eval_win_rate"}};
  std::vector<column> all{{"round", {}}, {"pairs", {}},   {"completions", {}}, {"mean score", {}}, {"steps", {}},
                          {"beta", {}},  {"beta_eq", {}}, {"loss", {}},        {"margin", {}}};
  for (auto const& [name, key] : held_out) all.push_back({title_of(name), {}});
  std::size_t const made = run.round_starts.size() + (run.figure("loss") == nullptr ? 0 : 1);
  for (std::size_t t = 0; t <= rounds.size(); ++t) {  // 0 is the start
    double const before = t < 2 ? 0 : t - 2 < run.round_starts.size() ? run.round_starts[t - 2] : run.last_step();
    double const until = t == 0 ? 0 : t - 1 < run.round_starts.size() ? run.round_starts[t - 1] : run.last_step();
    json const round = t == 0 ? json() : rounds[t - 1], drawn = t == 0 ? json() : first_of(run.sampled, t, "sampled_pairs");
    bool const trained = t > 0 && t <= made;
    std::string const pairs = text_of(round, "pairs");
    std::vector<std::string> cells{t == 0 ? "start" : std::to_string(t),
                                   pairs.empty() ? text_of(drawn, "sampled_pairs") : pairs,
                                   text_of(drawn, "sampled_completions"),
                                   text_of(drawn, "sampled_reward"),
                                   trained ? short_steps(until - before) : "",
                                   text_of(round, "beta"),
                                   text_of(round, "effective_beta"),
                                   trained ? value_at(run, "loss", before, until) : "",
                                   trained ? value_at(run, "rewards/margins", before, until) : ""};
    for (auto const& [name, key] : held_out) cells.push_back(text_of(first_of(run.evaluations, t, key), key));
    for (std::size_t i = 0; i < all.size(); ++i) all[i].cells.push_back(cells[i]);
  }
  std::erase_if(all, [](column const& c) {
    return std::all_of(c.cells.begin(), c.cells.end(), [](std::string const& cell) { return cell.empty(); });
  });
  return all;
}

// A prompt is a text, or messages.
std::string prompt_text(json const& prompt) {
  if (prompt.is_string()) return prompt.get<std::string>();
  std::string text;
  if (prompt.is_array())
    for (json const& message : prompt)
      if (message.is_object())
        text += (text.empty() ? "" : "\n") + setting_text(message.value("role", json("?"))) + ": " +
                setting_text(message.value("content", json("")));
  return text.empty() ? prompt.dump(-1, ' ', false, json::error_handler_t::replace) : text;
}

std::string said(std::string const& when, json const& line) {
  std::string const score = text_of(line, "score");
  return "<div><div class=\"soft\">" + escaped(when) + (score.empty() ? "" : ", score " + score) +
         "</div><div class=\"said\" dir=\"auto\">" + escaped(setting_text(line.at("completion"))) + "</div></div>";
}

std::string moment(std::size_t round) { return round == 0 ? "before" : "after round " + std::to_string(round); }

}  // namespace

std::string rounds_of(run_folder const& run) {
  json const rounds = run.fact("/about/rounds");
  if (!rounds.is_array() || rounds.empty()) return "";
  std::vector<column> const columns = columns_of(run, rounds);
  std::string rows, heads;
  for (column const& c : columns) heads += "<th class=\"figure\">" + escaped(c.head) + "</th>";
  for (std::size_t row = 0; row <= rounds.size(); ++row) {
    rows += "<tr>";
    for (column const& c : columns) rows += figure_cell(c.cells[row]);
    rows += "</tr>\n";
  }
  return "<h2>Rounds</h2>\n<div class=\"scroll\"><table><tr>" + heads + "</tr>\n" + rows +
         "</table></div>\n<p class=\"soft\">beta_eq: as many rounds of plain DPO with this beta "
         "end at the same policy, if every round is solved exactly. Loss and margin are those of "
         "the round's last logged steps.</p>\n";
}

std::string samples_of(run_folder const& run) {
  constexpr std::size_t most = 8;
  if (run.samples.empty()) return "";
  run_samples const &before = run.samples.front(), &after = run.samples.back();
  std::string all, last_prompt;
  std::size_t shown = 0;
  for (json const& line : before.lines) {
    std::string const prompt = prompt_text(line["prompt"]);
    if (prompt == last_prompt) continue;
    last_prompt = prompt;
    if (shown++ == most) break;
    all += "<div class=\"sample\"><div class=\"prompt\" dir=\"auto\">" + escaped(prompt) + "</div><div class=\"texts\">" +
           said(moment(before.round), line);
    if (&before != &after)
      for (json const& other : after.lines)
        if (other["prompt"] == line["prompt"]) {
          all += said(moment(after.round), other);
          break;
        }
    all += "</div></div>\n";
  }
  return "<h2>Samples</h2>\n<p class=\"soft\">The first completion of held-out prompts; samples/ of the run's folder has all " +
         std::to_string(before.all) + ".</p>\n" + all;
}

}  // namespace kedge::llm
