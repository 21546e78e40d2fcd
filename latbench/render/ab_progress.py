"""An A/B session while it goes on: a line for each pair, and what every look at them says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console

from latbench.ab_result import AbPlan, AbRun, Phase, Side
from latbench.clock import NS_PER_S, monotonic_ns
from latbench.comparison import Comparison, Verdict
from latbench.gates import Gate
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Ink, left, right
from latbench.thresholds import Threshold
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

    def __init__(
        self, console: Console, plan: AbPlan, *, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._console = console
        self._ink = Ink(console.options.ascii_only)
        self._plan = plan
        self._clock = clock
        self._overwrites = console.file.isatty() and not console.is_dumb_terminal
        self._begun_ns = clock()
        self._first: AbRun | None = None
        self._shown = ""
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
        self._print(f"Pairs of runs, A and B in turn{told if run_ns else ''}.")
        self._print("Ctrl-C ends it early and reports what was measured by then.")
        groups = "".join(
            f"  {self._name(gate):^{2 * _VALUE_WIDTH + _CHANGE_WIDTH + 2}}"
            for gate in self._shown_gates()
        )
        heads = "".join(
            f"  {'A':>{_VALUE_WIDTH}} {'B':>{_VALUE_WIDTH}} {'B/A':>{_CHANGE_WIDTH}}"
            for _ in self._shown_gates()
        )
        self._print(f"{left('', _PAIR_WIDTH)}{groups}")
        self._print(f"{left('pair', _PAIR_WIDTH)}{heads}")

    def begin(self, phase: Phase, pair: int, side: Side) -> None:
        """A run is about to begin."""
        self._runs += 1
        if self._overwrites:
            name = "A" if phase is Phase.CALIBRATION else side.upper()
            self._overwrite(f"{self._label(phase, pair)}  run {self._runs}: {name} …")

    def end(self, run: AbRun) -> None:
        """It has ended."""
        if self._first is None:
            self._first = run
            return
        first, self._first = self._first, None
        by_side = {first.side: first, run.side: run}
        self._take_away()
        cells = "".join(
            self._cell(by_side[Side.A], by_side[Side.B], gate) for gate in self._shown_gates()
        )
        self._print(f"{self._label(run.phase, run.pair)}{cells}")

    def look(self, comparison: Comparison, pairs: int) -> None:
        """So many pairs were looked at."""
        self._take_away()
        told = {
            Verdict.PASS: "decided, no gate is broken",
            Verdict.REGRESSION: "decided, B is worse",
            Verdict.INCOMPARABLE: "the figures can't be compared, so it ends here",
            Verdict.INCONCLUSIVE: f"not decided, up to {self._plan.looks[-1]} pairs follow"
            if pairs < self._plan.looks[-1]
            else "not decided",
        }[comparison.verdict]
        counted = "1 pair" if pairs == 1 else f"{pairs} pairs"
        self._print(f"After {counted}: {told}.")

    def close(self) -> None:
        """Leave the terminal to the report."""
        self._take_away()
        if self._overwrites:
            self._write("\n")

    def _shown_gates(self) -> Sequence[Gate]:
        """As many gates as a line has room for."""
        width = 2 * _VALUE_WIDTH + _CHANGE_WIDTH + 4
        room = max((self._console.width - _PAIR_WIDTH) // width, 1)
        return self._plan.gates[:room]

    @staticmethod
    def _name(gate: Gate) -> str:
        return gate.subject.removeprefix("end_to_end.")

    @staticmethod
    def _label(phase: Phase, pair: int) -> str:
        word = _WORDS.get(phase, "")
        return left(f"{word} {pair}".strip() if word != "warm-up" else word, _PAIR_WIDTH)

    @staticmethod
    def _cell(a: AbRun, b: AbRun, gate: Gate) -> str:
        wanted = Threshold(hop=gate.hop, statistic=gate.statistic, operator="<", limit_ns=0)
        values = [wanted.read(run.result.hops) for run in (a, b)]
        told = [NOT_AVAILABLE if v is None else format_latency(v) for v in values]
        base, new = values
        change = f"{(new / base - 1) * 100:+.1f} %" if base and new is not None else NOT_AVAILABLE
        return (
            f"  {right(told[0], _VALUE_WIDTH)} {right(told[1], _VALUE_WIDTH)} "
            f"{right(change, _CHANGE_WIDTH)}"
        )

    def _overwrite(self, text: str) -> None:
        shown = self._ink.text(text)[: self._console.width - 1]
        self._write(f"\r{shown}\x1b[K")
        self._shown = shown

    def _take_away(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _print(self, text: str) -> None:
        self._write(self._ink.text(text).rstrip() + "\n")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
