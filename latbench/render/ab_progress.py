"""An A/B session while it goes on: a line for each pair, and what every look at them says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console

from latbench.ab_result import AbPlan, AbRun, Phase, Side
from latbench.clock import NS_PER_S
from latbench.comparison import Comparison, Verdict
from latbench.gates import Gate
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import left, right
from latbench.render.progress_lines import ProgressLines
from latbench.units import format_duration, format_latency

_VALUE_WIDTH: Final = 8
_CHANGE_WIDTH: Final = 8
_PAIR_WIDTH: Final = 10
_WORDS: Final = {Phase.DISCARDED: "warm-up", Phase.CALIBRATION: "A/A"}


class AbProgress:
    """The `ab.Watcher` that prints.

    On a terminal the last line is written over when a run begins or ends; else a line is printed
    once a pair is complete.
    """

    def __init__(self, console: Console, plan: AbPlan) -> None:
        self._lines = ProgressLines(console)
        self._plan = plan
        self._first: AbRun | None = None
        self._runs = 0

    def start(self, run_ns: int) -> None:
        """Say what will be done, and how long it may take; `run_ns`: what a run takes, if known."""
        plan = self._plan
        warming = 1 + plan.pairs * plan.calibrate
        least, most = (
            format_duration(round(2 * (warming + pairs) * run_ns / NS_PER_S) * NS_PER_S)
            for pairs in (plan.looks[0], plan.looks[-1])
        )
        told = f": about {least}" if least == most else f": about {least}, {most} if it is close"
        self._lines.print(f"Pairs of runs, A and B in turn{told if run_ns else ''}.")
        self._lines.print("Ctrl-C ends it early and reports what was measured by then.")
        groups = "".join(
            f"  {gate.short_subject:^{2 * _VALUE_WIDTH + _CHANGE_WIDTH + 2}}"
            for gate in self._shown_gates()
        )
        heads = "".join(
            f"  {'A':>{_VALUE_WIDTH}} {'B':>{_VALUE_WIDTH}} {'B/A':>{_CHANGE_WIDTH}}"
            for _ in self._shown_gates()
        )
        self._lines.print(f"{left('', _PAIR_WIDTH)}{groups}")
        self._lines.print(f"{left('pair', _PAIR_WIDTH)}{heads}")

    def begin(self, phase: Phase, pair: int, side: Side) -> None:
        """A run is about to begin."""
        self._runs += 1
        if self._lines.overwrites:
            name = "A" if phase is Phase.CALIBRATION else side.upper()
            self._lines.overwrite(f"{self._label(phase, pair)}  run {self._runs}: {name} …")

    def end(self, run: AbRun) -> None:
        """It has ended."""
        if self._first is None:
            self._first = run
            return
        first, self._first = self._first, None
        by_side = {first.side: first, run.side: run}
        cells = "".join(
            self._cell(by_side[Side.A], by_side[Side.B], gate) for gate in self._shown_gates()
        )
        self._lines.print(f"{self._label(run.phase, run.pair)}{cells}")

    def look(self, comparison: Comparison, pairs: int) -> None:
        """So many pairs were looked at."""
        told = {
            Verdict.PASS: "decided, no gate is broken",
            Verdict.REGRESSION: "decided, B is worse",
            Verdict.INCOMPARABLE: "the figures can't be compared, so it ends here",
            Verdict.INCONCLUSIVE: f"not decided, up to {self._plan.looks[-1]} pairs follow"
            if pairs < self._plan.looks[-1]
            else "not decided",
        }[comparison.verdict]
        counted = "1 pair" if pairs == 1 else f"{pairs} pairs"
        self._lines.print(f"After {counted}: {told}.")

    def close(self) -> None:
        """Leave the terminal to the report."""
        self._lines.close()

    def _shown_gates(self) -> Sequence[Gate]:
        """As many gates as a line has room for."""
        width = 2 * _VALUE_WIDTH + _CHANGE_WIDTH + 4
        room = max((self._lines.width - _PAIR_WIDTH) // width, 1)
        return self._plan.gates[:room]

    @staticmethod
    def _label(phase: Phase, pair: int) -> str:
        word = _WORDS.get(phase, "")
        return left(f"{word} {pair}".strip() if word != "warm-up" else word, _PAIR_WIDTH)

    @staticmethod
    def _cell(a: AbRun, b: AbRun, gate: Gate) -> str:
        values = [gate.read(run.result.hops) for run in (a, b)]
        told = [NOT_AVAILABLE if v is None else format_latency(v) for v in values]
        base, new = values
        change = f"{(new / base - 1) * 100:+.1f} %" if base and new is not None else NOT_AVAILABLE
        return (
            f"  {right(told[0], _VALUE_WIDTH)} {right(told[1], _VALUE_WIDTH)} "
            f"{right(change, _CHANGE_WIDTH)}"
        )
