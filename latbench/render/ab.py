"""The report of an A/B session: what two sides say of each other, pair by pair."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.ab_result import AbResult, AbStatus, Phase, Side, Variant
from latbench.clock import NS_PER_S
from latbench.comparison import Comparison
from latbench.gates import Gate
from latbench.render.comparison_report import ComparisonReport, Labels
from latbench.render.ink import Drawn, Ink, Line, fields, paragraph
from latbench.render.pairs import draw_pairs
from latbench.render.scenario import ways, whole_s
from latbench.result import RunResult
from latbench.thresholds import Threshold
from latbench.units import format_duration, format_latency, format_rate

THIS: Final = "latbench run"


class AbReport(Drawn):
    """The verdict first; then gates, hops, pairs, and the machine's noise."""

    def __init__(self, result: AbResult, files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._result = result
        self._files = files

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Complete at 80 cells."""
        result = self._result
        comparison = result.comparison
        if comparison is None:
            lines = paragraph("latbench ab", width, ink, style="bold")
            lines += paragraph(
                "No pair was measured: there is nothing to compare.", width, ink, style="yellow"
            )
        else:
            report = ComparisonReport(
                comparison,
                ["latbench ab", *_scenario(result)],
                Labels(label_of(result.plan.a), label_of(result.plan.b)),
                notes=tuple(_notes(result, comparison)),
                open_ends=tuple(_open_ends(result)),
            )
            lines = [*report.draw(width, ink), *self._pairs(comparison, width, ink)]
            noise = fields(_noise(result), width, ink)
            if noise:
                lines += [[], [("How much A scatters", "bold")], *noise]
        return [*lines, [], *fields(self._origin(), width, ink)]

    def _pairs(self, comparison: Comparison, width: int, ink: Ink) -> list[Line]:
        base, new = (self._result.results(side) for side in Side)
        lines: list[Line] = []
        for gate in comparison.gates:
            ratios = [
                new_ns / base_ns
                for one, other in zip(base, new, strict=True)
                if (base_ns := value_of(one, gate.gate)) and (new_ns := value_of(other, gate.gate))
            ]
            if ratios:
                name = gate.gate.subject.removeprefix("end_to_end.")
                lines.append(draw_pairs(name, ratios, gate.allowed, width, ink))
        if not lines:
            return []
        legend = "Each mark a pair (a digit: so many), B over A; | no change, ! what is allowed."
        return [
            [],
            [("Pairs", "bold")],
            *lines,
            *paragraph(legend, width, ink, style="dim"),
        ]

    def _origin(self) -> Iterator[tuple[str, str]]:
        result = self._result
        if result.runs:
            environment = result.runs[0].result.environment
            cpus = f"{environment.cpus} CPU{'s' if environment.cpus != 1 else ''}"
            yield "machine", f"{environment.cpu_model}, {cpus}, kernel {environment.kernel}"
        yield "latbench", result.latbench
        for path in self._files:
            name = os.fspath(path)
            yield ("file" if name.endswith(".parquet") else "runs"), name


def label_of(variant: Variant) -> str:
    """What is run on a side, as it was written."""
    command = shlex.join(variant.command) if variant.command else THIS
    return f"{command} {shlex.join(variant.options)}".rstrip()


def value_of(result: RunResult, gate: Gate) -> float | None:
    """A run's figure that a gate is about."""
    wanted = Threshold(hop=gate.hop, statistic=gate.statistic, operator="<", limit_ns=0)
    return wanted.read(result.hops)


def _scenario(result: AbResult) -> Iterator[str]:
    first = result.runs[0].result
    config = first.config
    kafka = "embedded broker"
    if first.broker.kind != "embedded":
        kafka = f"Kafka {first.broker.version.partition(' (')[0]}"
    load = "replay" if config.is_replay else format_rate(config.tick_rate_hz)
    lasts_ns = whole_s(first.measured_ns) if config.is_replay else config.bounded_duration_ns
    told = [load, f"{format_duration(lasts_ns)} a run", kafka, config.ws_engine]
    yield " · ".join([*told, *ways(config)])
    pairs = len(result.results(Side.A))
    elapsed = format_duration(result.elapsed_ns // NS_PER_S * NS_PER_S)
    ended = {
        AbStatus.COMPLETE: "",
        AbStatus.INTERRUPTED: "; interrupted",
        AbStatus.FAILED: f"; failed: {result.failure}",
    }[result.status]
    yield f"{pairs} pair{'s' if pairs != 1 else ''} in turn, in {elapsed}{ended}"


def _notes(result: AbResult, comparison: Comparison) -> Iterator[str]:
    looks = result.plan.looks
    if len(looks) > 1 and comparison.base_runs <= looks[-1]:
        yield (
            f"It may be looked at twice, after {looks[0]} and {looks[1]} pairs: each look is half "
            "as ready to be wrong."
        )
    for gate in result.plan.gates:
        noise = result.noise.get(gate.subject)
        if noise is not None:
            yield f"A against A differed by up to {noise * 100:.1f} % at {gate.subject}."


def _open_ends(result: AbResult) -> Iterator[str]:
    if result.status is not AbStatus.COMPLETE:
        yield "The session ended early: a verdict would have been looked for later."
    if result.plan.calibrate and not result.noise:
        yield "The calibration did not come to its end: what is allowed is not widened."


def _noise(result: AbResult) -> Iterator[tuple[str, str]]:
    """The spread of A's own runs, and what the machine did meanwhile."""
    base = result.results(Side.A)
    if len(base) < 2:
        return
    for gate in result.plan.gates:
        values = [value for each in base if (value := value_of(each, gate)) is not None]
        if values:
            name = gate.subject.removeprefix("end_to_end.")
            low, high = format_latency(min(values)), format_latency(max(values))
            yield name, f"{low} to {high} in {len(values)} runs"
    machines = [
        run.result.machine
        for run in result.runs
        if run.phase is Phase.MEASURED and run.result.machine is not None
    ]
    if machines:
        busy = sorted(each.busy for each in machines)
        stolen = max(each.steal for each in machines)
        told = f"{busy[0] * 100:.0f} to {busy[-1] * 100:.0f} % busy"
        if stolen >= 0.005:
            told += f"; up to {stolen * 100:.1f} % taken by the hypervisor"
        yield "CPUs", told
