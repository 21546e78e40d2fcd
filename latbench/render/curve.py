"""Latency against load, as a chart: what is in it, its scales, and how a terminal shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from latbench.render.axes import Scale, column_labels, framed, row_labels, row_of
from latbench.render.ink import Ink, Line
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
    grid: list[Line] = [[(" ", "")] * columns for _ in range(HEIGHT)]

    def put(rate_hz: float, value_ns: float, mark: str, style: str) -> None:
        column = min(max(round(chart.x.share(rate_hz) * (columns - 1)), 0), columns - 1)
        grid[row_of(chart.y.share(value_ns), HEIGHT)][column] = (mark, style)

    for column in range(columns):
        put(chart.x.value(column / (columns - 1)), chart.limit_ns, _LIMIT[glyph], "dim")
    for rate_hz, value_ns in chart.fitted(columns):
        put(rate_hz, value_ns, _FIT[glyph], "cyan")
    # what holds is drawn last: it is seldom seen where failures lie close by
    for mark in sorted(chart.marks, key=lambda each: each.kind == "holds"):
        value_ns = chart.y.high if mark.value_ns is None else mark.value_ns
        put(mark.rate_hz, value_ns, _MARKS[mark.kind][glyph], _MARK_STYLES[mark.kind])

    # the limit is told before a round latency that would stand in its row
    latencies = [*chart.y.ticks(HEIGHT // 2), chart.limit_ns]
    labels = row_labels(chart.y, latencies, HEIGHT, format_latency)
    rates = [(chart.x.share(each), format_rate(each)) for each in chart.x.ticks(columns // 10)]
    below = column_labels(rates, columns)
    return [*framed(grid, labels, below, _LABEL, ink), _legend(chart, ink, glyph)]


def _legend(chart: Chart, ink: Ink, glyph: int) -> Line:
    kinds = [kind for kind in _MARKS if any(mark.kind == kind for mark in chart.marks)]
    line: Line = [(" " * (_LABEL + 2), "")]
    for kind in kinds:
        line += [(_MARKS[kind][glyph], _MARK_STYLES[kind]), (f" {kind}   ", "dim")]
    if chart.fit is not None:
        line += [(_FIT[glyph] * 2, "cyan"), (" fitted curve   ", "dim")]
    line += [(_LIMIT[glyph] * 2, "dim"), (ink.text(f" {format_latency(chart.limit_ns)}"), "dim")]
    return line
