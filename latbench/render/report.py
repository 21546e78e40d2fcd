"""The report of a run: what was done, how long each hop took, where the time goes, and doubts."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.render.clients import draw_clients
from latbench.render.hops import HopTable
from latbench.render.ink import GUTTER, Drawn, Ink, Line, fields, paragraph
from latbench.render.machine import draw_machine
from latbench.render.outcome import draw_outcome
from latbench.render.scenario import scenario, whole_s
from latbench.render.shares import draw_shares
from latbench.render.three_ways import draw_three_ways
from latbench.result import RunResult, RunStatus
from latbench.units import format_duration, format_memory

INFO: Final = "info"
WARNING: Final = "warning"
ALLOWED: Final = "allowed"
"""Would be invalid, but was accepted knowingly."""
INVALID: Final = "invalid"
SEVERITIES: Final = (INVALID, ALLOWED, WARNING, INFO)
"""What weighs most comes first."""

_SEVERITY_STYLES: Final = {
    INVALID: "bold red",
    ALLOWED: "dim yellow",
    WARNING: "yellow",
    INFO: "cyan",
}


class Report(Drawn):
    """A whole result as a person reads it.

    `findings` are worded already: (severity, text) each; so is `advice`. `path` is where the result
    lies.
    """

    def __init__(
        self,
        result: RunResult,
        findings: Sequence[tuple[str, str]] = (),
        path: str | os.PathLike[str] | None = None,
        *,
        advice: Sequence[str] = (),
    ) -> None:
        self._result = result
        self._findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding[0]))
        self._path = path
        self._advice = advice

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """The sections, a blank line between them."""
        result = self._result
        measured = result.hop("end_to_end").count > 0
        sections = [
            self._heading(width, ink),
            fields(scenario(result), width, ink),
            self._latencies(width, ink, measured=measured),
            draw_three_ways(result, width, ink) if measured else [],
            draw_shares(result, width, ink) if measured else [],
            self._kafka(width, ink) if measured else [],
            self._to_change(width, ink),
            draw_machine(result, width, ink),
            draw_outcome(result, width, ink, measured=measured),
            self._found(width, ink),
            fields(self._origin(), width, ink),
        ]
        lines: list[Line] = []
        for section in filter(None, sections):
            lines += [*([[]] if lines else []), *section]
        return lines

    def _heading(self, width: int, ink: Ink) -> list[Line]:
        result = self._result
        lines: list[Line] = []
        if result.status is not RunStatus.COMPLETE:
            style = "bold red" if result.status is RunStatus.FAILED else "bold yellow"
            lines += paragraph(broken(result), width, ink, style=style)
        name = result.config.name
        title = (
            f"latbench run {name} · {result.run_id}" if name else f"latbench run {result.run_id}"
        )
        lines += paragraph(title, width, ink, style="bold")
        started = datetime.datetime.fromtimestamp(result.started_unix_ns // NS_PER_S, datetime.UTC)
        status = (
            "complete" if result.status is RunStatus.COMPLETE else f"{result.status}, see above"
        )
        if any(severity == INVALID for severity, _ in self._findings):
            status += ", but not a valid measurement: see the findings"
        lines += paragraph(f"{started:%Y-%m-%d %H:%M:%S} UTC · {status}", width, ink)
        return lines

    def _latencies(self, width: int, ink: Ink, *, measured: bool) -> list[Line]:
        title: Line = [("Latency by hop", "bold")]
        if not measured:
            return [title, *paragraph("No tick was measured.", width, ink)]
        result = self._result
        table = HopTable(
            result.hops,
            embedded=result.config.is_embedded,
            hiccups=result.hiccups,
            floor=result.floor,
        )
        return [title, *table.draw(width, ink)]

    def _kafka(self, width: int, ink: Ink) -> list[Line]:
        client = self._result.client
        if client is None:
            return []
        return draw_clients(client, width, ink, self._result.config)

    def _to_change(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for text in self._advice:
            lines += paragraph(text, width, ink, label="–", gutter=2)
        return [[("What to change", "bold")], *lines] if lines else []

    def _found(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for severity, text in self._findings:
            style = _SEVERITY_STYLES[severity]
            lines += paragraph(text, width, ink, label=severity, label_style=style, gutter=GUTTER)
        for text in self._result.said:
            lines += paragraph(text, width, ink, label="said", label_style="cyan", gutter=GUTTER)
        return [[("Findings", "bold")], *lines] if lines else []

    def _origin(self) -> Iterable[tuple[str, str]]:
        yield from told_origin(self._result)
        if self._path is not None:
            yield "file", os.fspath(self._path)


def told_origin(result: RunResult) -> Iterable[tuple[str, str]]:
    """Machine and software, as (label, text) each."""
    environment = result.environment
    machine = (
        environment.cpu_model,
        f"{environment.cpus} CPU{'s' if environment.cpus != 1 else ''}",
        format_memory(environment.memory_bytes) if environment.memory_bytes else "",
        f"governor {environment.governor}" if environment.governor else "",
        f"kernel {environment.kernel}",
        f"host {environment.hostname}" if environment.hostname else "",
    )
    revision = environment.git_revision
    software = (
        f"latbench {result.latbench}",
        f"Python {environment.python}",
        *(f"{name} {version}" for name, version in environment.libraries.items()),
        f"git {revision.removesuffix('+')}" if revision else "",
        "uncommitted changes" if revision.endswith("+") else "",
    )
    yield "machine", ", ".join(filter(None, machine))
    yield "software", ", ".join(filter(None, software))


def broken(result: RunResult) -> str:
    """What a run that is not complete must be told of first."""
    covered = f"the figures cover the {format_duration(whole_s(result.measured_ns))} until then"
    if not result.hop("end_to_end").count:
        covered = "no tick was measured before that"
    match result.status:
        case RunStatus.FAILED:
            return f"FAILED: {result.failure or 'for an unknown reason'}; {covered}"
        case RunStatus.INTERRUPTED:
            return f"INTERRUPTED; {covered}"
        case RunStatus.RUNNING:
            return f"STILL RUNNING; {covered.replace('until then', 'until now')}"
        case _:
            return f"RECOVERED from what a killed run left behind; {covered}"
