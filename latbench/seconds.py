"""One run second by second: its histograms of each, kept small, and drawn again for an interval.

A result file has a row a tick. Here they are counted by hop and interval: of 1 s each, or of more
whole seconds where a run has over `MAX_INTERVALS` of them; 100 MB at most for a run of any length
with 6,000 counters in use (0.3 µs a tick). The file's own histograms tell beforehand which those
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench import block_bootstrap
from latbench.clock import NS_PER_S
from latbench.errors import LatbenchError
from latbench.figures import STAMP_COLUMNS
from latbench.histogram import COUNTERS, HIGHEST_NS, Histogram, bucket_indices
from latbench.result import RunResult
from latbench.store import read_histograms, read_ticks
from latbench.thresholds import Statistic
from latbench.tick import HOP_BY_NAME, HOPS

MAX_INTERVALS: Final = 600

Floats = npt.NDArray[np.float64]
Column = npt.NDArray[np.int64]


class _Hop:
    """One hop's counts by interval, in the counters that the whole run uses."""

    def __init__(self, counters: Column, intervals: int) -> None:
        self.counters = counters
        self._columns = np.full(COUNTERS, -1, dtype=np.int64)
        self._columns[counters] = np.arange(counters.size)
        self.counts = np.zeros((intervals, counters.size), dtype=np.uint32)
        self.sums_ns = np.zeros(intervals)

    def add(self, latencies: Column, intervals: Column) -> bool:
        """Count some; False where one falls into a counter that is not in use."""
        columns = self._columns[bucket_indices(latencies)]
        if columns.min() < 0:
            return False
        first, last = int(intervals.min()), int(intervals.max())
        shape = (last - first + 1, self.counters.size)
        flat = (intervals - first) * shape[1] + columns
        counted = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        self.counts[first : last + 1] += counted.astype(np.uint32)
        self.sums_ns += np.bincount(intervals, latencies, minlength=self.sums_ns.size)
        return True


class SecondHistograms:
    """The measured ticks of a run by interval."""

    def __init__(self, path: Path, result: RunResult) -> None:
        """Read a result file; `LatbenchError` where it can't be, or contradicts itself."""
        seconds = max(result.measured_ns // NS_PER_S, 1)
        self.interval_s = -(-seconds // MAX_INTERVALS)
        self.intervals = max(seconds // self.interval_s, 1)
        encoded = read_histograms(path)
        self.hops = {
            name: _Hop(np.flatnonzero(Histogram.decode_counts(each)), self.intervals)
            for name, each in encoded.items()
            if name in HOP_BY_NAME
        }
        self._read(path)

    def _read(self, path: Path) -> None:
        begin_ns: int | None = None
        for table in read_ticks(path, [*STAMP_COLUMNS, "warmup"]):
            measured = table.columns["warmup"] == 0
            stamps = {name: table.columns[name][measured] for name in STAMP_COLUMNS}
            due = stamps["due_ns"]
            if not due.size:
                continue
            begin_ns = int(due[0]) if begin_ns is None else begin_ns
            # what is left of the last second belongs to the one before
            numbers = (due - begin_ns) // (self.interval_s * NS_PER_S)
            self._count(path, stamps, np.clip(numbers, 0, self.intervals - 1))

    def _count(self, path: Path, stamps: Mapping[str, Column], numbers: Column) -> None:
        for hop in HOPS:
            start, end = stamps[hop.start_column], stamps[hop.end_column]
            latencies = end - start
            known = (start >= 0) & (end >= 0) & (latencies >= 0) & (latencies <= HIGHEST_NS)
            if not known.any():
                continue
            there = self.hops.get(hop.name)
            if there is None or not there.add(latencies[known], numbers[known]):
                raise LatbenchError(
                    f"{path} has rows that its histogram of {hop.name} does not count",
                    f"latbench report {path} --verify",
                )

    def resampled(
        self, subjects: Sequence[tuple[str, str]], seed: int
    ) -> Mapping[tuple[str, str], Floats]:
        """Hop and statistic as often as there are resamples, in nanoseconds.

        All of one resample are of the same intervals. None at all where there are too few.
        """
        if self.intervals < block_bootstrap.MIN_INTERVALS:
            return {}
        drawn = block_bootstrap.draw(self.intervals, seed)
        found: dict[tuple[str, str], Floats] = {}
        for name, hop in self.hops.items():
            wanted = [statistic for of, statistic in subjects if of == name]
            if not wanted or not hop.counters.size:
                continue
            percents = {
                statistic: percent
                for statistic in wanted
                if (percent := Statistic(hop=name, statistic=statistic).percent) is not None
            }
            values = block_bootstrap.percentiles(
                drawn, hop.counts, hop.counters, list(percents.values())
            )
            found |= {(name, each): values[percent] for each, percent in percents.items()}
            if "mean" in wanted:
                counts = hop.counts.sum(axis=1, dtype=np.float64)
                found[name, "mean"] = block_bootstrap.means(drawn, counts, hop.sums_ns)
        return found
