#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes gguf_grids.inc beside this file: the points of the grids that ggml's IQ formats index.

An entry is one point: 8 coordinates of 2 bits (IQ1 and IQ2) or 4 of 3 bits (IQ3), the first in the lowest bits. They are what the
Python package `gguf` decodes with.

    pip install gguf==0.19.0 && python make_gguf_grids.py
"""
import pathlib

from gguf import quants

GRIDS = {"iq1": quants.IQ1_S, "iq2_xxs": quants.IQ2_XXS, "iq2_xs": quants.IQ2_XS, "iq2_s": quants.IQ2_S, "iq3_xxs": quants.IQ3_XXS, "iq3_s": quants.IQ3_S}


def points(kind):
    kind.init_grid()
    bits = 2 if kind.grid_shape[1] == 8 else 3
    levels = [float(x) for x in kind.grid_map]
    for row in kind.grid.reshape(kind.grid_shape):
        yield sum(levels.index(float(x)) << bits * i for i, x in enumerate(row))


lines = ["// SPDX-License-Identifier: Apache-2.0", "// Written by make_gguf_grids.py; do not edit."]
for name, kind in GRIDS.items():
    lines.append(f"inline constexpr std::uint16_t {name}_grid[] = {{")
    row = ""
    for point in points(kind):
        if len(row) + len(f"{point},") > 126:
            lines.append(row)
            row = ""
        row += f"{point},"
    lines += [row, "};"]
(pathlib.Path(__file__).parent / "gguf_grids.inc").write_text("\n".join(lines) + "\n")
