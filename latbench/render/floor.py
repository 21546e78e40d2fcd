"""The floor as a person reads it: what each probe took, and what it is the limit of."""

from __future__ import annotations

from typing import Final

from rich.console import Console

from latbench.floor import PROBES, hop_floor_ns
from latbench.floor_session import FloorResult
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, MOCK, latency_spans
from latbench.render.ink import Drawn, Ink, Line, fields, paragraph, width_of
from latbench.result import HopSummary
from latbench.units import format_count, format_latency

_PERCENTILES: Final = ("p50", "p90", "p99")
_BARE_FLOOR: Final = "bare floor"


class FloorReport(Drawn):
    """A row for each probe; below them the sum that a whole tick can't get under."""

    def __init__(self, result: FloorResult) -> None:
        self._result = result

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """At most 80 cells wide; from 75 on it also says what each is the limit of."""
        result = self._result
        intro = (
            "What this machine and this broker take, now, with next to nothing in between: no "
            "pipeline on them gets under it at this pace."
        )
        lines = [
            *paragraph(_title(result), width, ink, style="bold"),
            *paragraph(intro, width, ink, style="dim"),
            [],
            *self._table(width, ink),
            [],
        ]
        for note in self._notes():
            lines += paragraph(note, width, ink, style="dim")
        environment = result.environment
        machine = (
            f"{environment.cpu_model}, {environment.cpus} CPUs, kernel {environment.kernel}, "
            f"latbench {result.latbench}, Python {environment.python}"
        )
        return [*lines, [], *fields([("machine", machine)], width, ink)]

    def _table(self, width: int, ink: Ink) -> list[Line]:
        floor = self._result.floor
        found = {summary.hop: summary for summary in floor.probes}
        bare_ns = hop_floor_ns(floor, "end_to_end")
        labels = [probe.label for probe in PROBES] + [_BARE_FLOOR]
        limits = [probe.limits for probe in PROBES]
        limits.append("end_to_end: see below")
        columns = [text_column("", [ink.text(label) for label in labels])]
        for name in _PERCENTILES:
            cells = [_cell(found.get(probe.name), name, ink) for probe in PROBES]
            cells.append(
                latency_spans(bare_ns, LATENCY_WIDTH, "bold", ink) if name == "p50" else []
            )
            columns.append(Column(name, cells))
        shown = [ink.text(limit) for limit in limits]
        columns.append(text_column("the limit of", shown, "dim", worth=1))
        lines = draw_grid(columns, width, ink)
        rule: Line = [(ink.rule(max(map(width_of, lines))), "dim")]
        return [*lines[:-1], rule, lines[-1]]

    def _notes(self) -> list[str]:
        floor, result = self._result.floor, self._result
        count = max((summary.count for summary in floor.probes), default=0)
        apart = format_latency(floor.interval_ns)
        texts = [
            "bare floor: half a WebSocket round trip + produce → consume.",
            f"{format_count(count)} samples of each, {apart} apart: an idle "
            "CPU wakes slower than one that is kept busy.",
        ]
        fewer = [each for each in floor.probes if each.count < count]
        if fewer:
            texts.append(
                f"Of the broker {format_count(fewer[-1].count)}: one message at a time, and each "
                "took longer than that."
            )
        if result.broker.kind == "embedded":
            texts.append(f"produce → … was measured against {MOCK}: its floor is not Kafka's.")
        if len(floor.probes) < len(PROBES):
            texts.append("–: with acks 0 the broker answers nothing.")
        if any(each.percentiles_ns[name] is None for each in floor.probes for name in _PERCENTILES):
            texts.append("n/a: fewer than 100 samples lie above, so a figure would be a guess.")
        return texts


def _title(result: FloorResult) -> str:
    broker = result.broker
    name = "embedded broker"
    if broker.kind != "embedded":
        name = f"Kafka {broker.version.partition(' (')[0]} at {broker.bootstrap}"
    return f"latbench floor · {result.config.ws_engine} · {name}"


def _cell(summary: HopSummary | None, name: str, ink: Ink) -> Line:
    if summary is None:
        return [(ink.text("–"), "dim")]
    return latency_spans(summary.percentiles_ns[name], LATENCY_WIDTH, "", ink)


class FloorProgress:
    """What is being measured: one line that is written over on a terminal, else a line for each."""

    def __init__(self, console: Console, samples: int) -> None:
        self._console = console
        self._samples = samples
        self._overwrites = console.file.isatty() and not console.is_dumb_terminal
        self._shown = False

    def update(self, label: str) -> None:
        """Show what has begun."""
        text = f"floor  {label}: {format_count(self._samples)} samples"
        self._write(f"\r{text}\x1b[K" if self._overwrites else f"{text}\n")
        self._shown = True

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._overwrites and self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
