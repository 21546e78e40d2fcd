"""Small tables of the report: columns as wide as what they hold, the least worth left out first."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.render.ink import Ink, Line, right, width_of

_GAP: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A heading and a cell a row."""

    name: str
    cells: Sequence[Line]
    group: str = ""
    """What neighbouring columns have in common; it stands above their headings."""
    is_text: bool = False
    """Aligned to the left."""
    worth: int = 0
    """Where there is no room, columns with less of it go first; 0 always stays."""


def draw_grid(columns: Sequence[Column], width: int, ink: Ink) -> list[Line]:
    """The columns that fit in `width`, side by side below their headings."""
    shown = list(columns)
    while sum(_widths(shown)) + _GAP * (len(shown) - 1) > width:
        spare = [column for column in shown if column.worth]
        if not spare:
            break
        shown.remove(min(spare, key=lambda column: column.worth))
    widths = _widths(shown)
    groups = _group_line(shown, widths, ink)
    lines: list[Line] = [[(groups, "dim")]] if groups.strip() else []
    header: list[Line] = [[(column.name, "dim")] for column in shown]
    rows = [header, *zip(*(column.cells for column in shown), strict=True)]
    return [*lines, *(_line(row, shown, widths) for row in rows)]


def _line(cells: Sequence[Line], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    line: Line = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        blanks = (" " * (width - width_of(cell)), "")
        gap = (" " * (_GAP if line else 0), "")
        line += [gap, *cell, blanks] if column.is_text else [gap, blanks, *cell]
    return line


def _groups(columns: Sequence[Column]) -> Iterator[tuple[str, int, int]]:
    """Name, first index and size of each run of columns of one group."""
    start = 0
    for name, members in itertools.groupby(columns, key=lambda column: column.group):
        size = len(list(members))
        yield name, start, size
        start += size


def _widths(columns: Sequence[Column]) -> list[int]:
    widths = [
        max(len(column.name), *(width_of(cell) for cell in column.cells)) for column in columns
    ]
    for name, start, size in _groups(columns):
        if size == 1:
            widths[start] = max(widths[start], len(name))
    return widths


def _group_line(columns: Sequence[Column], widths: Sequence[int], ink: Ink) -> str:
    """The line above the headings: a group of several columns gets a rule as wide as they are."""
    captions = []
    for name, start, size in _groups(columns):
        span = sum(widths[start : start + size]) + _GAP * (size - 1)
        if not name or size == 1:
            captions.append(right(name, span))
            continue
        before = (span - len(name) - 2) // 2
        after = span - len(name) - 2 - before
        captions.append(f"{ink.rule(before)} {name} {ink.rule(after)}")
    return (" " * _GAP).join(captions)


def text_column(name: str, texts: Sequence[str], style: str = "", *, worth: int = 0) -> Column:
    """A column of words."""
    return Column(name, [[(text, style)] for text in texts], is_text=True, worth=worth)
