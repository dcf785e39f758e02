# SPDX-License-Identifier: Apache-2.0
"""A picture of against_trl.py's result: pairs a second and peak memory as bars, losses as curves, a row of panels for each type."""

from pathlib import Path

WIDTH, HEIGHT, GAP = 270, 190, 70
COLOURS = {"trl": "#9aa5b1", "trl-tuned": "#7b8794", "trl-0.28": "#616e7c", "plain": "#d9a441", "kedge": "#0b6e99"}


def frame(left, top, title):
    return f'<text x="{left}" y="{top - 10}" font-weight="bold">{title}</text><line x1="{left}" y1="{top + HEIGHT}" x2="{left + WIDTH}" y2="{top + HEIGHT}" stroke="#555"/>'


def bars(left, top, title, values, limit=None, form="{:.2f}"):
    """values: side → number; limit: drawn as a line across."""
    most, width, parts = max([*values.values(), limit or 0]) * 1.1, WIDTH / len(values), [frame(left, top, title)]
    for i, (side, value) in enumerate(values.items()):
        height, x = value / most * HEIGHT, left + (i + 0.15) * width
        parts.append(f'<rect x="{x:.1f}" y="{top + HEIGHT - height:.1f}" width="{0.7 * width:.1f}" height="{height:.1f}" fill="{COLOURS[side]}"/>')
        middle = f'x="{x + 0.35 * width:.1f}" text-anchor="middle"'
        parts.append(f'<text {middle} y="{top + HEIGHT - height - 4:.1f}">{form.format(value)}</text><text {middle} y="{top + HEIGHT + 15}">{side}</text>')
    if limit:
        y = top + HEIGHT - limit / most * HEIGHT
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + WIDTH}" y2="{y:.1f}" stroke="#b3262e" stroke-dasharray="5 3"/>')
        parts.append(f'<text x="{left + 2}" y="{y - 4:.1f}" fill="#b3262e">bound {form.format(limit)}</text>')
    return "".join(parts)


def curves(left, top, title, losses):
    """losses: side → one a step."""
    every = [loss for series in losses.values() for loss in series]
    low, high, parts = min(every), max(every), [frame(left, top, title)]
    for side, series in losses.items():
        place = lambda i, loss: f"{left + i / max(len(series) - 1, 1) * WIDTH:.1f},{top + (high - loss) / max(high - low, 1e-9) * HEIGHT:.1f}"  # noqa: B023, E731
        points = " ".join(place(i, loss) for i, loss in enumerate(series))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[side]}" stroke-width="{5 if side == "kedge" else 2}" stroke-opacity="0.6"/>')
    marks = ((high, 10), (low, HEIGHT - 4))
    return "".join(parts) + "".join(f'<text x="{left - 4}" y="{top + y}" text-anchor="end">{loss:.4f}</text>' for loss, y in marks)


def write(path, rows, bounds):
    """rows: those of against_trl.summary; bounds: pairs a second by type."""
    panels = []
    for line, dtype in enumerate(bounds):
        mine = [row for row in rows if row["dtype"] == dtype]
        top, of = 40 + line * (HEIGHT + GAP), lambda key, scale=1: {row["side"]: row[key] / scale for row in mine}  # noqa: B023
        panels.append(bars(40, top, f"{dtype}: pairs a second", of("pairs_per_second"), bounds[dtype]))
        panels.append(bars(40 + WIDTH + GAP, top, "peak memory, GiB", of("peak_bytes", 2**30)))
        panels.append(curves(40 + 2 * (WIDTH + GAP), top, "loss of every step", {row["side"]: row["losses"] for row in mine}))
    size = f"{40 + 3 * (WIDTH + GAP)} {30 + len(bounds) * (HEIGHT + GAP)}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    Path(path).write_text(head + "".join(panels) + "</svg>\n", encoding="utf-8")
