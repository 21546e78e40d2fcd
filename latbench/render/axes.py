"""The axes that charts share: logarithmic scales, and the labels beside and below what is drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from latbench.render.ink import Ink, Line, left, right, width_of

_LEAST_GAP: Final = 1
"""Cells between two labels of an axis."""


class Scale:
    """A logarithmic axis from `low` to `high`, onto 0 to 1."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self._span = math.log(high / low)

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one."""
        return math.log(value / self.low) / self._span

    def value(self, share: float) -> float:
        """The value at a share of the axis."""
        return self.low * math.exp(share * self._span)

    def ticks(self, most: int) -> list[float]:
        """Round values on the axis, fewer to a power of ten where it has many of those."""
        found: list[float] = []
        for factors in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [
                factor * 10.0**decade
                for decade in decades
                for factor in factors
                if self.low <= factor * 10.0**decade <= self.high
            ]
            if len(found) <= most:
                break
        return found or [self.low]


def row_of(share: float, height: int) -> int:
    """The row, from the top down, of a share of an axis that is so many rows high."""
    return min(max(height - 1 - round(share * (height - 1)), 0), height - 1)


def row_labels(
    scale: Scale, values: Iterable[float], height: int, told: Callable[[float], str]
) -> dict[int, str]:
    """Labels by row; of two in one row the later one stays."""
    return {row_of(scale.share(value), height): told(value) for value in values}


def column_labels(places: Iterable[tuple[float, str]], columns: int) -> str:
    """Labels (share of the axis, text) centred below their columns, as many as have room."""
    text = ""
    for share, label in places:
        column = round(share * (columns - 1)) - len(label) // 2
        column = min(max(column, 0), columns - len(label))
        if not text or column >= len(text) + _LEAST_GAP:
            text = left(text, column) + label
    return text


def framed(
    cells: Sequence[Line], labels: Mapping[int, str], below: str, gutter: int, ink: Ink
) -> list[Line]:
    """Rows of cells with the axis on their left, labels in its `gutter`, and the axis below."""
    columns = len(cells[0])
    return [
        *walled(cells, labels, gutter, ink),
        ground(columns, gutter, ink),
        [(" " * (gutter + 2) + ink.text(below), "dim")],
    ]


def walled(
    cells: Sequence[Line],
    labels: Mapping[int, str],
    gutter: int,
    ink: Ink,
    beside: Mapping[int, Line] | None = None,
) -> list[Line]:
    """Rows of cells with the axis on their left, and lines `beside` some of them on the right."""
    bar = "|" if ink.ascii_only else "│"
    return [
        [
            (right(ink.text(labels.get(row, "")), gutter), "dim"),
            (f" {bar}", "dim"),
            *row_cells,
            *((beside or {}).get(row, [])),
        ]
        for row, row_cells in enumerate(cells)
    ]


def ground(columns: int, gutter: int, ink: Ink) -> Line:
    """The axis below rows of cells."""
    corner = "+" if ink.ascii_only else "└"
    return [(" " * (gutter + 1) + corner + ink.rule(columns), "dim")]


def apart(rows: Sequence[int], height: int) -> list[int]:
    """Rows for labels that want these, from the top down, a row each, as near as there is room."""
    placed: list[int] = []
    for number, row in enumerate(rows):
        after = placed[-1] + 1 if placed else 0
        placed.append(min(max(row, after), height - len(rows) + number))
    return placed


def side_by_side(first: Sequence[Line], second: Sequence[Line], width: int) -> list[Line]:
    """Lines beside lines, which begin so many cells to the right."""
    nothing: Line = []
    return [
        [*before, (" " * (width - width_of(before)), ""), *after]
        for before, after in itertools.zip_longest(first, second, fillvalue=nothing)
    ]
