"""One stage on its own under a supervisor: `latbench relay`, `generate`, `subscribe`, `broker`.

What `run` does for a whole pipeline, for one process of it: start it, tell it its work, empty its
rings, see to it that it ends in order. Nothing is kept of its rows but figures, so that a relay can
go on for months.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from latbench.analysis import HopFigures, summarise
from latbench.clock import NS_PER_MS, NS_PER_S, WallAnchor, monotonic_ns
from latbench.collector import Rings, stamps_of
from latbench.control import Ready, Start, Stop, Work
from latbench.fanout_figures import fanout_latencies
from latbench.histogram import Histogram
from latbench.plan import StagePlan
from latbench.processes import Crew, StageProcess
from latbench.rates import RateWindow
from latbench.recording import HICCUPS, SUBSCRIBER
from latbench.result import HopSummary
from latbench.ring import RingReader, Rows
from latbench.signals import Interrupted, Signals
from latbench.tick import FANOUT

RING_RATE_HZ: Final = 50_000
"""What rings are sized for where nobody knows the rate: four seconds of it fit."""
_DRAIN_S: Final = 0.05
_OBSERVE_NS: Final = 250 * NS_PER_MS
_END_TIMEOUT_NS: Final = 10 * NS_PER_S
_START_LEAD_NS: Final = 50 * NS_PER_MS


class StageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage has done by now."""

    elapsed_ns: int
    """Since it was ready."""
    rows: Mapping[str, int]
    """Recorded so far, by ring."""
    rates_hz: Mapping[str, float]
    """Rows a second, over the last second."""
    counters: Mapping[str, tuple[int, ...]]
    """By ring, as the counters' enumerations number them."""
    overruns: int
    """Rows that found their ring full: in no figure."""
    hops: tuple[HopSummary, ...]
    """Those with samples."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    figures: StageFigures
    signal: int = 0
    """What asked for the end; 0: it was at its end, or its time was over."""


class _Tally:
    """The rings of one stage, emptied into figures."""

    def __init__(self, readers: Mapping[str, RingReader]) -> None:
        self._readers = readers
        self._hops = HopFigures()
        self._fanout = Histogram()
        self._rates = RateWindow()
        self.since_ns = monotonic_ns()

    def drain(self, *, last: bool = False) -> None:
        """See `Emptied`."""
        for ring, reader in self._readers.items():
            rows = reader.drain(last=last)
            if len(rows):
                self._count(ring, rows)

    def _count(self, ring: str, rows: Rows) -> None:
        if ring == SUBSCRIBER:
            self._fanout.record(fanout_latencies(rows, 0))
            return
        self._hops.record(stamps_of(ring, rows))

    def figures(self) -> StageFigures:
        now_ns = monotonic_ns()
        rows = {ring: reader.written for ring, reader in self._readers.items()}
        rates_hz = self._rates.rates_hz(now_ns, *rows.values())
        elapsed_ns = max(now_ns - self.since_ns, 1)
        fanout = [summarise(FANOUT.name, self._fanout, elapsed_ns)] if self._fanout.count else []
        hops = [each for each in self._hops.summaries(elapsed_ns) if each.count]
        return StageFigures(
            elapsed_ns=elapsed_ns,
            rows=rows,
            rates_hz=dict(zip(rows, rates_hz, strict=True)),
            counters={ring: tuple(reader.counters) for ring, reader in self._readers.items()},
            overruns=sum(reader.overruns for reader in self._readers.values()),
            hops=(*hops, *fanout),
        )


Observe = Callable[[StageFigures], None]
Tell = Callable[[str], None]


def run_stage(
    plan: StagePlan,
    *,
    stage: str,
    on_ready: Callable[[Ready], None],
    observe: Observe,
    tell: Tell,
    duration_ns: int | None = None,
    peak_rate_hz: float = RING_RATE_HZ,
) -> Ended:
    """Have one stage work until it is done, a signal comes, or `duration_ns` is over.

    `on_ready` is called when it can work, `observe` four times a second, `tell` with what the stage
    wants its user to see. Raises `LatbenchError` where it can't begin or breaks, `Interrupted`
    where a signal comes before it is ready. Whatever happens no process is left running.
    """
    with Signals() as signals, tempfile.TemporaryDirectory(prefix="latbench-") as directory:
        rings = Rings(peak_rate_hz, 1, only=stage)
        crew = Crew()
        crew.hire(stage, rings.descriptors_of(stage), Path(directory) / f"{stage}.log")
        meters = HICCUPS.values()
        readers = {
            ring: reader for ring, reader in rings.readers_of(stage).items() if ring not in meters
        }
        tally = _Tally(readers)
        rings.close_descriptors()
        lone = Lone(crew, crew[stage], tally, tell)

        def begin_to_count(answer: Ready) -> None:
            tally.since_ns = monotonic_ns()
            on_ready(answer)

        try:
            lone.begin(plan, signals, begin_to_count)
            lone.go_on(signals, lambda: observe(tally.figures()), duration_ns)
            lone.stop(signals)
        finally:
            crew.end()
        tally.drain(last=True)
        crew.check()
        return Ended(figures=tally.figures(), signal=signals.first)


class Emptied(Protocol):
    """Who takes the rows out of a stage's rings."""

    def drain(self, *, last: bool = False) -> None:
        """Take what is there; `last`: the stage has ended."""


class Lone:
    """The life of a stage that is alone."""

    def __init__(self, crew: Crew, process: StageProcess, tally: Emptied, tell: Tell) -> None:
        self._crew = crew
        self._process = process
        self._tally = tally
        self._tell = tell

    def begin(self, plan: StagePlan, signals: Signals, on_ready: Callable[[Ready], None]) -> None:
        """Until it is ready."""
        self._process.send(Work(plan))

        def hear(timeout_s: float) -> None:
            self._hear(timeout_s)
            if signals.first:
                raise Interrupted(signals.first)

        on_ready(self._crew.wait_ready(self._process.stage, hear))
        start = Start(start_ns=monotonic_ns() + _START_LEAD_NS, anchor=WallAnchor.take())
        self._process.send(start)

    def go_on(self, signals: Signals, observe: Callable[[], None], duration_ns: int | None) -> None:
        """Until something ends it; `observe` is called four times a second."""
        process = self._process
        ends_ns = None if duration_ns is None else monotonic_ns() + duration_ns
        next_ns = 0
        while process.done is None and not process.broken and not signals.first:
            self._hear(_DRAIN_S)
            self._tally.drain()
            now_ns = monotonic_ns()
            if now_ns >= next_ns:
                next_ns = now_ns + _OBSERVE_NS
                observe()
            if ends_ns is not None and now_ns >= ends_ns:
                break

    def stop(self, signals: Signals) -> None:
        """Let it finish what is begun, while its rings are emptied; a second signal cuts that."""
        process, before = self._process, signals.count
        process.send(Stop())
        deadline_ns = monotonic_ns() + _END_TIMEOUT_NS
        while not (process.ended or process.broken) and monotonic_ns() < deadline_ns:
            self._hear(_DRAIN_S)
            self._tally.drain()
            if signals.count > before:
                break

    def _hear(self, timeout_s: float) -> None:
        for text in self._crew.listen(timeout_s):
            self._tell(text)
