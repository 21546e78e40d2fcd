"""What there is to draw of a result file: latency over time, percentile curves, log bins.

The rows are read a row group at a time and counted into one interval's histograms after the other,
so memory is bounded by two row groups and a few hundred intervals, whatever the run's length.
Curves and bins come from the histograms that the file keeps; those of several files add
(`add_distributions`), and so do no percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.analysis import HopFigures, Stamps
from latbench.assembly import TickTable
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.histogram import (
    COUNTERS,
    MIN_SAMPLES_BEYOND,
    PERCENTILES,
    Histogram,
    highest_equivalents,
    lowest_equivalents,
)
from latbench.recording import PROCESSES, WORST_HICCUPS
from latbench.result import HopSummary, RunResult
from latbench.store import (
    Samples,
    column_names,
    read_histograms,
    read_result,
    read_samples,
    read_ticks,
    require_columns,
)
from latbench.tick import HOPS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HICCUP: Final = "hiccup"
"""The key of the hiccup meters' distribution beside the hops'."""
STAMP_COLUMNS: Final = tuple(
    dict.fromkeys(column for hop in HOPS for column in (hop.start_column, hop.end_column))
)
TICKS_PER_INTERVAL: Final = 16
"""An interval is so long that it has so many ticks on average: the p50 of fewer jumps about."""
BINS_PER_DECADE: Final = 20
"""A bin's upper edge is 12 % above its lower one."""
_CURVE_POINTS: Final = 200
_INTERVALS_NS: Final = (
    *(NS_PER_MS * each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(NS_PER_S * each for each in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)),
    *(NS_PER_S * 3600 * each for each in (1, 2, 3, 6, 12, 24)),
)
"""Lengths of intervals that people count time in."""


@dataclass(frozen=True, slots=True)
class HopTimeline:
    """One hop over time: an element an interval, NaN where the hop has no tick in it.

    To draw with, not to quote: percentiles of an interval are shown however few its ticks are (its
    p99 is its maximum below 100 of them). They are within 0.1 % (of a histogram's counter); mean
    and maximum are exact.
    """

    p50_ns: Floats
    p99_ns: Floats
    max_ns: Floats
    mean_ns: Floats


@dataclass(frozen=True, slots=True)
class Timeline:
    """The measured ticks by the interval that they were due in; arrays have an element each."""

    interval_ns: int
    begins_ns: Ints
    """Of each interval, since the measured span's begin."""
    count: Ints
    """Measured ticks due in it."""
    consumed: Ints
    """Those of them that were consumed."""
    hops: dict[str, HopTimeline]
    """In the order of `HOPS`; a hop that no tick has is left out."""
    stalled: Ints
    """Ticks that overlap a stall; empty where the file does not tell (schema 1, no meters)."""
    hiccup_max_ns: dict[str, Floats]
    """By process how late the worst of the wake-ups came that the file keeps: that of each 100 ms,
    of longer spans in runs over 6 min. NaN where none of those was due in the interval; no process
    where the file keeps none (no meters, or an early file of schema 2)."""


@dataclass(frozen=True, slots=True)
class PercentileCurve:
    """Latency by percentile, ascending; ends where fewer than 100 samples lie beyond."""

    percent: Floats
    value_ns: Floats


@dataclass(frozen=True, slots=True)
class Bins:
    """A histogram in few bins: n + 1 edges at equal ratios, n counts."""

    edges_ns: Floats
    counts: Ints


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's counters (`latbench.histogram`, `COUNTERS` of them) and the exact maximum."""

    counts: npt.NDArray[np.uint64]
    max_ns: int


@dataclass(frozen=True, slots=True)
class Series:
    """All there is to draw of one result file; `curves`, `bins` and `distributions` share keys."""

    timeline: Timeline | None
    """None where only the distributions are kept, and no rows."""
    curves: dict[str, PercentileCurve]
    """By hop, and `hiccup` where the file has it; no points where there are too few samples."""
    bins: dict[str, Bins]
    """All with the same edges."""
    distributions: dict[str, Distribution]
    """What curves and bins are made of: for overlays of several files."""


def read_series(path: Path, most_intervals: int = 240) -> Series:
    """The series of a result file, over at most `most_intervals`; 0.2 µs a tick.

    Raises `LatbenchError` for what is no result file, or one whose rows are damaged.
    """
    result = read_result(path)
    encoded = read_histograms(path)
    return _series(result, encoded, _read_timeline(path, result, most_intervals))


def series_without_rows(result: RunResult, encoded: Mapping[str, str]) -> Series:
    """The series of a run of which only its figures and its histograms are kept.

    `encoded` are those by hop, as `Histogram.encode` makes them; raises `LatbenchError` for one
    that is damaged.
    """
    return _series(result, encoded, None)


def _series(result: RunResult, encoded: Mapping[str, str], timeline: Timeline | None) -> Series:
    distributions = _distributions(result, encoded)
    return Series(
        timeline=timeline,
        curves=curves_of(distributions),
        bins=bins_of([distributions])[0],
        distributions=distributions,
    )


def _distributions(result: RunResult, encoded: Mapping[str, str]) -> dict[str, Distribution]:
    """Those with samples, by hop in the order of `HOPS`, then `hiccup`."""
    summaries: list[HopSummary] = [result.hop(hop.name) for hop in HOPS]
    if result.hiccups is not None:
        summaries.append(result.hiccups)
    return {
        each.hop: Distribution(Histogram.decode_counts(encoded[each.hop]), each.max_ns)
        for each in summaries
        if each.count and each.hop in encoded
    }


# --- over time --------------------------------------------------------------------------------


def _read_timeline(path: Path, result: RunResult, most_intervals: int) -> Timeline:
    # the column is not in schema 1, and holds nothing but nulls where there were no meters
    has_stalls = result.stalls is not None and "stall" in column_names(path)
    names = [*STAMP_COLUMNS, "warmup", *(["stall"] if has_stalls else [])]
    require_columns(path, names)
    warmup_ns = result.known_warmup_ns
    begin_ns, end_ns, ticks = result.start_ns + warmup_ns, 0, 0
    for table in read_ticks(path, ["due_ns", "warmup"]):
        due = _measured(table)["due_ns"]
        if due.size:
            begin_ns, end_ns = min(begin_ns, int(due.min())), max(end_ns, int(due.max()) + 1)
            ticks += due.size
    most = max(min(most_intervals, ticks // TICKS_PER_INTERVAL), 1)
    tally = _IntervalTally(begin_ns, end_ns - begin_ns if ticks else 0, most)
    for table in read_ticks(path, names):
        tally.add(_measured(table))
    worst = read_samples(path).get(WORST_HICCUPS)
    hiccups = tally.hiccups(worst) if worst is not None else {}
    return tally.timeline(hiccups, has_stalls=has_stalls)


def _measured(table: TickTable) -> Stamps:
    """The columns' measured rows; one whose due moment was lost is in no interval."""
    chosen = (table.columns["warmup"] == 0) & (table.columns["due_ns"] >= 0)
    if chosen.all():
        return table.columns
    return {name: column[chosen] for name, column in table.columns.items()}


def choose_interval_ns(span_ns: int, most: int) -> int:
    """The shortest usual length of which `most` cover a span."""
    least_ns = max(-(-span_ns // most), 1)
    fitting = (each for each in _INTERVALS_NS if each >= least_ns)
    return next(fitting, -(-least_ns // _INTERVALS_NS[-1]) * _INTERVALS_NS[-1])


class _IntervalTally:
    """Counts ticks by interval, in order of their due moments; one interval is open at a time."""

    def __init__(self, begin_ns: int, span_ns: int, most: int) -> None:
        self._begin_ns = begin_ns
        self._interval_ns = choose_interval_ns(span_ns, most)
        self._size = -(-span_ns // self._interval_ns)
        self._open = HopFigures()
        self._number = 0
        self._count, self._consumed, self._stalled = np.zeros((3, self._size), dtype=np.int64)
        # p50, p99, max, mean
        self._figures = {hop.name: np.full((4, self._size), np.nan) for hop in HOPS}

    def add(self, stamps: Stamps) -> None:
        """Take ticks."""
        numbers = (stamps["due_ns"] - self._begin_ns) // self._interval_ns
        if not numbers.size:
            return
        # schedules never go back; a file whose rows do has them counted where they stand
        numbers = np.maximum(np.maximum.accumulate(numbers), self._number)
        self._count += np.bincount(numbers, minlength=self._size)
        self._consumed += np.bincount(numbers[stamps["consumed_ns"] >= 0], minlength=self._size)
        if "stall" in stamps:
            self._stalled += np.bincount(numbers[stamps["stall"] == 1], minlength=self._size)
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for first, end in pairwise([*firsts.tolist(), numbers.size]):
            if numbers[first] != self._number:
                self._close()
                self._number = int(numbers[first])
            self._open.record({name: stamps[name][first:end] for name in STAMP_COLUMNS})

    def _close(self) -> None:
        """Keep the open interval's figures, and forget its ticks."""
        for name, histogram in self._open.histograms.items():
            if histogram.count:
                self._figures[name][:, self._number] = (
                    histogram.value_at(50),
                    histogram.value_at(99),
                    histogram.max_ns,
                    histogram.mean_ns,
                )
                histogram.clear()

    def hiccups(self, worst: Samples) -> dict[str, Floats]:
        """The greatest of the worst wake-ups by process and interval."""
        numbers = (worst["at_ns"] - self._begin_ns) // self._interval_ns
        inside = (numbers >= 0) & (numbers < self._size)
        found: dict[str, Floats] = {}
        for number, process in enumerate(PROCESSES):
            of_process = inside & (worst["process"] == number)
            if of_process.any():
                found[process] = np.full(self._size, np.nan)
                late_ns = worst["late_ns"][of_process].astype(np.float64)
                np.fmax.at(found[process], numbers[of_process], late_ns)
        return found

    def timeline(self, hiccups: dict[str, Floats], *, has_stalls: bool) -> Timeline:
        """All of it, once every tick was added."""
        self._close()
        return Timeline(
            interval_ns=self._interval_ns,
            begins_ns=np.arange(self._size, dtype=np.int64) * self._interval_ns,
            count=self._count,
            consumed=self._consumed,
            hops={
                name: HopTimeline(*figures)
                for name, figures in self._figures.items()
                if not np.isnan(figures).all()
            },
            stalled=self._stalled if has_stalls else self._stalled[:0],
            hiccup_max_ns=hiccups,
        )


# --- distributions ----------------------------------------------------------------------------


def add_distributions(parts: Sequence[Mapping[str, Distribution]]) -> dict[str, Distribution]:
    """Those of several files together, by key: counts add, exactly."""
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: _sum([part[key] for part in parts if key in part]) for key in keys}


def _sum(parts: Sequence[Distribution]) -> Distribution:
    counts = parts[0].counts.copy()
    for part in parts[1:]:
        counts += part.counts
    return Distribution(counts, max(part.max_ns for part in parts))


def curves_of(distributions: Mapping[str, Distribution]) -> dict[str, PercentileCurve]:
    """The percentile curve of each; a value is that of `Histogram.percentiles` at its percent."""
    return {key: _curve(each) for key, each in distributions.items()}


def _curve(distribution: Distribution) -> PercentileCurve:
    cumulated = np.cumsum(distribution.counts)
    count = int(cumulated[-1])
    if count <= MIN_SAMPLES_BEYOND:
        return PercentileCurve(np.empty(0), np.empty(0))
    # equal steps of the logarithm of what lies beyond: the usual axis, where 90, 99 and 99.9 % are
    # equally far apart; and those that a report tells
    beyond = np.geomspace(count - 1, MIN_SAMPLES_BEYOND, _CURVE_POINTS)
    told = count * (1 - np.array(PERCENTILES) / 100)
    ranks = count - np.unique(np.rint(np.concatenate([beyond, told])).astype(np.int64))[::-1]
    ranks = ranks[(ranks >= 1) & (count - ranks >= MIN_SAMPLES_BEYOND)]
    values = highest_equivalents(np.searchsorted(cumulated, ranks.astype(np.uint64)))
    return PercentileCurve(
        100 * ranks / count, np.minimum(values, distribution.max_ns).astype(np.float64)
    )


def bins_of(groups: Sequence[Mapping[str, Distribution]]) -> list[dict[str, Bins]]:
    """Each group's distributions in bins, all of all groups with the same edges.

    Edges are powers of 10^(1/20) ns. A sample is taken for the middle of its counter, which is
    within 0.05 % of it; 0 ns is in the first bin.
    """
    middles = _middles()
    has_samples = np.zeros(COUNTERS, dtype=np.bool_)
    for group in groups:
        for distribution in group.values():
            has_samples |= distribution.counts > 0
    used = middles[has_samples]
    if not used.size:
        return [{} for _ in groups]
    lowest, highest = np.log10(np.maximum(used[[0, -1]], 1)) * BINS_PER_DECADE
    edges = 10 ** (np.arange(math.floor(lowest), math.floor(highest) + 2) / BINS_PER_DECADE)
    return [{key: rebinned(part, edges) for key, part in group.items()} for group in groups]


def rebinned(distribution: Distribution, edges_ns: Floats) -> Bins:
    """Its samples by other edges; those beyond the outer edges are in the outer bins."""
    places = np.searchsorted(edges_ns[1:-1], _middles(), side="right")
    # float64 adds integers exactly up to 2^53
    counts = np.bincount(places, distribution.counts, minlength=edges_ns.size - 1)
    return Bins(edges_ns, counts.astype(np.int64))


def _middles() -> Floats:
    """The middle of every counter."""
    counters = np.arange(COUNTERS)
    return (lowest_equivalents(counters) + highest_equivalents(counters)) / 2
