// SPDX-License-Identifier: Apache-2.0
#include "sections.hpp"

#include <cmath>

#include <kedge/llm/report/run_record.hpp>

#include "markup.hpp"
#include "method_words.hpp"
#include "panels.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

double number(run_folder const& run, std::string_view place) {
  json const found = run.fact(place);
  return found.is_number() ? found.get<double>() : 0;
}

std::string counted(double count, std::string const& things) {
  if (count != 1 || things.empty() || things.back() != 's') return short_steps(count) + " " + things;
  return "1 " + things.substr(0, things.size() - 1);
}

// "135M parameters"
std::string size_of_model(run_folder const& run) {
  double const count = number(run, "/about/model/parameters");
  if (count == 0) return "";
  return (count < 1e6   ? short_figure(std::round(count / 1e3)) + "k"
          : count < 1e9 ? short_figure(std::round(count / 1e6)) + "M"
                        : short_figure(std::round(count / 1e8) / 10) + "B") +
         " parameters";
}

double examples_of(run_folder const& run) {
  json const rounds = run.fact("/about/rounds");
  if (!rounds.is_array()) return number(run, "/about/examples");
  double all = 0;
  for (json const& round : rounds) all += round.value("pairs", 0.0);
  return all;
}

// "SmolLM2 (llama, 135M parameters), trained by … on 160 pairs of a.jsonl, in 2 rounds."
std::string what_was_trained(run_folder const& run) {
  method_words const words = words_of(run.text("/about/method"));
  if (words.name.empty()) return "";
  std::string const family = run.text("/about/model/family"), size = size_of_model(run), data = data_of(run);
  std::string text = "<strong>" + escaped(run.text("/about/model/name")) + "</strong>";
  if (!family.empty() || !size.empty())
    text += " (" + escaped(family + (family.empty() || size.empty() ? "" : ", ") + size) + ")";
  text += run.fact("/about/model/adapter") == true ? ", with a LoRA adapter, trained by " : " trained by ";
  text += escaped(words.title);
  if (!words.paper.empty()) text += " <small>(arXiv " + std::string(words.paper) + ")</small>";
  std::string const things = run.text("/about/examples_are");
  double const examples = examples_of(run);
  if (examples > 0) text += " on " + counted(examples, things);
  if (!data.empty()) text += (examples > 0 ? " of " : " on ") + ("<strong>" + escaped(data) + "</strong>");
  if (json const rounds = run.fact("/about/rounds"); rounds.is_array() && rounds.size() > 1)
    text += ", in " + std::to_string(rounds.size()) + " rounds";
  return text + ".";
}

std::string how_it_stands(run_folder const& run) {
  double const steps = run.last_step(), all = number(run, "/about/steps");
  double const seconds = number(run, "/outcome/seconds");
  std::string const time = seconds > 0 ? " in " + duration(seconds) : "";
  std::string const so_far = short_steps(steps) + (all > 0 ? " of " + short_steps(all) : "") + (all == 1 ? " step" : " steps");
  switch (from_name<run_status>(run.text("/status")).value_or(run_status::running)) {
    case run_status::finished:
      return "It made " + counted(steps, "steps") + time + ".";
    case run_status::stopped_early:
      return "It stopped early after " + so_far + time + ": held-out figures were no longer getting better.";
    case run_status::interrupted:
      return "It was interrupted after " + so_far + time + ". It goes on with <code>--resume_from_checkpoint latest</code>.";
    case run_status::diverged:
      return "It diverged after " + so_far + ": the loss or its gradient was no longer finite.";
    case run_status::failed:
      return "It failed after " + so_far + time + ".";
    case run_status::running:
      return "It stands at " + so_far + (run.text("/status").empty() ? "" : time + ", as far as this page knows") + ".";
  }
  return "";
}

std::string tile(std::string const& name, std::string const& value, std::string const& below = "") {
  return "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(value) +
         (below.empty() ? "" : "<small>" + escaped(below) + "</small>") + "</dd></div>";
}

std::string first_and_last(run_folder const& run, std::string const& figure) {
  std::pair<double, double> ends;
  if (!ends_of(run, figure, ends)) return "";
  std::string const first = short_figure(ends.first), last = short_figure(ends.second);
  return tile(title_of(figure), first == last ? last : first + " → " + last);
}

std::string table_of(json const& values, std::vector<std::pair<std::string, std::string>> const& heads, json const& defaults) {
  std::string rows;
  for (auto const& [name, value] : values.items()) {
    rows += "<tr><td><code>" + escaped(name) + "</code></td><td>" + escaped(setting_text(value)) + "</td>";
    if (heads.size() > 2) rows += "<td class=\"soft\">" + escaped(setting_text(defaults.value(name, json()))) + "</td>";
    rows += "</tr>\n";
  }
  std::string top;
  for (auto const& [head, kind] : heads) top += "<th" + kind + ">" + head + "</th>";
  return "<table class=\"wide settings\"><tr>" + top + "</tr>\n" + rows + "</table>\n";
}

std::string file_name(std::string const& path) { return std::filesystem::path(path).filename().string(); }

void add_names(std::string& names, json const& paths) {
  if (paths.is_string()) names += (names.empty() ? "" : ", ") + file_name(paths.get<std::string>());
  if (paths.is_array())
    for (json const& path : paths) add_names(names, path);
}

}  // namespace

std::string state_of(run_folder const& run) {
  std::string const status = run.text("/status");
  if (status.empty()) return "";
  auto const known = from_name<run_status>(status);
  bool const good = known == run_status::finished || known == run_status::stopped_early,
             bad = known == run_status::diverged || known == run_status::failed;
  return "<span class=\"state" + std::string(good ? " good" : bad ? " bad" : "") + "\">" + escaped(status) + "</span>";
}

std::string data_of(run_folder const& run) {
  std::string names;
  for (char const* place : {"/settings/dataset", "/settings/prompts"}) add_names(names, run.fact(place));
  return names;
}

bool ends_of(run_folder const& run, std::string_view figure, std::pair<double, double>& ends) {
  run_figure const* const f = run.figure(figure);
  if (f == nullptr) return false;
  bool found = false;
  for (double const v : f->value)
    if (std::isfinite(v)) ends = {found ? ends.first : v, v}, found = true;
  return found;
}

std::string heading_of(run_folder const& run) {
  std::string const method = run.text("/about/method"), trained = what_was_trained(run), started = run.text("/started");
  return "<header><p class=\"over\">" + escaped(method.empty() ? "a run" : "kedge " + method) +
         (started.empty() ? "" : " · " + escaped(started)) + " " + state_of(run) + "</p>\n<h1>" + escaped(run.name) +
         "</h1>\n<p class=\"lead\">" + trained + (trained.empty() ? "" : " ") + how_it_stands(run) + "</p>\n" + tiles_of(run) +
         "</header>\n";
}

std::string tiles_of(run_folder const& run) {
  std::string tiles;
  for (std::string const& name : headline_figures()) tiles += first_and_last(run, name);
  for (char const* const name : {"loss", "objective/scores", "objective/kl"}) {
    std::pair<double, double> ends;
    if (ends_of(run, name, ends))
      tiles += tile("Training " + within(title_of(name)), short_figure(ends.first) + " → " + short_figure(ends.second));
  }
  if (json const rounds = run.fact("/about/rounds"); rounds.is_array() && rounds.size() > 1)
    tiles += tile("Effective beta", short_figure(rounds.back().value("effective_beta", 0.0)), "of all rounds together");
  if (double const best = number(run, "/outcome/best_metric"); !run.fact("/outcome/best_step").is_null())
    tiles +=
        tile("Best " + run.text("/outcome/metric"), short_figure(best), "step " + setting_text(run.fact("/outcome/best_step")));
  double const seconds = number(run, "/outcome/seconds"), examples = number(run, "/outcome/examples");
  if (seconds > 0)
    tiles += tile("Time", duration(seconds),
                  examples > 0 ? short_figure(examples / seconds) + " " + run.text("/about/examples_are") + " a second" : "");
  if (double const bytes = number(run, "/outcome/peak_memory_bytes"); bytes > 0)
    tiles += tile("Peak memory", size_in_memory(bytes), run.text("/dtype") + " on " + run.text("/device"));
  return tiles.empty() ? "" : "<dl class=\"tiles\">" + tiles + "</dl>\n";
}

std::string charts_section(std::vector<chart> const& charts) {
  std::string all;
  for (chart const& c : charts) all += to_html(c);
  return all.empty() ? "" : "<div class=\"charts\">\n" + all + "</div>\n";
}

std::string settings_of(run_folder const& run) {
  json const settings = run.fact("/settings"), defaults = run.fact("/defaults");
  if (!settings.is_object()) return "";
  json changed = json::object(), others = json::object();
  for (auto const& [name, value] : settings.items())
    (defaults.is_object() && defaults.contains(name) ? changed : others)[name] = value;
  std::string const head = "<h2>Settings</h2>\n";
  std::string const rest = "<details><summary>" + std::to_string(others.size()) + " settings at their defaults</summary>\n" +
                           table_of(others, {{"setting", ""}, {"value", ""}}, {}) + "</details>\n";
  return head + (changed.empty() ? "" : table_of(changed, {{"setting", ""}, {"value", ""}, {"default", ""}}, defaults)) + rest;
}

std::string origin_of(run_folder const& run) {
  json origin = json::object();
  for (char const* const name :
       {"kedge", "libtorch", "processor", "instruction_set", "device", "dtype", "threads", "processes", "started", "updated"})
    if (json const value = run.fact("/" + std::string(name)); !value.is_null()) origin[name] = value;
  for (char const* const name : {"model", "shape", "training data", "held-out pairs", "held-out examples", "reference model",
                                 "prompts", "held-out prompts", "reward model"})
    if (json const value = run.fact("/identity/" + std::string(name)); !value.is_null()) origin[name] = value;
  std::string const profile = run.profile.is_null() ? ""
                                                    : "<details><summary>where the steps' time went</summary><pre>" +
                                                          escaped(run.profile.dump(2)) + "</pre></details>\n";
  if (origin.empty()) return profile;
  return "<h2>Made with</h2>\n" + table_of(origin, {{"what", ""}, {"which", ""}}, {}) + profile;
}

std::string notes_of(run_folder const& run) {
  std::string notes;
  for (std::string const& note : run.notes) notes += "<li>" + escaped(note) + "</li>";
  return notes.empty() ? "" : "<p class=\"bad\">What couldn't be read:</p><ul class=\"soft\">" + notes + "</ul>\n";
}

std::string figure_cell(std::string const& text) { return "<td class=\"figure\">" + escaped(text) + "</td>"; }

}  // namespace kedge::llm
