// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>

#include <kedge/llm/base/atomic.hpp>

#include "../drawing/page.hpp"

namespace kedge_on_policy {
namespace {

using kedge_drawing::escaped;
using kedge_drawing::line;
using kedge_drawing::plot;

char const* const further_style = R"(
.thin { stroke-width: 1; opacity: .35; } circle.marks, rect.marks { fill: var(--page); stroke-width: 2.4; }
.sample { background: var(--card); border-radius: 8px; padding: .5rem .8rem; margin: .5rem 0; } .open { color: var(--soft); font-weight: 600; }
)";

using series = std::vector<double> trace::*;

std::vector<double> mean_of(method const& m, series what) {
  std::vector<double> mean((m.runs.front().*what).size(), 0.0);
  for (trace const& t : m.runs)
    for (std::size_t i = 0; i < mean.size() && i < (t.*what).size(); ++i) mean[i] += (t.*what)[i] / static_cast<double>(m.runs.size());
  return mean;
}

plot curves(findings const& f, std::string title, std::string x, series xs, std::string y, series ys) {
  plot p{.title = std::move(title), .x_label = std::move(x), .y_label = std::move(y), .log_x = false, .log_y = false};
  for (method const& m : f.methods) {
    if (!m.drawn) continue;
    p.curves.push_back({m.name, mean_of(m, ys), line::measured, mean_of(m, xs)});
    if (m.runs.size() > 1)
      for (trace const& t : m.runs) p.curves.push_back({m.name, t.*ys, line::thin, t.*xs});
  }
  return p;
}

void add_frontier(plot& p, findings const& f) {
  if (f.where->frontier.empty()) return;
  kedge_drawing::curve bound{"exact optimum against the data's distribution", {}, line::bound, {}};
  double farthest = 0;
  for (auto const& c : p.curves)
    for (double const kl : c.x) farthest = std::max(farthest, kl);
  std::ifstream file(f.where->frontier);
  for (std::string text; std::getline(file, text) && (bound.x.empty() || bound.x.back() < 1.2 * farthest);) {
    json const point = json::parse(text);
    bound.x.push_back(point.at("kl").get<double>());
    bound.y.push_back(point.at("reward").get<double>());
  }
  p.curves.push_back(bound);
}

plot end_points(findings const& f) {
  plot p{.title = "Where each run ended", .x_label = "KL to the start, nats a completion", .y_label = "reward", .log_x = false, .log_y = false};
  for (method const& m : f.methods) {
    kedge_drawing::curve ends{m.name, {}, line::marks, {}};
    for (trace const& t : m.runs) {
      ends.x.push_back(t.kl.back());
      ends.y.push_back(t.reward.back());
    }
    p.curves.push_back(ends);
  }
  add_frontier(p, f);
  return p;
}

struct row {
  std::string name, reward, rise, kl, length, wins, further;
};

std::vector<row> table(findings const& f) {
  std::vector<row> rows;
  for (method const& m : f.methods) {
    estimate reward = m.of([](trace const& t) { return t.reward.back(); });
    if (m.runs.size() == 1) reward.half_width = 1.959964 * m.runs[0].reward_stderr;
    std::string further;
    if (m.effective_beta > 0) further = "β_eq " + short_text(m.effective_beta);
    if (double const kl = m.mean([](trace const& t) { return t.kl_at_start; }); kl > 1e-4)
      further += (further.empty() ? "" : ", ") + std::string("KL to the reference at step 0: ") + text_of(m.of([](trace const& t) { return t.kl_at_start; }));
    rows.push_back({m.name, text_of(reward), text_of(m.of([](trace const& t) { return t.rise(); })), text_of(m.of([](trace const& t) { return t.kl.back(); })),
                    text_of(m.of([](trace const& t) { return t.length.back(); })), text_of(m.of([](trace const& t) { return t.win_rate; })), further});
  }
  return rows;
}

row start_row(findings const& f) {
  method const& m = f.methods.front();
  estimate reward = m.of([](trace const& t) { return t.reward.front(); });
  if (m.runs.size() == 1) reward.half_width = 1.959964 * m.runs[0].start_stderr;
  return {"start", text_of(reward), "", "0", text_of(m.of([](trace const& t) { return t.length.front(); })), "", ""};
}

std::string html_table(findings const& f) {
  std::string out = "<div class=\"scroll\"><table><tr><th>method</th><th>reward</th><th>rise</th><th>KL to the start, nats</th><th>length, tokens</th><th>wins against the start</th><th></th></tr>\n";
  std::vector<row> rows = table(f);
  rows.insert(rows.begin(), start_row(f));
  for (row const& r : rows) {
    out += "<tr><td>" + escaped(r.name) + "</td>";
    for (std::string const* cell : {&r.reward, &r.rise, &r.kl, &r.length, &r.wins, &r.further}) out += "<td class=\"number\">" + escaped(*cell) + "</td>";
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::vector<json> lines_of(fs::path const& file, std::size_t most) {
  std::vector<json> lines;
  std::ifstream in(file);
  for (std::string text; lines.size() < most && std::getline(in, text);) lines.push_back(json::parse(text));
  return lines;
}

std::string prompt_text(json const& prompt) {
  if (prompt.is_string()) return prompt.get<std::string>();
  return prompt.empty() ? "" : prompt.back().value("content", "");
}

// The first sample of a few prompts, before and after training.
std::string samples(findings const& f) {
  std::string out;
  std::size_t const each = f.where->name == "tiny" ? 4 : 2;
  trace const& first = f.methods.front().runs.front();
  std::vector<json> const before = lines_of(first.folder / "samples" / "round-0.jsonl", 8 * each);
  auto const say = [&](std::string const& who, json const& s) {
    out += "<div><span class=\"open\">" + escaped(who) + "</span> " + escaped(s.at("completion").get<std::string>()) + " <span class=\"soft\">(" +
           kedge_drawing::text(s.at("score").get<double>()) + ")</span></div>\n";
  };
  for (std::size_t i = 0; i < before.size(); i += 2 * each) {
    out += "<div class=\"sample\"><div class=\"soft\">" + escaped(prompt_text(before[i].at("prompt"))) + "</div>\n";
    say("start:", before[i]);
    for (method const& m : f.methods) {
      trace const& t = m.runs.front();
      std::vector<json> const after = lines_of(t.folder / "samples" / ("round-" + std::to_string(static_cast<std::size_t>(t.round.back())) + ".jsonl"), i + 1);
      if (after.size() > i) say(m.name + ":", after[i]);
    }
    out += "</div>\n";
  }
  return out;
}

std::string style_of(std::string const& verdict) {
  if (verdict == "holds" || verdict == "seen") return "good";
  return verdict == "opposite" ? "bad" : "open";
}

std::string html(findings const& f) {
  std::string body = "<p>" + escaped(f.introduction) + "</p>\n<p>" + escaped(f.where->description) + " " + std::to_string(f.methods.front().runs.size()) +
                     (f.methods.front().runs.size() == 1 ? " seed; intervals are 95 %, from standard errors over prompts." : " seeds; intervals are 95 %, Student's t over seeds.") +
                     "</p>\n<p>" + escaped(f.how_chosen) + "</p>\n<h2>What came out</h2>\n";
  body += "<div class=\"scroll\"><table><tr><th>claim</th><th>verdict</th><th>because</th></tr>\n";
  for (claim const& c : f.claims)
    body += "<tr><td>" + escaped(c.what) + "</td><td class=\"" + style_of(c.verdict) + "\">" + escaped(c.verdict) + "</td><td>" + escaped(c.because) + "</td></tr>\n";
  body += "</table></div>\n<h2>Where the methods ended</h2>\n";
  body += html_table(f);
  plot plane = curves(f, "Reward over KL, evaluation by evaluation", "KL to the start, nats a completion", &trace::kl, "reward", &trace::reward);
  add_frontier(plane, f);
  std::vector<plot> plots{plane, end_points(f), curves(f, "Reward", f.horizontal, &trace::round, "reward", &trace::reward),
                          curves(f, "KL to the start", f.horizontal, &trace::round, "nats a completion", &trace::kl),
                          curves(f, "Length", f.horizontal, &trace::round, "tokens a completion", &trace::length)};
  body += "<h2>Curves</h2>\n<p class=\"soft\">Thick: mean over seeds; thin: each seed.</p>\n";
  for (plot const& p : plots) body += "<figure>" + kedge_drawing::to_svg(p) + "</figure>\n";
  for (section const& s : f.sections) {
    body += "<h2>" + escaped(s.heading) + "</h2>\n<p>" + escaped(s.text) + "</p>\n";
    for (std::string const& picture : s.pictures) body += "<figure>" + picture + "</figure>\n";
  }
  body += "<h2>Samples</h2>\n<p class=\"soft\">The first sample of a few prompts, first seed, with its reward.</p>\n" + samples(f);
  return kedge_drawing::page(f.title, body, further_style);
}

json number(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }

json with_interval(estimate const& e) { return {{"mean", number(e.mean)}, {"half_width", number(e.half_width)}}; }

json summary(findings const& f) {
  json all{{"title", f.title}, {"world", f.where->name}, {"seeds", f.methods.front().runs.size()}, {"seconds", f.seconds}};
  for (claim const& c : f.claims) all["claims"].push_back({{"claim", c.what}, {"verdict", c.verdict}, {"because", c.because}});
  all["start"] = with_interval(f.methods.front().of([](trace const& t) { return t.reward.front(); }));
  for (method const& m : f.methods) {
    json one{{"name", m.name}, {"effective_beta", m.effective_beta}};
    one["reward"] = with_interval(m.of([](trace const& t) { return t.reward.back(); }));
    one["rise"] = with_interval(m.of([](trace const& t) { return t.rise(); }));
    one["kl"] = with_interval(m.of([](trace const& t) { return t.kl.back(); }));
    one["length"] = with_interval(m.of([](trace const& t) { return t.length.back(); }));
    one["win_rate"] = with_interval(m.of([](trace const& t) { return t.win_rate; }));
    one["kl_at_start"] = with_interval(m.of([](trace const& t) { return t.kl_at_start; }));
    for (trace const& t : m.runs)
      one["runs"].push_back({{"round", t.round}, {"reward", t.reward}, {"kl", t.kl}, {"length", t.length}, {"reward_stderr", t.reward_stderr}, {"start_stderr", t.start_stderr}});
    all["methods"].push_back(one);
  }
  return all;
}

// Padded to a width in characters: UTF-8 continues with 10xxxxxx.
std::string cell(std::string const& text, std::size_t width) {
  std::size_t characters = 0;
  for (char const c : text) characters += (static_cast<unsigned char>(c) & 0xc0U) != 0x80U ? 1 : 0;
  return text + std::string(characters < width ? width - characters : 1, ' ');
}

}  // namespace

void write_report(findings const& f) {
  fs::path const& folder = f.where->given.output;
  kedge::llm::write_file_atomically(folder / "summary.json", summary(f).dump(1) + "\n");
  kedge::llm::write_file_atomically(folder / "report.html", html(f));
  std::vector<row> rows = table(f);
  rows.insert(rows.begin(), start_row(f));
  rows.insert(rows.begin(), {"", "reward", "rise", "KL", "length", "wins", ""});
  for (row const& r : rows)
    std::printf("%s%s%s%s%s%s%s\n", cell(r.name, 34).c_str(), cell(r.reward, 17).c_str(), cell(r.rise, 17).c_str(), cell(r.kl, 17).c_str(),
                cell(r.length, 18).c_str(), cell(r.wins, 17).c_str(), r.further.c_str());
  std::printf("\n");
  for (claim const& c : f.claims) std::printf("%s: %s. %s\n", c.what.c_str(), c.verdict.c_str(), c.because.c_str());
  std::printf("\n%s\n", (folder / "report.html").c_str());
}

}  // namespace kedge_on_policy
