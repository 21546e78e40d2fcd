"""Latency against load, as a chart: what is in it, its scales, and how a terminal shows it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Final

from latbench.render.ink import Ink, Line, left, right
from latbench.sweep_result import SweepResult
from latbench.units import format_latency, format_rate

HEIGHT: Final = 14
_MOST_WIDTH: Final = 100
_LABEL: Final = 8
_MARGIN: Final = 1.15
"""Room above the largest and below the smallest value: so many times."""
_MARK_STYLES: Final = {"holds": "bold green", "fails": "bold red", "overloaded": "bold red"}
_MARKS: Final = {"holds": ("●", "o"), "fails": ("×", "x"), "overloaded": ("▲", "^")}
_FIT: Final = ("·", ".")
_LIMIT: Final = ("─", "-")


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """One measured point."""

    rate_hz: int
    value_ns: float | None
    """None: it was overloaded, so it has no latency."""
    kind: str
    """`holds`, `fails` or `overloaded`."""


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


class Chart:
    """The first SLO's statistic by rate, with its limit and the fitted curve."""

    def __init__(self, result: SweepResult) -> None:
        slo = result.plan.slos[0]
        self.subject = slo.subject
        self.limit_ns = slo.limit_ns
        self.fit = result.fit
        self.marks = [
            Mark(
                point.rate_hz,
                point.values_ns[0],
                "overloaded"
                if point.values_ns[0] is None
                else ("holds" if point.holds else "fails"),
            )
            for point in result.points
        ]
        rates = [mark.rate_hz for mark in self.marks]
        values = [mark.value_ns for mark in self.marks if mark.value_ns]
        values.append(self.limit_ns)
        self.x = Scale(min(rates) / _MARGIN, max(rates) * _MARGIN)
        self.y = Scale(min(values) / _MARGIN, max(values) * _MARGIN)

    def fitted(self, steps: int) -> Iterator[tuple[float, float]]:
        """The curve where it lies within the chart: rate and latency, `steps` of them at most."""
        if self.fit is None:
            return
        for step in range(steps):
            rate_hz = self.x.value(step / (steps - 1))
            value_ns = self.fit.curve.latency_ns(rate_hz)
            if value_ns is not None and self.y.low <= value_ns <= self.y.high:
                yield rate_hz, value_ns


def draw_chart(result: SweepResult, width: int, ink: Ink) -> list[Line]:
    """The chart in lines: axes with labels, limit, curve, a mark for each point, and a legend."""
    chart = Chart(result)
    columns = min(width, _MOST_WIDTH) - _LABEL - 2
    glyph = 1 if ink.ascii_only else 0
    grid: list[list[tuple[str, str]]] = [[(" ", "")] * columns for _ in range(HEIGHT)]

    def put(rate_hz: float, value_ns: float, mark: str, style: str) -> None:
        column = min(max(round(chart.x.share(rate_hz) * (columns - 1)), 0), columns - 1)
        row = HEIGHT - 1 - round(chart.y.share(value_ns) * (HEIGHT - 1))
        grid[min(max(row, 0), HEIGHT - 1)][column] = (mark, style)

    for column in range(columns):
        put(chart.x.value(column / (columns - 1)), chart.limit_ns, _LIMIT[glyph], "dim")
    for rate_hz, value_ns in chart.fitted(columns):
        put(rate_hz, value_ns, _FIT[glyph], "cyan")
    # what holds is drawn last: it is seldom seen where failures lie close by
    for mark in sorted(chart.marks, key=lambda each: each.kind == "holds"):
        value_ns = chart.y.high if mark.value_ns is None else mark.value_ns
        put(mark.rate_hz, value_ns, _MARKS[mark.kind][glyph], _MARK_STYLES[mark.kind])

    labels = _row_labels(chart)
    bar = "|" if ink.ascii_only else "│"
    lines: list[Line] = [
        [(right(ink.text(labels.get(row, "")), _LABEL), "dim"), (f" {bar}", "dim"), *cells]
        for row, cells in enumerate(grid)
    ]
    corner = "+" if ink.ascii_only else "└"
    lines.append([(" " * (_LABEL + 1) + corner + ink.rule(columns), "dim")])
    lines.append([(" " * (_LABEL + 2) + _column_labels(chart, columns), "dim")])
    return [*lines, _legend(chart, ink, glyph)]


def _row_labels(chart: Chart) -> dict[int, str]:
    """Round latencies beside their rows, and the limit, which goes before."""
    labels: dict[int, str] = {}
    for value_ns in [*chart.y.ticks(HEIGHT // 2), chart.limit_ns]:
        row = HEIGHT - 1 - round(chart.y.share(value_ns) * (HEIGHT - 1))
        labels[row] = format_latency(value_ns)
    return labels


def _column_labels(chart: Chart, columns: int) -> str:
    """Round rates below their columns, as many as there is room for."""
    text = ""
    for rate_hz in chart.x.ticks(columns // 10):
        label = format_rate(rate_hz)
        column = round(chart.x.share(rate_hz) * (columns - 1)) - len(label) // 2
        column = min(max(column, 0), columns - len(label))
        if not text or column > len(text):
            text = left(text, column) + label
    return text


def _legend(chart: Chart, ink: Ink, glyph: int) -> Line:
    kinds = [kind for kind in _MARKS if any(mark.kind == kind for mark in chart.marks)]
    line: Line = [(" " * (_LABEL + 2), "")]
    for kind in kinds:
        line += [(_MARKS[kind][glyph], _MARK_STYLES[kind]), (f" {kind}   ", "dim")]
    if chart.fit is not None:
        line += [(_FIT[glyph] * 2, "cyan"), (" fitted curve   ", "dim")]
    line += [(_LIMIT[glyph] * 2, "dim"), (ink.text(f" {format_latency(chart.limit_ns)}"), "dim")]
    return line
