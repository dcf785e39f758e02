// SPDX-License-Identifier: Apache-2.0
#include "markup.hpp"

namespace kedge::llm {

// Colours that people with any kind of colour vision tell apart (after Okabe and Ito), darker on white, lighter on black.
char const* const page_style = R"(
:root { color-scheme: light dark; --text: #1b1f23; --soft: #59626b; --page: #fff; --card: #f6f7f9; --edge: #d9dde2; --grid: #e4e7eb; --good: #0a6b4a; --bad: #b3261e;
  --c0: #0063a8; --c1: #bd4b00; --c2: #00795a; --c3: #95407f; --c4: #7d6200; --c5: #2a8fc7; --c6: #d0305f; --c7: #4a4f55; }
@media (prefers-color-scheme: dark) { :root { --text: #e8eaed; --soft: #a0a8b1; --page: #121417; --card: #1b1e23; --edge: #343a41; --grid: #2a2f36; --good: #4fd1a5; --bad: #ff8a7d;
  --c0: #62b0ff; --c1: #ff9248; --c2: #3ad6a6; --c3: #e49bd0; --c4: #e3c14a; --c5: #8fd3ff; --c6: #ff86a8; --c7: #c3c8ce; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--text); background: var(--page); max-width: 1240px; margin: 0 auto; padding: 1.1rem; }
h1 { font-size: 1.65rem; line-height: 1.2; margin: .2rem 0 .5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 0; } small, .soft { color: var(--soft); font-weight: 400; }
.over { color: var(--soft); margin: 0; font-size: .9rem; } .lead { max-width: 46rem; margin: 0 0 .9rem; overflow-wrap: anywhere; }
.state { border: 1px solid currentColor; border-radius: 99px; padding: .05rem .6rem; font-weight: 600; white-space: nowrap; } .good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10.2rem, 46%), 1fr)); gap: .6rem; margin: 0; }
.tiles div { background: var(--card); border: 1px solid var(--edge); border-radius: 9px; padding: .5rem .7rem; }
.tiles dt { color: var(--soft); font-size: .82rem; } .tiles dd { margin: 0; font-size: 1.12rem; font-weight: 600; font-variant-numeric: tabular-nums; } .tiles dd small { font-size: .82rem; display: block; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21.5rem), 1fr)); gap: .8rem; }
.chart { margin: 0; background: var(--card); border: 1px solid var(--edge); border-radius: 9px; padding: .6rem .6rem .35rem; min-width: 0; }
.keys { display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .82rem; color: var(--soft); min-height: 1.45rem; font-variant-numeric: tabular-nums; }
.key { overflow-wrap: anywhere; } .key svg { width: 22px; height: 12px; display: inline-block; vertical-align: -1px; margin-right: .3rem; } .key b, .here { color: var(--text); }
svg { width: 100%; height: auto; display: block; touch-action: pan-y; } svg text { font-size: 11px; fill: var(--soft); } svg path { fill: none; }
.grid { stroke: var(--grid); } .tick { stroke: var(--soft); } .border { stroke: var(--soft); stroke-dasharray: 2 3; } .pointer { stroke: var(--text); visibility: hidden; }
.line { stroke-width: 1.7; stroke-linejoin: round; } .dots { stroke-width: 1.2; stroke-dasharray: 1.5 3; } svg .mark { fill: var(--page); stroke-width: 1.7; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.line.c1 { stroke-dasharray: 7 2.5; } .line.c2 { stroke-dasharray: 2.5 2; } .line.c3 { stroke-dasharray: 8 2.5 2 2.5; } .line.c5 { stroke-dasharray: 5 2; } .line.c6 { stroke-dasharray: 12 3; } .line.c7 { stroke-dasharray: 4 2 1 2; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; } td, th { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--edge); vertical-align: top; }
th { font-weight: 600; } td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } td code { overflow-wrap: anywhere; } code, pre { font: .86rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
.wide { width: 100%; } .settings { table-layout: fixed; } .settings td { overflow-wrap: anywhere; } .settings th:first-child { width: 38%; } details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.sample { border-top: 1px solid var(--edge); padding: .7rem 0; } .sample .texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .7rem; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); border-radius: 8px; padding: .5rem .7rem; max-height: 16rem; overflow-y: auto; unicode-bidi: isolate; } .prompt { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 10rem; overflow-y: auto; margin-bottom: .5rem; unicode-bidi: isolate; }
footer { color: var(--soft); font-size: .85rem; margin-top: 2.5rem; }
)";

// Under the pointer a chart shows a line at the nearest step that has a value, and what each curve is there.
char const* const page_script = R"(
for (const figure of document.querySelectorAll('.chart')) {
  const chart = JSON.parse(figure.dataset.values), svg = figure.querySelector('svg[role]'), pointer = figure.querySelector('.pointer');
  const shown = figure.querySelectorAll('.keys b'), here = figure.querySelector('.here');
  const nearest = (points, x) => points.reduce((best, p) => best && Math.abs(best[0] - x) <= Math.abs(p[0] - x) ? best : p, null);
  const text = v => Math.abs(v) >= 1e-3 && Math.abs(v) < 1e6 || v === 0 ? String(+v.toPrecision(5)) : v.toExponential(3);
  const show = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const x = chart.from + (at - chart.left) / (chart.right - chart.left) * (chart.to - chart.from);
    const found = nearest(chart.lines.flatMap(line => { const p = nearest(line, x); return p ? [p] : []; }), x);
    if (!found) return;
    const place = chart.left + (found[0] - chart.from) / (chart.to - chart.from) * (chart.right - chart.left);
    pointer.setAttribute('x1', place); pointer.setAttribute('x2', place); pointer.style.visibility = 'visible';
    here.textContent = 'step ' + found[0];
    chart.lines.forEach((line, i) => { const p = nearest(line, found[0]); shown[i].textContent = !p ? '' : text(p[1]) + (p[0] === found[0] ? '' : ' (step ' + p[0] + ')'); });
  };
  const hide = () => { pointer.style.visibility = 'hidden'; here.textContent = ''; shown.forEach(b => b.textContent = ''); };
  svg.addEventListener('pointermove', show); svg.addEventListener('pointerdown', show); svg.addEventListener('pointerleave', hide);
}
)";

}  // namespace kedge::llm
