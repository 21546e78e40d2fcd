"""What an A/B session has to say in words and figures, whatever it is drawn in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from latbench.ab_result import AbResult, AbStatus, Phase, Side, Variant
from latbench.clock import NS_PER_S
from latbench.comparison import Allowed, Comparison, Verdict
from latbench.gates import Gate
from latbench.render.comparison_words import Labels, Told
from latbench.render.scenario import machine_of, ways, whole_s
from latbench.units import format_duration, format_latency, format_rate

THIS: Final = "latbench run"
TITLE: Final = "latbench ab"
NOTHING: Final = "No pair was measured: there is nothing to compare."


def told_session(result: AbResult) -> Told | None:
    """The comparison of a session with its words; None where there is none."""
    if result.comparison is None:
        return None
    return Told(
        result.comparison,
        (TITLE, *scenario_of(result)),
        Labels(label_of(result.plan.a), label_of(result.plan.b)),
        notes=tuple(_notes(result, result.comparison)),
        open_ends=tuple(_open_ends(result, result.comparison)),
    )


def ratios_of(result: AbResult, gate: Gate) -> list[float]:
    """B over A of each whole pair by a gate's statistic; without pairs that lack it."""
    base, new = (result.results(side) for side in Side)
    return [
        new_ns / base_ns
        for one, other in zip(base, new, strict=True)
        if (base_ns := gate.read(one.hops)) and (new_ns := gate.read(other.hops))
    ]


def label_of(variant: Variant) -> str:
    """What is run on a side, as it was written."""
    command = shlex.join(variant.command) if variant.command else THIS
    return f"{command} {shlex.join(variant.options)}".rstrip()


def scenario_of(result: AbResult) -> Iterator[str]:
    """What was run, and how many pairs: two lines."""
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
    for found in comparison.gates:
        noise = result.noise.get(found.gate.subject)
        if noise is None:
            continue
        told = f"A against A may differ by {noise * 100:.1f} % at {found.gate.subject}"
        if found.allowed_by is Allowed.CALIBRATION:
            told += f": so much is allowed, not {found.gate.margin * 100:g} %"
        yield f"{told}."


def _open_ends(result: AbResult, comparison: Comparison) -> Iterator[str]:
    is_whole = result.status is AbStatus.COMPLETE
    if is_whole and comparison.verdict is Verdict.INCONCLUSIVE:
        yield (
            "Longer runs (--duration), more pairs (--pairs) and a quieter machine narrow the "
            "intervals."
        )
    if not is_whole:
        yield "The session ended early: a verdict would have been looked for later."
    if result.plan.calibrate and not result.noise:
        yield "The calibration did not come to its end: what is allowed is not widened."


def noise_of(result: AbResult) -> Iterator[tuple[str, str]]:
    """The spread of A's own runs, and what the machine did meanwhile, as (label, text) each."""
    base = result.results(Side.A)
    if len(base) < 2:
        return
    for gate in result.plan.gates:
        values = [value for each in base if (value := gate.read(each.hops)) is not None]
        if values:
            name = gate.short_subject
            low, high = format_latency(min(values)), format_latency(max(values))
            yield name, f"{low} to {high} in {len(values)} runs"
    machines = [
        run.result.machine
        for run in result.runs
        if run.phase is Phase.MEASURED and run.result.machine is not None
    ]
    if machines:
        busy = sorted(round(each.busy * 100) for each in machines)
        stolen = max(each.steal for each in machines)
        least = f"{busy[0]} to " if busy[0] < busy[-1] else ""
        told = f"{least}{busy[-1]} % busy"
        if stolen >= 0.005:
            told += f"; up to {stolen * 100:.1f} % taken by the hypervisor"
        yield "CPUs", told


def origin_of(result: AbResult) -> Iterator[tuple[str, str]]:
    """Machine and version, as (label, text) each."""
    if result.runs:
        yield "machine", machine_of(result.runs[0].result.environment)
    yield "latbench", result.latbench
