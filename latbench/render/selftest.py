"""A selftest as a person reads it: injected against measured, and how far it has got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from latbench.clock import NS_PER_MS, NS_PER_S, NS_PER_US, monotonic_ns
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Drawn, Ink, Line, left, paragraph, right
from latbench.result import Snapshot
from latbench.selftest_result import ALLOWED_NS, ALLOWED_SHARE, SelftestResult, Shift, Verdict
from latbench.selftest_turns import PLACES, Turn
from latbench.units import format_duration, format_latency

_EVERY_NS: Final = 5 * NS_PER_S
_COLUMNS: Final = (
    ("place", 9, left),
    ("hop", 9, left),
    ("delay", 5, right),
    ("measured", 9, right),
    ("error", 14, right),
    ("", 5, left),
    ("others at most", 18, left),
)
_GAPS: Final = ("", "  ", "  ", "  ", "  ", "  ", " ")
"""Before each column."""
_VERDICT_STYLES: Final = {
    Verdict.OK: "green",
    Verdict.NOISY: "bold yellow",
    Verdict.OFF: "bold red",
}


class SelftestReport(Drawn):
    """A row for each place, delay and hop that the delay lies in; what the rows mean; the end."""

    def __init__(self, result: SelftestResult) -> None:
        self._result = result

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """At most 80 cells wide."""
        result = self._result
        embedded = result.broker.kind == "embedded"
        broker = (
            "the embedded broker"
            if embedded
            else f"Kafka {result.broker.version.partition(' (')[0]}"
        )
        step = format_duration(result.step_ns)
        title = f"latbench selftest · {broker} · {result.ws_engine} · {step} a step"
        intro = (
            "A delay was put into one place of the pipeline at a time. Measured: the p50 of the "
            "hop meanwhile, less its p50 without a delay, from the rows of the result file."
        )
        return [
            *paragraph(title, width, ink, style="bold"),
            *paragraph(intro, width, ink, style="dim"),
            [],
            *self._table(ink),
            [],
            *paragraph(_legend(), width, ink, style="dim"),
            [],
            *self._conclusion(width, ink),
        ]

    def _conclusion(self, width: int, ink: Ink) -> list[Line]:
        result = self._result
        total = len(result.shifts)
        lines: list[Line] = []
        for problem in result.problems:
            lines += paragraph(problem, width, ink, style="bold red")
        if off := result.of_verdict(Verdict.OFF):
            text = f"{len(off)} of {total} shifts are off: {_listed(off)}."
            lines += paragraph(text, width, ink, style="bold red")
        if noisy := result.of_verdict(Verdict.NOISY):
            text = (
                f"{len(noisy)} of {total} shifts can't be told from this machine's noise: "
                f"{_listed(noisy)}."
            )
            lines += paragraph(text, width, ink, style="yellow")
        if result.agrees:
            text = f"All {len(result.rows)} rows agree: what goes in comes out."
            return [*lines, *paragraph(text, width, ink, style="bold green")]
        advice = (
            "Run it again while the machine has nothing else to do, or with a longer --step. If "
            "the same rows are off again, don't believe the figures of this pipeline."
        )
        return [*lines, *paragraph(advice, width, ink)]

    def _table(self, ink: Ink) -> list[Line]:
        columns = zip(_GAPS, _COLUMNS, strict=True)
        header = "".join(gap + fill(name, width) for gap, (name, width, fill) in columns)
        lines: list[Line] = [[(header, "dim")]]
        for place in PLACES:
            for hop in place.own_hops:
                lines += [
                    self._row(shift, ink, with_others=hop == place.own_hops[0])
                    for shift in self._result.shifts
                    if (shift.place, shift.hop) == (place.name, hop)
                ]
        return lines

    def _row(self, shift: Shift, ink: Ink, *, with_others: bool) -> Line:
        cells = [
            (shift.place, ""),
            (shift.hop, ""),
            (_in_ms(shift.delay_ns, 0), ""),
            (_in_ms(shift.measured_ns, 3), "bold"),
            (_error(shift), ""),
            (shift.verdict, _VERDICT_STYLES[shift.verdict]),
            self._others(shift) if with_others else ("", ""),
        ]
        line: Line = []
        for gap, (_, width, fill), (text, style) in zip(_GAPS, _COLUMNS, cells, strict=True):
            line += [(gap, ""), (fill(ink.text(text), width), style)]
        return line

    def _others(self, shift: Shift) -> tuple[str, str]:
        """Of the hops that have no row, the one that is farthest from what it should be."""
        others = [
            other
            for other in self._result.shifts
            if (other.place, other.delay_ns) == (shift.place, shift.delay_ns)
            and other.hop not in self._own_hops(shift.place)
        ]
        # one that says nothing is farther than any figure
        worst = max(
            others, key=lambda other: math.inf if other.error_ns is None else abs(other.error_ns)
        )
        style = "dim" if worst.verdict is Verdict.OK else _VERDICT_STYLES[worst.verdict]
        return f"{worst.hop} {_in_us(worst.error_ns)}", style

    @staticmethod
    def _own_hops(place: str) -> tuple[str, ...]:
        return next(each.own_hops for each in PLACES if each.name == place)


def _in_ms(value_ns: int | None, decimals: int) -> str:
    return NOT_AVAILABLE if value_ns is None else f"{value_ns / NS_PER_MS:,.{decimals}f} ms"


def _in_us(value_ns: int | None) -> str:
    return NOT_AVAILABLE if value_ns is None else f"{value_ns / NS_PER_US:+,.0f} µs"


def _error(shift: Shift) -> str:
    if shift.uncertainty_ns is None:
        return _in_us(shift.error_ns)
    return (
        f"{_in_us(shift.error_ns).removesuffix(' µs')} ±{_in_us(shift.uncertainty_ns).lstrip('+')}"
    )


def _legend() -> str:
    places = "; ".join(f"{place.name}: {place.label}" for place in PLACES)
    return (
        f"{places}. ok: the error is at most {ALLOWED_SHARE * 100:g} % of the delay or "
        f"{format_latency(ALLOWED_NS)}, whichever is more. ± is what this machine's noise may have "
        "made of it; noisy: beyond the first, within the second. Other hops have to stay as they "
        "are; end_to_end and service have to grow by every delay. Ticks that a stall of the "
        "machine has touched are left out."
    )


def _listed(shifts: Sequence[Shift]) -> str:
    """The first few in words."""
    shown = [
        f"{shift.hop} with {_in_ms(shift.delay_ns, 0)} at {shift.place} ({_in_us(shift.error_ns)})"
        for shift in shifts[:4]
    ]
    more = len(shifts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


class SelftestProgress:
    """Where a selftest is: one line that is written over on a terminal, else a line every 5 s."""

    def __init__(self, console: Console, turns: Sequence[Turn]) -> None:
        self._console = console
        self._turns = turns
        self._overwrites = console.file.isatty() and not console.is_dumb_terminal
        self._next_ns = 0
        self._shown = ""

    def update(self, snapshot: Snapshot) -> None:
        """Show what is going on now."""
        text = self._text(snapshot)
        now_ns = monotonic_ns()
        if text == self._shown or (not self._overwrites and now_ns < self._next_ns):
            return
        self._shown = text
        self._next_ns = now_ns + _EVERY_NS
        self._write(f"\r{text}\x1b[K" if self._overwrites else f"{text}\n")

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._overwrites and self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _text(self, snapshot: Snapshot) -> str:
        ends_ns = self._turns[-1].ends_ns
        elapsed_ns = snapshot.elapsed_ns
        left_s = -(-max(ends_ns - elapsed_ns, 0) // NS_PER_S)
        if snapshot.phase not in {"warm-up", "measuring"}:
            return f"selftest  {snapshot.phase}"
        turn = next((t for t in self._turns if t.begins_ns <= elapsed_ns < t.ends_ns), None)
        what = "warm-up" if turn is None else f"{turn.place} {_in_ms(turn.delay_ns, 0)}"
        return f"selftest  {what:<15} {left_s} s left"
