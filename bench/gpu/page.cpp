// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <sstream>

#include <kedge/llm/base/json.hpp>

#include "../../adapters/llm/src/report/markup.hpp"
#include "kit.hpp"

namespace kedge::gpu_kit {
namespace {

using llm::escaped;

std::string text_of(json const& value) {
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return llm::short_figure(value.get<double>());
  return llm::setting_text(value);
}

// Names of the columns of all rows, in the order in which they come first.
std::vector<std::string> columns_of(json const& rows) {
  std::vector<std::string> names;
  for (json const& row : rows)
    for (auto const& [name, ignored] : row.items())
      if (name != "table" && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

std::string table_of(json const& rows) {
  std::vector<std::string> const names = columns_of(rows);
  std::string html = "<div class=\"scroll\"><table><thead><tr>";
  for (std::string const& name : names) html += "<th>" + escaped(name) + "</th>";
  html += "</tr></thead><tbody>";
  for (json const& row : rows) {
    html += "<tr>";
    for (std::string const& name : names) {
      json const value = row.value(name, json(""));
      bool const failed = name == "holds" && value == false;
      html += std::string("<td class=\"") + (value.is_number() ? "figure" : failed ? "bad" : "") + "\">" + escaped(text_of(value)) + "</td>";
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string section_of(json const& part) {
  std::string const status = part.at("status");
  std::string html = "<h2>" + escaped(part.at("title").get<std::string>()) + " <small><span class=\"state " +
                     (status == "ok"        ? "good"
                      : status == "skipped" ? ""
                                            : "bad") +
                     "\">" + escaped(status) + "</span> " + escaped(llm::duration(part.at("seconds").get<double>())) + "</small></h2>";
  if (auto const note = part.value("note", std::string()); !note.empty()) html += "<p class=\"lead\">" + escaped(note) + "</p>";
  json const& rows = part.at("rows");
  for (auto from = rows.begin(); from != rows.end();) {
    auto const to = std::find_if(from, rows.end(), [&](json const& row) { return row.value("table", "") != from->value("table", ""); });
    if (auto const name = from->value("table", std::string()); !name.empty()) html += "<h3>" + escaped(name) + "</h3>";
    json one = json::array();
    std::copy(from, to, std::back_inserter(one));
    html += table_of(one);
    from = to;
  }
  return html;
}

// A part's last words on its error stream: why it failed.
std::string last_line_of(std::filesystem::path const& file) {
  std::ifstream in(file);
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) last = line;
  return last.substr(0, 400);
}

json rows_of(std::filesystem::path const& file) {
  json rows = json::array();
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    json row = json::parse(line, nullptr, false);  // the last one of a part that was ended may be half a line
    if (row.is_object()) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

json gathered(std::filesystem::path const& folder) {
  json all{{"machine", json::object()}, {"parts", json::array()}};
  if (std::filesystem::exists(folder / "machine.json")) all["machine"] = llm::read_json_file(folder / "machine.json");
  std::ifstream in(folder / "parts.tsv");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string name, status, seconds, title;
    std::getline(fields, name, '\t');
    std::getline(fields, status, '\t');
    std::getline(fields, seconds, '\t');
    std::getline(fields, title);
    json part{{"name", name}, {"title", title}, {"status", status}, {"seconds", std::stod(seconds)}};
    if (status != "ok") part["note"] = last_line_of(folder / (name + ".err"));
    part["rows"] = rows_of(folder / (name + ".jsonl"));
    all["parts"].push_back(std::move(part));
  }
  return all;
}

std::string page_of(json const& all) {
  std::string body =
      "<p class=\"over\">kedge on a GPU</p><h1>" + escaped(all.at("machine").value("device", "no device named")) + "</h1><dl class=\"tiles\">";
  for (auto const& [name, value] : all.at("machine").items())
    if (name != "device") body += "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(text_of(value)) + "</dd></div>";
  body += "</dl>";
  for (json const& part : all.at("parts")) body += section_of(part);
  return llm::whole_page("kedge on a GPU", body);
}

std::string summary_of(json const& all) {
  std::string text;
  for (json const& part : all.at("parts")) {
    json const& rows = part.at("rows");
    auto const checks = std::count_if(rows.begin(), rows.end(), [](json const& row) { return row.contains("holds"); });
    auto const held = std::count_if(rows.begin(), rows.end(), [](json const& row) { return row.value("holds", false); });
    char line[160];
    std::snprintf(line, sizeof line, "%-12s %-9s %6.1f s  ", part.at("name").get_ref<std::string const&>().c_str(),
                  part.at("status").get_ref<std::string const&>().c_str(), part.at("seconds").get<double>());
    text += line;
    if (checks > 0) text += std::to_string(held) + " of " + std::to_string(checks) + " hold";
    for (json const& row : rows) {
      if (row.contains("tokens/s") && !text.ends_with("  ")) text += ", ";
      if (row.contains("mfu"))
        text += row.value("shape", "") + " " + row.value("lengths", "") + " " + llm::short_figure(row.at("tokens/s").get<double>()) +
                " tokens/s, MFU " + llm::short_figure(100 * row.at("mfu").get<double>()) + " %";
      else if (row.contains("tokens/s"))
        text += llm::short_figure(row.at("tokens/s").get<double>()) + " tokens/s";
    }
    if (auto const note = part.value("note", std::string()); !note.empty()) text += (text.ends_with("  ") ? "" : "; ") + note;
    text += "\n";
  }
  return text;
}

}  // namespace kedge::gpu_kit
