"""The pairs of an A/B session, a strip a gate: where each lies, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from latbench.render.comparison_words import signed_percent
from latbench.render.ink import Ink, Line, left, right

_MOST_CELLS: Final = 90
_MARGIN: Final = 0.02
_LEAST_SPAN: Final = 0.02
"""Of a strip's logarithms, each way: 2 %, so that one without noise has a scale as well."""


def draw_pairs(name: str, ratios: Sequence[float], allowed: float, width: int, ink: Ink) -> Line:
    """One strip: a digit for each cell says how many pairs lie there; `|` no change, `!` allowed.

    The scale is logarithmic, as noise is: from the lowest to the highest of the pairs, 1 and what
    is allowed.
    """
    logs = [math.log(ratio) for ratio in ratios]
    bound = math.log1p(allowed)
    low, high = min(*logs, -_LEAST_SPAN), max(*logs, bound, _LEAST_SPAN)
    margin = (high - low) * _MARGIN
    low, high = low - margin, high + margin
    ends = (signed_percent(math.exp(low)), signed_percent(math.exp(high)))
    ends_width = max(9, *map(len, ends))
    gutter = max(len(name), 4) + 2
    cells = min(max(width - gutter - 2 * ends_width - 2, 10), _MOST_CELLS)

    def place(log: float) -> int:
        return round((log - low) / (high - low) * (cells - 1))

    counts = [0] * cells
    for log in logs:
        counts[place(log)] += 1
    glyph = "●" if not ink.ascii_only else "o"
    line: Line = [
        (left(name, gutter), ""),
        (ink.text(right(ends[0], ends_width)) + " ", "dim"),
    ]
    marks = {place(0.0): ("|", "dim"), place(bound): ("!", "yellow")}
    for cell, count in enumerate(counts):
        if count:
            style = "bold red" if cell > place(bound) else "bold"
            line.append((glyph if count == 1 else f"{min(count, 9)}", style))
        else:
            line.append(marks.get(cell, (ink.text("·"), "dim")))
    line.append((" " + ink.text(ends[1]), "dim"))
    return line
