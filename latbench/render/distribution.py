"""A run's latencies as distributions in text: percentile curves, and histograms in log bins."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.histogram import MIN_SAMPLES_BEYOND
from latbench.render.axes import Scale, apart, column_labels, ground, row_labels, walled
from latbench.render.canvas import Canvas
from latbench.render.ink import Ink, Line, Span, paragraph
from latbench.render.over_time import GUTTER, PART_STYLES, scale_of
from latbench.result import HopSummary
from latbench.series import HICCUP, PercentileCurve, Series, rebinned
from latbench.tick import PARTS
from latbench.units import format_count, format_latency

_HEIGHT: Final = 14
_BARS_HEIGHT: Final = 8
_HICCUP_HEIGHT: Final = 3
_MARKS: Final = {
    "end_to_end": ("●", "o"),
    "schedule": ("△", "s"),
    "websocket": ("□", "w"),
    "relay": ("◇", "r"),
    "kafka": ("×", "x"),
}
_NAMES_WIDTH: Final = 13
"""A gap, a mark, a gap and `end_to_end`."""
_HARDLY_LATE: Final = 0.01
"""This share of the hiccups may be in the first bar, though they are decades less late."""
_MARKED: Final = ("p50", "p90", "p99", "p99.9", "p99.99")
_WIDEST_BAR: Final = 4
_LEAST_PERCENT: Final = 1.0
"""A scale's lower end: the shortest latency of a run may be a thousandth of this one."""
_MARK_EVERY: Final = 9
"""Cells between two marks of a curve."""


def draw_percentiles(series: Series, width: int, ink: Ink) -> list[Line]:
    """Latency by percentile, `end_to_end` and its parts, as far as there are samples enough."""
    title: Line = [("Percentiles", "bold")]
    names = [*(hop.name for hop in PARTS), "end_to_end"]
    curves = {name: series.curves[name] for name in names if name in series.curves}
    curves = {name: curve for name, curve in curves.items() if curve.percent.size}
    if "end_to_end" not in curves:
        told = f"A curve takes more than {MIN_SAMPLES_BEYOND} ticks."
        return [title, *paragraph(told, width, ink, style="dim")]
    last = float(curves["end_to_end"].percent[-1])
    told = (
        f"up to {_percent_text(last)}, beyond which there are fewer than {MIN_SAMPLES_BEYOND} ticks"
    )
    columns = max(width - GUTTER - 2 - _NAMES_WIDTH, 8)
    reach = max(_nines(float(curve.percent[-1])) for curve in curves.values())
    scale = scale_of([_from_percent(curve, _LEAST_PERCENT) for curve in curves.values()])
    canvas = Canvas(columns, _HEIGHT, ink)
    ends: dict[str, int] = {}
    glyph = 1 if ink.ascii_only else 0
    for name, curve in curves.items():
        points = [
            (_nines(percent) / reach, scale.share(max(value, 1)))
            for percent, value in zip(curve.percent.tolist(), curve.value_ns.tolist(), strict=True)
            if max(value, 1) >= scale.low
        ]
        canvas.line(points, _style(name), _MARKS[name][glyph])
        ends[name] = canvas.row_of(points[-1])
    for number, (name, curve) in enumerate(curves.items()):
        _put_marks(canvas, (_MARKS[name][glyph], _style(name)), curve, reach, scale, number)
    order = sorted(ends, key=lambda name: (ends[name], -float(curves[name].value_ns[-1])))
    rows = apart([ends[name] for name in order], _HEIGHT)
    beside: dict[int, Line] = {
        row: [(f" {_MARKS[name][glyph]} {name}", _style(name))]
        for name, row in zip(order, rows, strict=True)
    }
    labels = row_labels(scale, scale.ticks(_HEIGHT // 2), _HEIGHT, format_latency)
    lines = [title, *paragraph(told, width, ink, style="dim")]
    lines += walled(canvas.cells(), labels, GUTTER, ink, beside)
    lines.append(ground(columns, GUTTER, ink))
    places = [(_nines(each) / reach, _percent_text(each)) for each in _percents(last)]
    lines.append([(" " * (GUTTER + 2) + column_labels(places, columns), "dim")])
    return lines


def _from_percent(curve: PercentileCurve, percent: float) -> npt.NDArray[np.float64]:
    """The values from a percentile on, and the last in any case."""
    return curve.value_ns[curve.percent >= min(percent, float(curve.percent[-1]))]


def _style(name: str) -> str:
    return PART_STYLES.get(name, "bold")


def _nines(percent: float) -> float:
    """Where a percentile stands on the axis: 90, 99 and 99.9 % at 1, 2 and 3."""
    return -math.log10(1 - percent / 100)


def _percents(last: float) -> list[float]:
    """Those that are told below the axis, up to the last."""
    nines = [round(100 - 10.0 ** (2 - number), 10) for number in range(1, 12)]
    return [*(each for each in (0.0, 50.0, *nines) if each < last), last]


def _percent_text(percent: float) -> str:
    """With as many digits as tell it from 100 %, never rounded up: `99.5 %`, `99.9995 %`."""
    decimals = max(math.ceil(_nines(percent)) - 1, 1)
    floored = math.floor(round(percent * 10**decimals, 6)) / 10**decimals
    return f"{floored:.{decimals}f}".rstrip("0").rstrip(".") + " %"


def _put_marks(
    canvas: Canvas, mark: Span, curve: PercentileCurve, reach: float, scale: Scale, number: int
) -> None:
    """A mark every few cells, each curve's in cells of its own."""
    nines = -np.log10(1 - curve.percent / 100)
    for column in range(2 + 2 * number, canvas.columns, _MARK_EVERY + 1):
        share = column / (canvas.columns - 1)
        if share * reach <= nines[-1]:
            value = float(np.interp(share * reach, nines, np.log(np.maximum(curve.value_ns, 1))))
            canvas.put((share, scale.share(math.exp(value))), *mark)


def draw_histogram(series: Series, end_to_end: HopSummary, width: int, ink: Ink) -> list[Line]:
    """`end_to_end` by latency, and on the same axis how late the platform's timers were."""
    columns = max(width - GUTTER - 2, 8)
    total, hiccups = series.bins["end_to_end"], series.bins.get(HICCUP)
    first, last = (int(place) for place in np.flatnonzero(total.counts)[[0, -1]])
    told = "ticks by end_to_end latency"
    if hiccups is not None:
        late = np.cumsum(hiccups.counts) / hiccups.counts.sum()
        first = min(first, int(np.flatnonzero(late >= _HARDLY_LATE)[0]))
        last = max(last, int(np.flatnonzero(hiccups.counts)[-1]))
        told += "; below, on the same axis, how late the timers of all processes woke"
    scale = Scale(float(total.edges_ns[first]), float(total.edges_ns[last + 1]))
    cells = min(columns // (last + 1 - first), _WIDEST_BAR) or 1
    edges_ns = np.geomspace(scale.low, scale.high, columns // cells + 1)
    columns = (edges_ns.size - 1) * cells

    def bars(key: str, height: int, name: str) -> list[Line]:
        """A distribution above the axis; its greatest count at the top, its name at the bottom."""
        counts = rebinned(series.distributions[key], edges_ns).counts
        rows = ink.chart(np.repeat(counts, cells).tolist(), int(counts.max()), height)
        drawn: list[Line] = [[(row, "cyan")] for row in rows]
        labels = {0: format_count(int(counts.max())), height - 1: name}
        return [*walled(drawn, labels, GUTTER, ink), ground(columns, GUTTER, ink)]

    marks = [
        (scale.share(value), name)
        for name, value in end_to_end.percentiles_ns.items()
        if value is not None and name in _MARKED and scale.low < value < scale.high
    ]
    ticks = [(scale.share(each), format_latency(each)) for each in scale.ticks(columns // 12)]
    lines: list[Line] = [[("Histogram", "bold")]]
    lines += paragraph(told, width, ink, style="dim")
    lines += bars("end_to_end", _BARS_HEIGHT, "ticks")
    if marks:
        lines.append([(" " * (GUTTER + 2) + column_labels(marks, columns), "")])
    if hiccups is not None:
        lines += bars(HICCUP, _HICCUP_HEIGHT, "hiccups")
    lines.append([(" " * (GUTTER + 2) + ink.text(column_labels(ticks, columns)), "dim")])
    return lines
