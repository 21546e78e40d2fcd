"""A result file held against itself: whether its rows give the figures that it tells.

The figures of a report were made when the run ended and lie in the file's metadata. Here the same
are made anew from the stamps in the rows, which anybody else can do as well (see
`docs/result-file.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from latbench.assembly import TickTable
from latbench.errors import ExitCode, LatbenchError
from latbench.figures import STAMP_COLUMNS, TickCounts, TickFigures
from latbench.histogram import Histogram
from latbench.result import HopSummary, RunResult
from latbench.store import column_names, read_histograms, read_ticks, require_columns

_BLOCK_TICKS: Final = 1 << 16
"""Of a row group so many at once: half a megabyte a column, which a CPU's cache holds."""


class MismatchError(LatbenchError):
    """A file whose rows give other figures than it tells."""

    exit_code = ExitCode.INVALID


def verify(path: Path, result: RunResult) -> int:
    """How many rows give just the figures of `result`; `MismatchError` where they don't."""
    figures = recount(path)
    found = differences(path, result, figures)
    if found:
        raise MismatchError(
            f"{path} has rows that give other figures than it tells: {', '.join(found)}",
            "it was changed after its run, or a faulty version wrote it: believe the rows",
        )
    return figures.counts.sent


def recount(path: Path) -> TickFigures:
    """The figures of a result file's rows; 0.1 µs a tick, in memory bounded by two row groups."""
    figures = TickFigures()
    has_stalls = "stall" in column_names(path)  # not in schema 1
    names = ["seq", *STAMP_COLUMNS, "warmup", *(["stall"] if has_stalls else [])]
    require_columns(path, names)
    for group in read_ticks(path, names):
        for table in _blocks(group):
            measured = table.columns["warmup"] == 0
            stalled = table.columns["stall"] == 1 if has_stalls else np.zeros_like(measured)
            figures.add(table, measured, stalled)
    return figures


def _blocks(table: TickTable) -> Iterator[TickTable]:
    for begin in range(0, len(table), _BLOCK_TICKS):
        part = slice(begin, begin + _BLOCK_TICKS)
        yield TickTable({name: column[part] for name, column in table.columns.items()})


def differences(path: Path, result: RunResult, figures: TickFigures) -> list[str]:
    """Members of a file's result, by name, that its rows tell otherwise; none where all is well.

    Held against the rows: counts, rates, every hop's figures and histogram, the tail, the ticks
    that overlap stalls, and the ranges of lost ticks.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("counts", figures.counts, TickCounts.of(result.counts)),
        ("measured_ns", figures.rate.span_ns, result.measured_ns),
        ("achieved_rate_hz", figures.rate.achieved_hz, result.achieved_rate_hz),
        ("tail", figures.tail(), result.tail),
        ("lost_ranges", figures.lost.ranges, result.lost_ranges),
        ("lost_range_count", figures.lost.count, result.lost_range_count),
    ]
    told = {hop.hop: hop for hop in result.hops}
    pairs += [
        (f"hops.{hop.hop}", hop, _alike(told.get(hop.hop), hop)) for hop in figures.summaries()
    ]
    if result.stalls is not None:
        stalls = figures.stalls(result.stalls.count)
        without = _alike(result.stalls.without, stalls.without)
        pairs.append(("stalls", stalls, msgspec.structs.replace(result.stalls, without=without)))
    encoded = read_histograms(path)
    for name, histogram in figures.hops.histograms.items():
        counts = Histogram.decode_counts(encoded[name]).tolist() if name in encoded else []
        pairs.append((f"histograms.{name}", histogram.counts.tolist(), counts))
    return [name for name, ours, theirs in pairs if ours != theirs]


def _alike(theirs: HopSummary | None, ours: HopSummary) -> HopSummary | None:
    """With our deviation where it is the same but for rounding: it was once made of floats."""
    if theirs and math.isclose(theirs.stdev_ns, ours.stdev_ns, rel_tol=1e-6, abs_tol=1.0):
        return msgspec.structs.replace(theirs, stdev_ns=ours.stdev_ns)
    return theirs
