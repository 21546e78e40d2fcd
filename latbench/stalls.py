"""The platform's stalls out of the hiccup meters' rows, and the ticks that overlap them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.analysis import Stamps, is_whole, summarise
from latbench.clock import NS_PER_MS
from latbench.histogram import Histogram, bucket_indices
from latbench.recording import HICCUPS
from latbench.result import StallFigures, TailShare
from latbench.ring import Rows, RowSequence
from latbench.tick import HOP_BY_NAME

STALL_NS: Final = NS_PER_MS
"""A wake-up this late is a stall: as long as the meter sleeps, and five times what the interpreter
may hold its thread up."""

IN_HANDS_OF: Final[Mapping[str, tuple[str, str]]] = {
    "generator": ("due_ns", "sent_ns"),
    "relay": ("sent_ns", "consumed_ns"),
    "broker": ("relay_out_ns", "consumed_ns"),
    "consumer": ("relay_out_ns", "consumed_ns"),
    # they are not on a tick's way: what stalls them is the machine, at any time of a tick's life
    "supervisor": ("due_ns", "consumed_ns"),
    "subscriber": ("due_ns", "consumed_ns"),
}
"""When a tick is with a process or waits for it, by the stamps around that time. The relay has a
tick from its sending on, since it waits in the relay's socket, and until the broker has it, of
which `consumed_ns` is the nearest stamp that every tick has."""

Stamp = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_CHUNK_ROWS: Final = 1 << 16
_FEW: Final = 8
"""Up to so many spans it is faster to compare all ticks with each than to search for the place of
each tick among them (0.5 ns a tick and span against 4 ns and more)."""


class Spans:
    """Spans of time, disjoint and in order: what is asked of them is whether one overlaps."""

    def __init__(self, begins: Stamp, ends: Stamp) -> None:
        order = np.argsort(begins, kind="stable")
        begins, ends = begins[order], ends[order]
        reach = np.maximum.accumulate(ends) if ends.size else ends
        # a span begins where nothing before it reaches
        first = np.ones(begins.size, dtype=np.bool_)
        first[1:] = begins[1:] > reach[:-1]
        self.begins = begins[first]
        last = np.append(np.flatnonzero(first)[1:], begins.size) - 1
        self.ends = reach[last] if begins.size else ends

    def __len__(self) -> int:
        return len(self.begins)

    def overlap(self, begins: Stamp, ends: Stamp) -> Mask:
        """For each of many spans (begin < end, any order) whether one of these overlaps it."""
        if not begins.size:
            return np.zeros(0, dtype=np.bool_)
        # of a run's stalls, those that a block of ticks can meet at all: none or a few
        near = slice(
            int(np.searchsorted(self.ends, begins.min(), side="right")),
            int(np.searchsorted(self.begins, ends.max(), side="left")),
        )
        return _overlap(self.begins[near], self.ends[near], begins, ends)


def _overlap(span_begins: Stamp, span_ends: Stamp, begins: Stamp, ends: Stamp) -> Mask:
    if not span_begins.size:
        return np.zeros(begins.size, dtype=np.bool_)
    if span_begins.size <= _FEW:
        found = np.zeros(begins.size, dtype=np.bool_)
        for begin, end in zip(span_begins.tolist(), span_ends.tolist(), strict=True):
            found |= (begins < end) & (ends > begin)
        return found
    # the first that ends after the begin is the only one that need be looked at
    place = np.searchsorted(span_ends, begins, side="right")
    known = place < span_begins.size
    return known & (span_begins[np.minimum(place, span_begins.size - 1)] < ends)


def chunks(rows: RowSequence) -> Iterator[Rows]:
    """Rows in parts that fit into memory."""
    for begin in range(0, len(rows), _CHUNK_ROWS):
        yield rows[begin : begin + _CHUNK_ROWS]


class Stalls:
    """All stalls of a run, by process."""

    def __init__(self, rows: Mapping[str, RowSequence]) -> None:
        self.spans = {process: _spans(rows[ring]) for process, ring in HICCUPS.items()}

    def overlap(self, stamps: Stamps) -> Mask:
        """Which ticks overlap a stall; those that were not consumed don't."""
        consumed = stamps["consumed_ns"]
        found = np.zeros(consumed.size, dtype=np.bool_)
        for process, spans in self.spans.items():
            if len(spans):
                first, last = IN_HANDS_OF[process]
                found |= spans.overlap(stamps[first], stamps[last])
        if found.any() and not is_whole(consumed):
            found &= consumed >= 0
        return found

    def between(self, from_ns: int, to_ns: int) -> int:
        """How many stalls, of all processes, fall into a span of time."""
        return sum(
            int(np.count_nonzero((spans.ends > from_ns) & (spans.begins < to_ns)))
            for spans in self.spans.values()
        )


def _spans(rows: RowSequence) -> Spans:
    begins, ends = [], []
    for part in chunks(rows):
        late = part[part[:, 1] >= STALL_NS]
        if len(late):
            # a long stall leaves a row for each deadline it swept over: one span of them
            spans = Spans(late[:, 0], late[:, 0] + late[:, 1])
            begins.append(spans.begins)
            ends.append(spans.ends)
    if not begins:
        return Spans(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Spans(np.concatenate(begins), np.concatenate(ends))


class StallTally:
    """Counts the ticks that overlap stalls, and keeps the distribution of the others."""

    def __init__(self) -> None:
        self.without = Histogram()
        self._ticks = 0
        self._stalled = Histogram()

    def record(self, stamps: Stamps, stalled: Mask) -> None:
        """Add ticks."""
        total = HOP_BY_NAME["end_to_end"]
        end = stamps[total.end_column]
        latency = end - stamps[total.start_column]
        count = int(np.count_nonzero(stalled))
        self._ticks += count
        if not is_whole(end):
            whole = end >= 0
            latency, stalled = latency[whole], stalled[whole]
        if count:
            self._stalled.record(latency[stalled])
            latency = latency[~stalled]
        self.without.record(latency)

    def summarise(self, span_ns: int, count: int, tail: TailShare | None) -> StallFigures:
        """The figures; `count` stalls fell into the measured span."""
        tail_ticks = 0
        if tail is not None:
            first = int(bucket_indices(np.array([tail.above_ns], dtype=np.int64))[0])
            tail_ticks = int(self._stalled.counts[first:].sum())
        return StallFigures(
            threshold_ns=STALL_NS,
            count=count,
            ticks=self._ticks,
            tail_ticks=tail_ticks,
            without=summarise("end_to_end", self.without, span_ns),
        )


def hiccup_histogram(rows: RowSequence, from_ns: int, to_ns: int) -> Histogram:
    """How late the wake-ups of one meter came whose deadlines fall into a span of time."""
    histogram = Histogram()
    for part in chunks(rows):
        inside = (part[:, 0] >= from_ns) & (part[:, 0] < to_ns)
        histogram.record(part[inside, 1])
    return histogram


def worst_wake_ups(rows: RowSequence, every_ns: int) -> Rows:
    """The latest wake-up of each `every_ns` of one meter: rows of deadline and lateness."""
    kept = [_worst(part, every_ns) for part in chunks(rows)]
    return _worst(np.concatenate(kept), every_ns) if kept else np.empty((0, 2), dtype=np.int64)


def _worst(rows: Rows, every_ns: int) -> Rows:
    """Of neighbouring rows that are due in the same span, the latest one."""
    spans = rows[:, 0] // every_ns
    begins = np.flatnonzero(np.diff(spans, prepend=-1))
    sizes = np.diff(begins, append=len(rows))
    is_worst = rows[:, 1] == np.repeat(np.maximum.reduceat(rows[:, 1], begins), sizes)
    worst = rows[is_worst]
    # of several that are equally late the first
    worst_rows: Rows = worst[np.diff(worst[:, 0] // every_ns, prepend=-1) != 0]
    return worst_rows
