"""A sweep while it goes on: a line for each point measured, and one for the point that goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.knee import Probe
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import left, right
from latbench.render.progress_lines import ProgressLines
from latbench.result import Snapshot
from latbench.sweep_points import SLO_BROKEN, describe_reason, reason_word
from latbench.sweep_result import SweepPlan, SweepPoint
from latbench.units import format_clock, format_count, format_duration, format_latency, format_rate

_EVERY_NS: Final = 15 * NS_PER_S
_RATE_WIDTH: Final = 11
_PURPOSE_WIDTH: Final = 7
_VALUE_WIDTH: Final = 8


class SweepProgress:
    """The `sweep.Watcher` that prints.

    On a terminal the last line is written over four times a second while a point goes on; else
    there is one every 15 s.
    """

    def __init__(
        self, console: Console, plan: SweepPlan, *, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._lines = ProgressLines(console)
        self._plan = plan
        self._clock = clock
        self._next_ns = 0
        self._head = ""

    def start(self, longest_point_ns: int) -> None:
        """Say how long it may take, and what the lines are."""
        longest = format_duration(-(-longest_point_ns // NS_PER_S) * NS_PER_S)
        self._lines.print(f"A point takes {longest} at most, and usually there are 8 to 25.")
        self._lines.print("Ctrl-C ends it early and reports what was measured by then.")
        names = [slo.short_subject for slo in self._plan.slos]
        columns = "  ".join(right(name, max(_VALUE_WIDTH, len(name))) for name in names)
        head = f"{'':>3}  {left('why', _PURPOSE_WIDTH)} {right('rate', _RATE_WIDTH)}"
        self._lines.print(f"{head}  {columns}  verdict")

    def begin(self, number: int, probe: Probe) -> None:
        """A point is about to be measured."""
        rate = right(format_rate(probe.rate_hz), _RATE_WIDTH)
        self._head = f"{number:>3}  {left(probe.purpose, _PURPOSE_WIDTH)} {rate}"
        self._next_ns = self._clock() + (0 if self._lines.overwrites else _EVERY_NS)

    def update(self, snapshot: Snapshot) -> None:
        """How it is going."""
        now_ns = self._clock()
        if now_ns < self._next_ns:
            return
        text = f"{self._head}  {self._doing(snapshot)}"
        if self._lines.overwrites:
            self._lines.overwrite(text)
        else:
            self._next_ns = now_ns + _EVERY_NS
            self._lines.print(text)

    def end(self, point: SweepPoint) -> None:
        """It has been measured."""
        values = "  ".join(
            right(
                NOT_AVAILABLE if value is None else format_latency(value),
                max(_VALUE_WIDTH, len(slo.short_subject)),
            )
            for slo, value in zip(self._plan.slos, point.values_ns, strict=True)
        )
        verdict = "holds"
        if not point.holds:
            # the value itself stands before it
            told = [
                reason_word(reason) if reason.code == SLO_BROKEN else describe_reason(reason)
                for reason in point.reasons
            ]
            verdict = f"fails: {'; '.join(told)}"
        self._lines.print(f"{self._head}  {values}  {verdict}")

    def stop(self) -> None:
        """Take the line that is written over away."""
        self._lines.take_away()

    def close(self) -> None:
        """Leave the terminal to the report."""
        self._lines.close()

    def _doing(self, snapshot: Snapshot) -> str:
        time = format_clock(snapshot.elapsed_ns)
        if snapshot.is_warmup_open:
            time += " until settled"
        elif snapshot.total_ns is not None:
            time += f" of {format_clock(snapshot.total_ns)}"
        slo = self._plan.slos[0]
        value_ns = slo.read(snapshot.hops)
        told = f"in flight {format_count(snapshot.in_flight)}"
        if value_ns is not None:
            told = f"{slo.short_subject} {format_latency(value_ns)}"
        return f"{snapshot.phase:<9}  {time}  {told}"
