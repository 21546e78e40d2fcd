"""Ticks in, figures out: every figure of a report is made here, from stamps alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_S
from latbench.histogram import COUNTERS, HIGHEST_NS, PERCENTILES, Histogram, bucket_indices
from latbench.result import HopSummary, TailShare
from latbench.tick import HOP_BY_NAME, HOPS, PARTS

TAIL_PERCENT: Final = 99.0

Stamps = Mapping[str, npt.NDArray[np.int64]]
"""Columns of nanoseconds by name (`due_ns` …), negative where missing."""


def percentile_name(percent: float) -> str:
    """`p50`, `p99.9`."""
    return f"p{percent:g}"


def is_whole(column: npt.NDArray[np.int64]) -> bool:
    """Whether nothing is missing in it: all but always, and then 1 ns a tick needs no mask."""
    return not column.size or bool(column.min() >= 0)


class HopFigures:
    """All hops' latencies over the ticks given so far, in memory that does not grow with them."""

    def __init__(self) -> None:
        self.histograms: dict[str, Histogram] = {hop.name: Histogram() for hop in HOPS}

    def record(self, stamps: Stamps) -> None:
        """Add ticks: every hop whose two columns are given and not missing."""
        whole = {name: is_whole(column) for name, column in stamps.items()}
        for hop in HOPS:
            start, end = stamps.get(hop.start_column), stamps.get(hop.end_column)
            if start is None or end is None:
                continue
            values = end - start
            if not (whole[hop.start_column] and whole[hop.end_column]):
                values = values[(start >= 0) & (end >= 0)]
            self.histograms[hop.name].record(values)

    def summaries(self, span_ns: int) -> tuple[HopSummary, ...]:
        """The hops' figures; rates are over `span_ns`."""
        return tuple(summarise(hop.name, self.histograms[hop.name], span_ns) for hop in HOPS)


def summarise(hop: str, histogram: Histogram, span_ns: int) -> HopSummary:
    """One hop's figures."""
    percentiles = zip(PERCENTILES, histogram.percentiles(), strict=True)
    return HopSummary(
        hop=hop,
        count=histogram.count,
        rate_hz=histogram.count * NS_PER_S / span_ns if span_ns > 0 else 0.0,
        min_ns=histogram.min_ns,
        mean_ns=histogram.mean_ns,
        stdev_ns=histogram.stdev_ns,
        max_ns=histogram.max_ns,
        percentiles_ns={percentile_name(percent): value for percent, value in percentiles},
        negative=histogram.negative,
        out_of_range=histogram.out_of_range,
    )


class TailFigures:
    """What the slowest ticks spent their time on.

    The four parts are added up by the histogram counter that a tick's end-to-end latency falls
    into; once all are in, the counters from p99 up give the slowest ticks, without a second pass.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(COUNTERS, dtype=np.float64)
        self._sums = {hop.name: np.zeros(COUNTERS, dtype=np.float64) for hop in PARTS}

    def record(self, stamps: Stamps) -> None:
        """Add ticks; those without an end-to-end latency in range are passed over."""
        total = HOP_BY_NAME["end_to_end"]
        latency = stamps[total.end_column] - stamps[total.start_column]
        if not latency.size:
            return
        used = {name for hop in PARTS for name in (hop.start_column, hop.end_column)}
        in_range = latency.min() >= 0 and latency.max() <= HIGHEST_NS
        if not in_range or not all(is_whole(stamps[name]) for name in used):
            chosen = (latency >= 0) & (latency <= HIGHEST_NS)
            for name in used:
                chosen &= stamps[name] >= 0
            latency, stamps = latency[chosen], {name: stamps[name][chosen] for name in used}
        indices = bucket_indices(latency)
        self._counts += np.bincount(indices, minlength=COUNTERS)
        for hop in PARTS:
            values = stamps[hop.end_column] - stamps[hop.start_column]
            # float64 adds integers exactly up to 2^53 ns: 104 days of latency in one counter
            self._sums[hop.name] += np.bincount(indices, values, minlength=COUNTERS)

    def summarise(self, end_to_end: HopSummary) -> TailShare | None:
        """The ticks from p99 up; None where p99 is not known."""
        above_ns = end_to_end.percentiles_ns[percentile_name(TAIL_PERCENT)]
        if above_ns is None:
            return None
        first = int(bucket_indices(np.array([above_ns], dtype=np.int64))[0])
        count = int(self._counts[first:].sum())
        if not count:
            return None
        return TailShare(
            above_ns=above_ns,
            count=count,
            mean_ns={name: float(sums[first:].sum()) / count for name, sums in self._sums.items()},
        )


class RateFigures:
    """How many ticks were sent, when, against when they were due."""

    def __init__(self) -> None:
        self.count = 0
        self._first_due = self._last_due = self._first_sent = self._last_sent = 0

    def record(self, stamps: Stamps) -> None:
        """Add ticks, in order."""
        due, sent_at = stamps["due_ns"], stamps["sent_ns"]
        if not is_whole(sent_at):
            sent = sent_at >= 0
            due, sent_at = due[sent], sent_at[sent]
        if not due.size:
            return
        if not self.count:
            self._first_due, self._first_sent = int(due[0]), int(sent_at[0])
        self._last_due, self._last_sent = int(due[-1]), int(sent_at[-1])
        self.count += due.size

    @staticmethod
    def _rate(count: int, span_ns: int) -> float:
        return (count - 1) * NS_PER_S / span_ns if count > 1 and span_ns > 0 else 0.0

    @property
    def scheduled_hz(self) -> float:
        """Ticks a second by their due moments."""
        return self._rate(self.count, self._last_due - self._first_due)

    @property
    def achieved_hz(self) -> float:
        """Ticks a second by their moments of sending."""
        return self._rate(self.count, self._last_sent - self._first_sent)

    @property
    def span_ns(self) -> int:
        """From the first due moment to one mean interval after the last: n ticks at the rate."""
        span_ns = self._last_due - self._first_due
        return span_ns * self.count // (self.count - 1) if self.count > 1 else span_ns


class SecondMedians:
    """The end-to-end median of each second, by when ticks were due; ticks come in order.

    One number a second is kept, and the latencies of the second that is not over yet.
    """

    def __init__(self, from_ns: int) -> None:
        self._from_ns = from_ns
        self._medians: list[int] = []
        self._second = 0
        self._open: list[npt.NDArray[np.int64]] = []

    def record(self, stamps: Stamps) -> None:
        """Add ticks; those that were not consumed are passed over."""
        due, consumed = stamps["due_ns"], stamps["consumed_ns"]
        if not is_whole(consumed):
            whole = consumed >= 0
            due, consumed = due[whole], consumed[whole]
        if not due.size:
            return
        latency = consumed - due
        seconds = (due - self._from_ns) // NS_PER_S
        begins = np.flatnonzero(np.diff(seconds)) + 1
        for values, second in zip(
            np.split(latency, begins), seconds[np.append(0, begins)].tolist(), strict=True
        ):
            if second != self._second:
                self._close()
                self._second = second
            self._open.append(values)

    def _close(self) -> None:
        if self._open:
            values = np.concatenate(self._open)
            self._medians.append(int(np.partition(values, values.size // 2)[values.size // 2]))
            self._open = []

    def whole_seconds(self) -> tuple[int, ...]:
        """Those of all seconds but the last, which may be a part of one."""
        return tuple(self._medians)
