// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/report/report_page.hpp>

#include "markup.hpp"
#include "panels.hpp"
#include "sections.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

std::string curves(std::span<run_folder const> runs) {
  run_charts const charts = charts_of(runs);
  std::string const first = charts_section(charts.first), rest = charts_section(charts.rest);
  if (first.empty() && rest.empty())
    return "<p class=\"soft\">Nothing has been logged twice yet, so there are no curves.</p>\n";
  return "<h2>Curves</h2>\n" + first +
         (rest.empty() ? ""
                       : "<details><summary>" + std::to_string(charts.rest.size()) + " more figures</summary>\n" + rest +
                             "</details>\n");
}

std::string page_of(run_folder const& run) {
  return whole_page(run.name + " · kedge", heading_of(run) + notes_of(run) + curves({&run, 1}) + rounds_of(run) +
                                               samples_of(run) + settings_of(run) + origin_of(run));
}

// Folders of the same name are told apart by the folder above, and if need be by their whole paths.
void tell_apart(std::vector<run_folder>& runs) {
  for (int how = 0; how < 2; ++how) {
    std::vector<std::string> names;
    for (run_folder const& run : runs) {
      std::filesystem::path const path = std::filesystem::absolute(run.path).lexically_normal();
      std::filesystem::path const settled = path.has_filename() ? path : path.parent_path();
      bool const taken =
          std::count_if(runs.begin(), runs.end(), [&](run_folder const& other) { return other.name == run.name; }) > 1;
      names.push_back(!taken     ? run.name
                      : how == 0 ? settled.parent_path().filename().string() + "/" + settled.filename().string()
                                 : run.path.string());
    }
    for (std::size_t i = 0; i < runs.size(); ++i) runs[i].name = names[i];
  }
}

std::string from_to(run_folder const& run, std::string const& figure) {
  std::pair<double, double> ends;
  if (!ends_of(run, figure, ends)) return "";
  std::string const first = short_figure(ends.first), last = short_figure(ends.second);
  return first == last ? last : first + " → " + last;
}

std::string table_of_runs(std::span<run_folder const> runs) {
  std::vector<std::string> figures;
  for (std::string const& name : headline_figures())
    if (std::any_of(runs.begin(), runs.end(), [&](run_folder const& run) { return run.figure(name) != nullptr; }))
      figures.push_back(name);
  figures.emplace_back("loss");
  std::string heads = "<th>run</th><th>method</th><th>state</th><th class=\"figure\">steps</th>", rows;
  for (std::string const& name : figures) heads += "<th class=\"figure\">" + escaped(title_of(name)) + "</th>";
  for (run_folder const& run : runs) {
    rows += "<tr><td><strong>" + escaped(run.name) + "</strong></td><td>" + escaped(run.text("/about/method")) + "</td><td>" +
            state_of(run) + "</td>" + figure_cell(short_steps(run.last_step()));
    for (std::string const& name : figures) rows += figure_cell(from_to(run, name));
    json const seconds = run.fact("/outcome/seconds");
    rows += figure_cell(seconds.is_number() ? duration(seconds.get<double>()) : "") + "</tr>\n";
  }
  return "<div class=\"scroll\"><table><tr>" + heads + "<th class=\"figure\">time</th></tr>\n" + rows + "</table></div>\n";
}

// Settings of all runs by name, and what makes runs differ beside them.
std::vector<std::pair<std::string, std::string>> compared_facts(std::span<run_folder const> runs) {
  std::vector<std::pair<std::string, std::string>> places;
  std::set<std::string> seen;
  for (char const* const part : {"/about/model", "/settings", "/identity"})
    for (run_folder const& run : runs)
      for (json const facts = run.fact(part); auto const& [name, value] : facts.items())
        if (std::string const place = std::string(part) + "/" + name; seen.insert(name).second)
          places.emplace_back(name, place);
  for (char const* const name : {"kedge", "libtorch", "instruction_set", "device", "dtype", "threads", "processes"})
    if (seen.insert(name).second) places.emplace_back(name, "/" + std::string(name));
  return places;
}

std::string differences(std::span<run_folder const> runs) {
  std::string heads = "<th></th>", rows;
  for (run_folder const& run : runs) heads += "<th>" + escaped(run.name) + "</th>";
  std::size_t equal = 0;
  for (auto const& [name, place] : compared_facts(runs)) {
    if (name == "output_dir") continue;
    json const first = runs.front().fact(place);
    if (std::all_of(runs.begin(), runs.end(), [&](run_folder const& run) { return run.fact(place) == first; })) {
      ++equal;
      continue;
    }
    rows += "<tr><td><code>" + escaped(name) + "</code></td>";
    for (run_folder const& run : runs)
      rows +=
          "<td>" +
          escaped(run.fact(place).is_null() && !run.facts.contains("settings") ? "not known" : setting_text(run.fact(place))) +
          "</td>";
    rows += "</tr>\n";
  }
  std::string const same =
      "<p class=\"soft\">" + std::to_string(equal) + " further settings and facts are equal in all runs.</p>\n";
  return "<h2>What differs</h2>\n" +
         (rows.empty() ? "" : "<div class=\"scroll\"><table><tr>" + heads + "</tr>\n" + rows + "</table></div>\n") + same;
}

std::string page_of(std::vector<run_folder> runs) {
  tell_apart(runs);
  std::string const title = std::to_string(runs.size()) + " runs";
  std::string notes;
  for (run_folder const& run : runs) notes += notes_of(run);
  return whole_page(title + " · kedge", "<header><p class=\"over\">kedge report</p>\n<h1>" + title + "</h1>\n" +
                                            table_of_runs(runs) + "</header>\n" + notes + curves(runs) + differences(runs));
}

}  // namespace

std::string report_page(std::span<run_folder const> runs) {
  if (runs.empty()) throw error("a report needs at least one run");
  return runs.size() == 1 ? page_of(runs.front()) : page_of(std::vector<run_folder>(runs.begin(), runs.end()));
}

std::vector<std::string> write_report(std::span<std::filesystem::path const> folders, std::filesystem::path const& file) {
  std::vector<run_folder> runs;
  std::vector<std::string> notes;
  for (auto const& folder : folders) {
    runs.push_back(read_run(folder));
    notes.insert(notes.end(), runs.back().notes.begin(), runs.back().notes.end());
  }
  write_file_atomically(file, report_page(runs));
  return notes;
}

}  // namespace kedge::llm
