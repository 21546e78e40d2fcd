"""HdrHistogram's interval log, version 1.3: a line for each interval and hop, tagged by hop.

Its format is told by the documentation of org.HdrHistogram.HistogramLogWriter and
HistogramLogReader (2.2.2). `hdrh`'s own writer is of version 1.2, which has no tags.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import numpy as np

from latbench.analysis import HopFigures, Stamps
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.histogram import Histogram
from latbench.result import RunResult
from latbench.store import read_ticks
from latbench.tick import STAMPS

MAX_INTERVALS: Final = 600
_WIDTHS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
HICCUP: Final = "hiccup"
_STAMP_COLUMNS: Final = tuple(f"{stamp}_ns" for stamp in STAMPS)


def interval_ns(measured_ns: int) -> int:
    """How long an interval of a run's log is: 1 s, or a round number that makes at most 600."""
    least_s = measured_ns / MAX_INTERVALS / NS_PER_S
    fitting = (width for width in _WIDTHS_S if width >= least_s)
    return next(fitting, 3600 * math.ceil(least_s / 3600)) * NS_PER_S


def write_hlog(path: Path, result: RunResult, hiccup: Histogram | None, sink: IO[bytes]) -> None:
    """The log of a result file's measured rows, by when they were due.

    Each tick stands in one interval, so that the intervals of a tag add up to the hop's histogram.
    `hiccup` has no rows: it is one interval as long as the run.
    """
    warmup_ns = result.known_warmup_ns
    begin_unix_ns = result.started_unix_ns + warmup_ns
    width_ns = interval_ns(result.measured_ns)
    told = f"latbench {result.latbench}, run {result.run_id}, by due moments"
    sink.write(draw_head(told, begin_unix_ns).encode())
    if hiccup is not None and hiccup.count:
        sink.write(draw_interval(HICCUP, 0, result.measured_ns, hiccup).encode())
    for number, histograms in _intervals(path, result.start_ns + warmup_ns, width_ns):
        start_ns = number * width_ns
        rest_ns = result.measured_ns - start_ns
        length_ns = min(width_ns, rest_ns) if rest_ns > 0 else width_ns
        for hop, histogram in histograms.items():
            if histogram.count:
                sink.write(draw_interval(hop, start_ns, length_ns, histogram).encode())


def _intervals(
    path: Path, begin_ns: int, width_ns: int
) -> Iterator[tuple[int, dict[str, Histogram]]]:
    """Number and histograms of each interval that has ticks; they are cleared afterwards.

    An interval that was left is not gone back to: a tick whose due moment was lost belongs to the
    interval of the one before it, as does one that was due before that.
    """
    figures, current = HopFigures(), 0
    for table in read_ticks(path, [*_STAMP_COLUMNS, "warmup"]):
        measured = table.columns["warmup"] == 0
        stamps: Stamps = {name: table.columns[name][measured] for name in _STAMP_COLUMNS}
        due = stamps["due_ns"]
        if not due.size:
            continue
        numbers = np.maximum.accumulate(np.maximum((due - begin_ns) // width_ns, current))
        begins = np.append(0, np.flatnonzero(np.diff(numbers)) + 1)
        ends = np.append(begins[1:], due.size)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            if int(numbers[begin]) != current:
                yield current, figures.histograms
                for histogram in figures.histograms.values():
                    histogram.clear()
                current = int(numbers[begin])
            figures.record({name: column[begin:end] for name, column in stamps.items()})
    yield current, figures.histograms


def draw_whole(
    told: str, begin_unix_ns: int, span_ns: int, histograms: Mapping[str, Histogram]
) -> str:
    """A log of one interval: the histograms as they are, by tag."""
    lines = (
        draw_interval(tag, 0, span_ns, histogram)
        for tag, histogram in histograms.items()
        if histogram.count
    )
    return draw_head(told, begin_unix_ns) + "".join(lines)


def draw_head(told: str, begin_unix_ns: int) -> str:
    """The lines before the intervals, whose times count from `begin_unix_ns`."""
    begin = datetime.datetime.fromtimestamp(begin_unix_ns / NS_PER_S, datetime.UTC)
    begin_s = f"{begin_unix_ns / NS_PER_S:.3f} (seconds since epoch)"
    return (
        f"#{told}\n"
        "#values are nanoseconds, Interval_Max is milliseconds; a tag for each hop\n"
        "#[Histogram log format version 1.3]\n"
        f"#[StartTime: {begin_s}, {begin:%Y-%m-%dT%H:%M:%SZ}]\n"
        f"#[BaseTime: {begin_s}]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    )


def draw_interval(tag: str, start_ns: int, length_ns: int, histogram: Histogram) -> str:
    """The line of one interval; `start_ns` counts from the log's base time."""
    return (
        f"Tag={tag},{start_ns / NS_PER_S:.3f},{length_ns / NS_PER_S:.3f},"
        f"{histogram.max_ns / NS_PER_MS:.3f},{histogram.encode()}\n"
    )
