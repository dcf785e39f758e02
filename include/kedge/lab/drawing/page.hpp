// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <kedge/version.hpp>

namespace kedge::lab::drawing {

/// Text as it may stand in HTML, between tags or in quotes.
[[nodiscard]] inline std::string escaped(std::string const& s) {
  std::string out;
  for (char const c : s) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

// Colours for light and dark, one column, tables that turn into lists on a phone.
inline constexpr char const* style = R"(
:root { color-scheme: light dark; --text: #1c2024; --soft: #5c656e; --page: #ffffff; --card: #f5f6f8; --grid: #dde1e6; --good: #1a7f37; --bad: #c62828;
  --c0: #1f5fbf; --c1: #c2410c; --c2: #15803d; --c3: #a21caf; --c4: #0e7490; --c5: #a16207; --c6: #be123c; --c7: #4d4d4d; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ec; --soft: #9aa4ae; --page: #14171a; --card: #1d2226; --grid: #343b42; --good: #4ade80; --bad: #ff7b72;
  --c0: #6ea8fe; --c1: #fb923c; --c2: #4ade80; --c3: #e879f9; --c4: #22d3ee; --c5: #facc15; --c6: #fb7185; --c7: #c4c4c4; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 1080px; margin: 0 auto; padding: 1.5rem; }
h1, h2 { line-height: 1.25; } h2 { margin-top: 2.6rem; } a { color: var(--c0); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; } td, th { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; } .scroll { overflow-x: auto; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; } .soft { color: var(--soft); font-size: .9rem; }
figure { background: var(--card); border-radius: 10px; margin: 1rem 0; padding: .8rem; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font: 12.5px system-ui, sans-serif; } svg text.heading { font-size: 14px; font-weight: 600; }
.grid { stroke: var(--grid); stroke-width: 1; } path { fill: none; } .measured { stroke-width: 2.4; } .exact { stroke: var(--text); stroke-width: 1.3; stroke-dasharray: 7 4; }
.band { stroke: none; opacity: .18; } .band.c0 { fill: var(--c0); } .band.c1 { fill: var(--c1); } .band.c2 { fill: var(--c2); } .band.c3 { fill: var(--c3); }
.band.c4 { fill: var(--c4); } .band.c5 { fill: var(--c5); } .band.c6 { fill: var(--c6); } .band.c7 { fill: var(--c7); } math { font-size: 1.1em; }
code { overflow-wrap: anywhere; } .formula { overflow-x: auto; } .open { color: var(--c5); font-weight: 600; }
figcaption { display: none; }
@media (max-width: 640px) { body { padding: .8rem; } figure { padding: .3rem; } table.cards, .cards tbody, .cards tr, .cards td { display: block; } .cards th { display: none; }
  .cards tr { border-bottom: 2px solid var(--grid); padding: .4rem 0; } .cards td { border: 0; padding: .1rem 0; overflow-wrap: anywhere; }
  .cards td.number { white-space: normal; } .cards td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
  svg text { font-size: 18px; } svg text.heading { font-size: 16px; } figcaption { display: block; font-weight: 600; } figcaption + svg text.heading { display: none; } }
.bound { stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 2 4; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
)";

/// A page that needs nothing from elsewhere: style, a heading with the title, the body (HTML), and the version. It has the classes
/// of to_svg's lines, table cells `number`, and `good`, `bad`, `soft` and `scroll`; a table of class `cards` is a list of cards on a
/// narrow screen, each cell under its `data-label`; a figcaption before an SVG is shown there in the place of the SVG's own heading, which can't wrap.
[[nodiscard]] inline std::string page(std::string const& title, std::string const& body, std::string const& further_style = "") {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width, initial-scale=1\"><title>" +
         escaped(title) + "</title>\n<style>" + style + further_style + "</style></head>\n<body>\n<h1>" + escaped(title) + "</h1>\n" + body +
         "<p class=\"soft\">kedge " KEDGE_VERSION_STRING "</p>\n</body>\n</html>\n";
}

}  // namespace kedge::lab::drawing
