"""Samples of processes and machine, and the hiccup meters', as figures of the measured span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from latbench.analysis import summarise
from latbench.histogram import Histogram
from latbench.recording import PROCESSES, SAMPLED, USAGE
from latbench.result import MachineFigures, ProcessFigures
from latbench.ring import Rows

MAX_MOMENTS: Final = 6 * 3600
_COLUMN = {name: number for number, name in enumerate(SAMPLED[USAGE])}
_COUNTERS = (
    "cpu_ns",
    "involuntary_switches",
    "voluntary_switches",
    "minor_faults",
    "major_faults",
)


def process_figures(
    usage: Rows, hiccups: Mapping[str, Histogram], from_ns: int, to_ns: int
) -> tuple[ProcessFigures, ...]:
    """One value for each process that was sampled or has a meter, in the order of `PROCESSES`.

    Counters are what was added between the last sample up to `from_ns` and the first from `to_ns`
    on, or the nearest within. A thread that ends takes its context switches out of the total, so a
    total that falls adds nothing.
    """
    found = []
    for number, process in enumerate(PROCESSES):
        rows = within(usage[usage[:, _COLUMN["process"]] == number], from_ns, to_ns)
        meter = hiccups.get(process)
        has_meter = meter is not None and meter.count > 0
        if not len(rows) and not has_meter:
            continue
        grown = dict.fromkeys(_COUNTERS, 0)
        last = dict.fromkeys(_COLUMN, 0)
        span_ns = 0
        if len(rows):
            last = {name: int(rows[-1, column]) for name, column in _COLUMN.items()}
            added = np.maximum(np.diff(rows, axis=0), 0).sum(axis=0).tolist()
            grown = {name: added[_COLUMN[name]] for name in _COUNTERS}
            span_ns = last["at_ns"] - int(rows[0, 0])
        found.append(
            ProcessFigures(
                process=process,
                span_ns=span_ns,
                **grown,
                rss_bytes=last["rss_bytes"],
                peak_rss_bytes=last["peak_rss_bytes"],
                descriptors=last["descriptors"],
                hiccups=summarise("hiccup", meter, to_ns - from_ns)
                if meter and has_meter
                else None,
            )
        )
    return tuple(found)


def machine_figures(machine: Rows, from_ns: int, to_ns: int) -> MachineFigures | None:
    """Shares of all CPUs' time in the span; None with fewer than two samples."""
    rows = within(machine, from_ns, to_ns)
    if len(rows) < 2:
        return None
    # waiting for a disk may be told to have been less than before (proc(5))
    busy, idle, iowait, steal = np.maximum(rows[-1, 1:] - rows[0, 1:], 0).tolist()
    total = max(busy + idle + iowait + steal, 1)
    return MachineFigures(busy=busy / total, steal=steal / total, iowait=iowait / total)


def thinned(rows: Rows) -> Rows:
    """The rows of at most `MAX_MOMENTS` moments (first column), every so many of them.

    A day has 86,400 seconds; all of them in a file's footer would make it slow to open.
    """
    moments = np.unique(rows[:, 0])
    if moments.size <= MAX_MOMENTS:
        return rows
    return rows[np.isin(rows[:, 0], moments[:: -(-moments.size // MAX_MOMENTS)])]


def within(rows: Rows, from_ns: int, to_ns: int) -> Rows:
    """Rows (first column: their moment) in the span and the nearest around each of its ends."""
    moments = rows[:, 0]
    first = max(int(np.searchsorted(moments, from_ns, side="right")) - 1, 0)
    last = int(np.searchsorted(moments, to_ns, side="left")) + 1
    return rows[first:last]
