"""A run over time in text: latency by hop, what stalled, and where the time went."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_S
from latbench.render.axes import Scale, apart, column_labels, ground, row_labels, walled
from latbench.render.canvas import Canvas, Point
from latbench.render.hops import tag_of
from latbench.render.ink import Ink, Line, left, paragraph, right
from latbench.series import HopTimeline, Timeline, choose_interval_ns
from latbench.tick import HOPS, PARTS, HopKind
from latbench.units import format_clock, format_duration, format_latency

Floats = npt.NDArray[np.float64]

GUTTER: Final = 11
"""As wide as `uncorrected`."""
MARGIN: Final = 9
"""On the right: a gap and `55.1 µs`."""
_HEIGHT: Final = 14
_SMALL_HEIGHT: Final = 2
_SHARES_HEIGHT: Final = 10
_ROOM: Final = 1.15
"""Above the largest and below the smallest value: so many times."""
_LEVELS: Final = (" ▁▂▃▄▅▆▇█", " .:-=+*#@")

STATISTICS: Final = {"p50": ("cyan", "*"), "p99": ("yellow", "+"), "max": ("magenta", ".")}
"""Style, and mark where there is only ASCII."""
FILLS: Final = {
    "schedule": ("▓", "+"), "websocket": ("▒", "-"), "relay": ("█", "#"), "kafka": ("░", ".")
}  # fmt: skip
PART_STYLES: Final = {
    "schedule": "yellow", "websocket": "cyan", "relay": "bright_blue", "kafka": "magenta"
}  # fmt: skip


def columns_of(width: int) -> int:
    """The cells that are left for what is drawn."""
    return max(width - GUTTER - 2 - MARGIN, 8)


def draw_over_time(timeline: Timeline, width: int, ink: Ink, *, embedded: bool) -> list[Line]:
    """`end_to_end` with stalls and losses below it, then the other hops in small."""
    columns = columns_of(width)
    every = format_duration(timeline.interval_ns)
    lines: list[Line] = [[("Latency over time", "bold")]]
    lines += paragraph(
        f"end_to_end: p50, p99 and max of each {every}, by when ticks were due",
        width, ink, style="dim",
    )  # fmt: skip
    lines += _main(timeline.hops["end_to_end"], columns, ink)
    lines.append(ground(columns, GUTTER, ink))
    lines += _strip("stalled", timeline.stalled, timeline.count, columns, ink)
    lines += _strip("lost", timeline.count - timeline.consumed, timeline.count, columns, ink)
    lines.append(_time_labels(timeline, columns, ink))
    small = _small_multiples(timeline, columns, ink, embedded=embedded)
    if small:
        told = "p99 of each interval" if ink.ascii_only else "p50 and, above it, p99"
        if timeline.hiccup_max_ns:
            told += "; of hiccups, how late timers woke, the worst of all processes"
        told = f"The other hops, each on its own scale: {told}"
        lines += [[], *paragraph(told, width, ink, style="dim"), *small]
        lines += [ground(columns, GUTTER, ink), _time_labels(timeline, columns, ink)]
    return lines


def _small_multiples(timeline: Timeline, columns: int, ink: Ink, *, embedded: bool) -> list[Line]:
    lines: list[Line] = []
    for hop in HOPS:
        if hop.name in timeline.hops and hop.kind is not HopKind.TOTAL:
            of_hop = timeline.hops[hop.name]
            series = {"p99": of_hop.p99_ns, "p50": of_hop.p50_ns}
            lines += _small(hop.name, tag_of(hop, embedded=embedded), series, columns, ink)
    hiccups = list(timeline.hiccup_max_ns.values())
    if hiccups:
        worst = functools.reduce(np.fmax, hiccups)
        lines += _small("hiccups", "worst", {"max": worst}, columns, ink)
    return lines


def _main(hop: HopTimeline, columns: int, ink: Ink) -> list[Line]:
    series = {"max": hop.max_ns, "p99": hop.p99_ns, "p50": hop.p50_ns}
    scale = scale_of(list(series.values()))
    canvas = Canvas(columns, _HEIGHT, ink)
    ends: dict[str, int] = {}
    for name, values in series.items():
        style, mark = STATISTICS[name]
        runs = points_of(values, scale)
        if name == "max":
            canvas.dots([point for run in runs for point in run], style, mark)
        else:
            for run in runs:
                canvas.line(run, style, mark)
        ends[name] = canvas.row_of(runs[-1][-1])
    beside: dict[int, Line] = {}
    for name, row in zip(ends, apart(list(ends.values()), _HEIGHT), strict=True):
        style, mark = STATISTICS[name]
        shown = f" {mark} {name}" if ink.ascii_only else f" {name}"
        beside[row] = [(shown, style)]
    labels = row_labels(scale, scale.ticks(_HEIGHT // 2), _HEIGHT, format_latency)
    return walled(canvas.cells(), labels, GUTTER, ink, beside)


def scale_of(series: Sequence[Floats]) -> Scale:
    """A scale that holds all values, from 1 ns on, with some room."""
    low = min(float(np.nanmin(values)) for values in series)
    high = max(float(np.nanmax(values)) for values in series)
    return Scale(max(low, 1) / _ROOM, max(high, 1) * _ROOM)


def points_of(values: Floats, scale: Scale) -> list[list[Point]]:
    """Values over time as runs of points, parted where an interval has none."""
    runs: list[list[Point]] = [[]]
    for number, value in enumerate(values.tolist()):
        if math.isnan(value):
            runs.append([])
        else:
            runs[-1].append(((number + 0.5) / values.size, scale.share(max(value, 1))))
    return [run for run in runs if run]


def _small(name: str, tag: str, series: Mapping[str, Floats], columns: int, ink: Ink) -> list[Line]:
    """Series by statistic, the upper one first, in two rows with their scale on the right.

    Where there is only ASCII, two rows are too few for more than one: the upper one.
    """
    low = min(float(np.nanmin(values)) for values in series.values())
    high = max(float(np.nanmax(values)) for values in series.values())
    scale = Scale(max(low, 1), max(high, low * 1.01, 2))
    if ink.ascii_only:
        upper, values = next(iter(series.items()))
        shares = [
            None if math.isnan(value) else scale.share(max(value, 1))
            for value in per_column(values, None, columns).tolist()
        ]
        levels = [0 if share is None else 1 + round(share * 1000) for share in shares]
        rows = ink.chart(levels, 1001, _SMALL_HEIGHT)
        cells: list[Line] = [[(row, STATISTICS[upper][0])] for row in rows]
    else:
        canvas = Canvas(columns, _SMALL_HEIGHT, ink)
        for statistic, values in series.items():
            runs = points_of(values, scale)
            if statistic == "max":
                # the file keeps no wake-up of some intervals, which does not mean there was none
                runs = [[point for run in runs for point in run]]
            for run in runs:
                canvas.line(run, STATISTICS[statistic][0], "")
        cells = canvas.cells()
    beside: dict[int, Line] = {
        row: [(right(ink.text(format_latency(value)), MARGIN), "dim")]
        for row, value in ((0, high), (_SMALL_HEIGHT - 1, low))
    }
    lines = walled(cells, {0: name, 1: tag}, GUTTER, ink, beside)
    lines[0][0] = (right(name, GUTTER), "")
    return lines


def per_column(values: Floats, weights: npt.NDArray[np.int64] | None, columns: int) -> Floats:
    """A value a column: the greatest of the intervals in it, or with `weights` their mean."""
    firsts = np.arange(columns) * values.size // columns
    ends = np.maximum((np.arange(columns) + 1) * values.size // columns, firsts + 1)
    out = np.full(columns, np.nan)
    for column, (first, end) in enumerate(zip(firsts.tolist(), ends.tolist(), strict=True)):
        part = values[first:end]
        known = ~np.isnan(part)
        if known.any():
            if weights is None:
                out[column] = part[known].max()
            elif weights[first:end][known].any():
                out[column] = np.average(part[known], weights=weights[first:end][known])
    return out


def _strip(
    name: str,
    part: npt.NDArray[np.int64],
    whole: npt.NDArray[np.int64],
    columns: int,
    ink: Ink,
) -> list[Line]:
    """Which share of the ticks due at a time is concerned, in one row; nothing where none is."""
    if not part.any():
        return []
    shares = per_column(part / np.maximum(whole, 1), None, columns).tolist()
    levels = _LEVELS[1 if ink.ascii_only else 0]
    steps = len(levels) - 1
    row = "".join(levels[max(math.ceil(share * steps), 0)] for share in shares)
    share = part.sum() / whole.sum()
    told = f"{share * 100:.1f} %" if share >= 0.001 else "<0.1 %"
    return [
        [
            (right(name, GUTTER), "red" if name == "lost" else ""),
            ("  ", ""),
            (left(row, columns), "red"),
            (right(told, MARGIN), "dim"),
        ]
    ]


def _time_labels(timeline: Timeline, columns: int, ink: Ink) -> Line:
    span_ns = timeline.interval_ns * timeline.count.size
    step_ns = choose_interval_ns(span_ns, max(columns // 12, 1))
    is_long = span_ns >= 120 * NS_PER_S
    places = [
        (at_ns / span_ns, format_clock(at_ns) if is_long else format_duration(at_ns))
        for at_ns in range(0, span_ns + 1, step_ns)
    ]
    return [(" " * (GUTTER + 2) + ink.text(column_labels(places, columns)), "dim")]


def draw_shares_over_time(timeline: Timeline, width: int, ink: Ink) -> list[Line]:
    """Each part's share of the mean latency over time, stacked: they add up to all of it."""
    parts = [hop.name for hop in PARTS if hop.name in timeline.hops]
    if len(parts) < len(PARTS):
        return []
    columns = columns_of(width)
    means = np.array(
        [per_column(timeline.hops[name].mean_ns, timeline.consumed, columns) for name in parts]
    )
    cells: list[Line] = [[(" ", "")] * columns for _ in range(_SHARES_HEIGHT)]
    for column in range(columns):
        row = _SHARES_HEIGHT
        for name, count in zip(parts, _rows_of(means[:, column]), strict=True):
            for _ in range(count):
                row -= 1
                cells[row][column] = (
                    FILLS[name][1 if ink.ascii_only else 0],
                    PART_STYLES[name],
                )
    labels = {0: "100 %", _SHARES_HEIGHT // 2: "50 %"}
    whole = np.array([np.nansum(timeline.hops[name].mean_ns * timeline.consumed) for name in parts])
    lines: list[Line] = [[("Where the time goes over time", "bold")]]
    lines += paragraph("each part's share of the mean end_to_end latency", width, ink, style="dim")
    lines += walled(cells, labels, GUTTER, ink)
    lines += [ground(columns, GUTTER, ink), _time_labels(timeline, columns, ink)]
    items: list[Line] = []
    for name, share in zip(parts, (whole / max(whole.sum(), 1)).tolist(), strict=True):
        fill = FILLS[name][1 if ink.ascii_only else 0] * 2
        items.append([(fill, PART_STYLES[name]), (f" {name} {share:.0%}", "")])
    return [*lines, *legend_lines(items, width)]


def _rows_of(means: Floats) -> list[int]:
    """Rows for each part of a column, all of them together its height (largest remainders)."""
    total = float(np.nansum(means))
    if not total > 0:
        return [0] * means.size
    exact = np.nan_to_num(np.maximum(means, 0)) / total * _SHARES_HEIGHT
    rows = np.floor(exact).astype(np.int64)
    for number in np.argsort(rows - exact)[: _SHARES_HEIGHT - int(rows.sum())].tolist():
        rows[number] += 1
    return [int(each) for each in rows]


def legend_lines(items: Sequence[Line], width: int) -> list[Line]:
    """Entries side by side below a chart, in as many lines as they take."""
    lines: list[Line] = []
    used = width
    for item in items:
        size = sum(len(text) for text, _ in item)
        if used + size + 3 > width or not lines:
            lines.append([(" " * (GUTTER + 2), "")])
            used = GUTTER + 2 - 3
        else:
            lines[-1].append(("   ", ""))
        lines[-1] += item
        used += size + 3
    return lines
