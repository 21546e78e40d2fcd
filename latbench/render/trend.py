"""A percentile over runs as a chart: a dot a run, the level between change points as a line."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from latbench.clock import NS_PER_S
from latbench.history_result import Scenario, Trend
from latbench.render.axes import Scale
from latbench.render.ink import Ink, Line, left, right, width_of
from latbench.units import format_latency

HEIGHT: Final = 9
_MOST_WIDTH: Final = 110
_LABEL: Final = 8
_CELLS_A_RUN: Final = 3
"""At most: a few runs are not spread over a whole terminal."""
_LEAST_CELLS: Final = 26
"""Room for the first and the last day below."""
_OUTER: Final = 0.02
"""Of the values at either end may lie off the chart, so that one slow run does not flatten all."""
_LEAST_SPAN: Final = 1.2
"""From the bottom to the top: noise of 1 % is not to look like a mountain."""
_ROUNDING: Final = 1e-9
"""Of an end of the scale, which was a logarithm in between."""
_DOT, _LEVEL, _UNUSED, _ABOVE, _BELOW, _BAR = (
    ("•", "."), ("━", "="), ("×", "x"), ("↑", "^"), ("↓", "v"), ("┊", ":"),
)  # fmt: skip

Cells = list[list[tuple[str, str]]]


def draw_trend(
    trend: Trend, scenario: Scenario, numbers: Sequence[int], width: int, ink: Ink
) -> list[Line]:
    """The chart in lines; `numbers`: of the events that the trend's change points belong to."""
    canvas = _Canvas(trend, scenario, width, ink)
    canvas.put_changes()
    canvas.put_levels()
    canvas.put_runs()
    bar = "|" if ink.ascii_only else "│"
    lines: list[Line] = []
    if trend.changes:
        lines.append(_numbers(trend, numbers, canvas.places, canvas.columns))
    for row, cells in enumerate(canvas.cells):
        label = ""
        if row in {0, HEIGHT // 2, HEIGHT - 1}:
            label = format_latency(canvas.scale.value(1 - row / (HEIGHT - 1)))
        lines.append([(right(ink.text(label), _LABEL), "dim"), (f" {bar}", "dim"), *cells])
    corner = "+" if ink.ascii_only else "└"
    lines.append([(" " * (_LABEL + 1) + corner + ink.rule(canvas.columns), "dim")])
    days = _days(scenario, canvas.places, canvas.columns)
    lines.append([(" " * (_LABEL + 2) + days, "dim")])
    return lines


class _Canvas:
    """The chart's cells: each run has its column, whether it is used or not."""

    def __init__(self, trend: Trend, scenario: Scenario, width: int, ink: Ink) -> None:
        self._trend, self._runs = trend, scenario.runs
        self._glyph = 1 if ink.ascii_only else 0
        gaps = len(self._runs) - 1
        room = max(min(width, _MOST_WIDTH) - _LABEL - 2, _LEAST_CELLS)
        self.columns = min(room, max(_CELLS_A_RUN * gaps + 1, _LEAST_CELLS))
        last = min(self.columns - 1, _CELLS_A_RUN * gaps)
        self.places = [round(place * last / max(gaps, 1)) for place in range(gaps + 1)]
        """The column of each run."""
        self._is_roomy = last >= 2 * gaps
        self.scale = _scale(trend)
        self.cells: Cells = [[(" ", "")] * self.columns for _ in range(HEIGHT)]

    def put_changes(self) -> None:
        """A bar through the chart where a level begins."""
        for change in self._trend.changes:
            for row in self.cells:
                row[self.places[change.run]] = (_BAR[self._glyph], "yellow")

    def put_levels(self) -> None:
        """The median between change points: red where it is worse than the one before."""
        for number, level in enumerate(self._trend.levels):
            line = (_LEVEL[self._glyph], _level_style(self._trend, number))
            row = self.cells[self._row(level.median_ns)]
            for column in range(self.places[level.first_run], self.places[level.last_run] + 1):
                row[column] = line

    def put_runs(self) -> None:
        """A dot a run, on a level only with room between; over them those that are not used."""
        for place, value_ns in zip(self._trend.runs, self._trend.values_ns, strict=True):
            mark = (_DOT[self._glyph], "")
            if _is_above(value_ns, self.scale):
                mark = (_ABOVE[self._glyph], "bold")
            elif _is_below(value_ns, self.scale):
                mark = (_BELOW[self._glyph], "bold")
            row = self.cells[self._row(value_ns)]
            under, level_style = row[self.places[place]]
            if under != _LEVEL[self._glyph]:
                row[self.places[place]] = mark
            elif self._is_roomy:
                row[self.places[place]] = (mark[0], level_style)
        known = dict(zip(self._trend.unused_runs, self._trend.unused_values_ns, strict=True))
        for place, run in enumerate(self._runs):
            if run.unused is not None:  # at the bottom where it has no figures
                row = self.cells[self._row(known.get(place, self.scale.low))]
                row[self.places[place]] = (_UNUSED[self._glyph], "red")

    def _row(self, value_ns: float) -> int:
        share = min(max(self.scale.share(value_ns), 0.0), 1.0)
        return HEIGHT - 1 - round(share * (HEIGHT - 1))


def draw_legend(scenario: Scenario, shown: Sequence[Trend], width: int, ink: Ink) -> list[Line]:
    """What the marks of these charts mean, on as many lines as it takes."""
    glyph = 1 if ink.ascii_only else 0
    marks = [(_DOT[glyph], "", "a run"), (_LEVEL[glyph] * 2, "cyan", "median")]
    if any(trend.changes for trend in shown):
        marks.append((_BAR[glyph], "yellow", "change"))
    if any(run.unused is not None for run in scenario.runs):
        marks.append((_UNUSED[glyph], "red", "not used"))
    scales = [(_scale(trend), trend.values_ns) for trend in shown]
    if any(
        _is_above(max(values), scale) or _is_below(min(values), scale) for scale, values in scales
    ):
        marks.append((_ABOVE[glyph] + _BELOW[glyph], "bold", "off the chart"))
    margin = (" " * (_LABEL + 2), "")
    lines: list[Line] = [[margin]]
    for mark, style, text in marks:
        if width_of(lines[-1]) + len(mark) + len(text) + 1 > width:
            lines.append([margin])
        lines[-1] += [(mark, style), (f" {text}   ", "dim")]
    return lines


def _scale(trend: Trend) -> Scale:
    """From the lowest value to the highest, but for few that lie far outside."""
    values = np.log(np.array(trend.values_ns, dtype=np.float64))
    levels = np.log([level.median_ns for level in trend.levels])
    low, high = np.quantile(values, [_OUTER, 1 - _OUTER])
    low, high = min(low, levels.min()), max(high, levels.max())
    margin = 0.25 * (high - low)
    low, high = max(low - margin, values.min()), min(high + margin, values.max())
    missing = max(math.log(_LEAST_SPAN) - (high - low), 0) / 2
    return Scale(math.exp(low - missing), math.exp(high + missing))


def _is_above(value_ns: float, scale: Scale) -> bool:
    return value_ns > scale.high * (1 + _ROUNDING)


def _is_below(value_ns: float, scale: Scale) -> bool:
    return value_ns < scale.low * (1 - _ROUNDING)


def _level_style(trend: Trend, number: int) -> str:
    if number == 0:
        return "bold cyan"
    return "bold red" if trend.changes[number - 1].is_worse else "bold green"


def _numbers(trend: Trend, numbers: Sequence[int], places: Sequence[int], columns: int) -> Line:
    """The events' numbers above the places where they begin."""
    text = ""
    for change, number in zip(trend.changes, numbers, strict=True):
        label = str(number)
        column = min(places[change.run], columns - len(label))
        if column >= len(text) + (1 if text else 0):
            text = left(text, column) + label
    return [(" " * (_LABEL + 2) + text, "yellow")]


def _days(scenario: Scenario, places: Sequence[int], columns: int) -> str:
    """The first and the last day below the ends, and one between where there is room."""
    starts = [run.started_unix_ns // NS_PER_S for run in scenario.runs]
    is_short = starts[-1] - starts[0] < 2 * 86_400
    form = "%m-%d %H:%M" if is_short else "%Y-%m-%d"
    wanted = {0: 0, places[-1]: len(starts) - 1}
    if places[-1] >= 60:
        wanted[places[len(starts) // 2]] = len(starts) // 2
    text = ""
    for column, place in sorted(wanted.items()):
        moment = datetime.datetime.fromtimestamp(starts[place], datetime.UTC)
        label = f"{moment:{form}}"
        at = min(max(column - (len(label) // 2 if column else 0), 0), columns - len(label))
        if at >= len(text) + (2 if text else 0):
            text = left(text, at) + label
    return text
