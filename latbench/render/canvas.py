"""Lines and marks on a grid of cells: in Braille dots, two by four to a cell, or in characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from latbench.render.ink import Ink, Line

Point = tuple[float, float]
"""Shares of both axes: from 0, left and at the bottom, to 1."""

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot in a Braille cell, a row of dots each (Unicode 16, Braille Patterns)."""
_BRAILLE: Final = 0x2800


class Canvas:
    """So many columns and rows of cells, empty at first; what is drawn later covers the earlier.

    In a cell that two lines share, all dots show, in the later one's style. Where there is only
    ASCII, a cell is one dot and shows the later one's mark.
    """

    def __init__(self, columns: int, rows: int, ink: Ink) -> None:
        self.columns, self.rows = columns, rows
        self._across, self._down = (1, 1) if ink.ascii_only else (2, 4)
        self._ascii_only = ink.ascii_only
        self._bits = [[0] * columns for _ in range(rows)]
        self._chars = [[""] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]

    def line(self, points: Sequence[Point], style: str, mark: str) -> None:
        """Join points, given from left to right; `mark` stands for it in ASCII."""
        dots = [self._dot(point) for point in points]
        for begin, end in pairwise(dots):
            self._join(begin, end, style, mark)
        if len(dots) == 1:
            self._set(*dots[0], style, mark)

    def dots(self, points: Iterable[Point], style: str, mark: str) -> None:
        """Points that nothing joins."""
        for point in points:
            self._set(*self._dot(point), style, mark)

    def put(self, point: Point, char: str, style: str) -> None:
        """One character in the cell of a point."""
        x, y = self._dot(point)
        row, column = y // self._down, x // self._across
        self._chars[row][column], self._styles[row][column] = char, style

    def cells(self) -> list[Line]:
        """The rows from the top down, a span a cell."""
        return [
            [
                (char or (chr(_BRAILLE + bits) if bits else " "), style)
                for char, bits, style in zip(*row, strict=True)
            ]
            for row in zip(self._chars, self._bits, self._styles, strict=True)
        ]

    def row_of(self, point: Point) -> int:
        """The row of cells that a point is in."""
        return self._dot(point)[1] // self._down

    def _dot(self, point: Point) -> tuple[int, int]:
        x = round(point[0] * (self.columns * self._across - 1))
        y = round((1 - point[1]) * (self.rows * self._down - 1))
        return (
            min(max(x, 0), self.columns * self._across - 1),
            min(max(y, 0), self.rows * self._down - 1),
        )

    def _join(self, begin: tuple[int, int], end: tuple[int, int], style: str, mark: str) -> None:
        """A dot a step along the longer way, so that none is missing and none doubled."""
        (x0, y0), (x1, y1) = begin, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            x = x0 + round((x1 - x0) * step / steps)
            self._set(x, y0 + round((y1 - y0) * step / steps), style, mark)

    def _set(self, x: int, y: int, style: str, mark: str) -> None:
        row, column = y // self._down, x // self._across
        self._styles[row][column] = style
        if self._ascii_only:
            self._chars[row][column] = mark
        else:
            self._bits[row][column] |= _DOTS[y % 4][x % 2]
