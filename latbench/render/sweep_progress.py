"""A sweep while it goes on: a line for each point measured, and one for the point that goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.knee import Probe
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Ink, left, right
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
        self._console = console
        self._ink = Ink(console.options.ascii_only)
        self._plan = plan
        self._clock = clock
        self._overwrites = console.file.isatty() and not console.is_dumb_terminal
        self._next_ns = 0
        self._head = ""
        self._shown = ""

    def start(self, longest_point_ns: int) -> None:
        """Say how long it may take, and what the lines are."""
        longest = format_duration(-(-longest_point_ns // NS_PER_S) * NS_PER_S)
        self._print(f"A point takes {longest} at most, and usually there are 8 to 25.")
        self._print("Ctrl-C ends it early and reports what was measured by then.")
        names = [slo.short_subject for slo in self._plan.slos]
        columns = "  ".join(right(name, max(_VALUE_WIDTH, len(name))) for name in names)
        head = f"{'':>3}  {left('why', _PURPOSE_WIDTH)} {right('rate', _RATE_WIDTH)}"
        self._print(f"{head}  {columns}  verdict")

    def begin(self, number: int, probe: Probe) -> None:
        """A point is about to be measured."""
        rate = right(format_rate(probe.rate_hz), _RATE_WIDTH)
        self._head = f"{number:>3}  {left(probe.purpose, _PURPOSE_WIDTH)} {rate}"
        self._next_ns = self._clock() + (0 if self._overwrites else _EVERY_NS)

    def update(self, snapshot: Snapshot) -> None:
        """How it is going."""
        now_ns = self._clock()
        if now_ns < self._next_ns:
            return
        text = f"{self._head}  {self._doing(snapshot)}"
        if self._overwrites:
            self._overwrite(text)
        else:
            self._next_ns = now_ns + _EVERY_NS
            self._print(text)

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
        self.stop()
        self._print(f"{self._head}  {values}  {verdict}")

    def stop(self) -> None:
        """Take the line that is written over away."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def close(self) -> None:
        """Leave the terminal to the report."""
        self.stop()
        if self._overwrites and self._head:
            self._write("\n")
            self._head = ""

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

    def _overwrite(self, text: str) -> None:
        # a line that wraps could not be written over
        shown = self._ink.text(text)[: self._console.width - 1]
        if shown != self._shown:
            self._write(f"\r{shown}\x1b[K")
            self._shown = shown

    def _print(self, text: str) -> None:
        self._write(self._ink.text(text).rstrip() + "\n")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
