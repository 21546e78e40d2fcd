"""The report of a run: what was done, how long each hop took, where the time goes, and doubts."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.render.hops import NOT_AVAILABLE, HopTable, label_of, latency_spans
from latbench.render.ink import Drawn, Ink, Line, left, paragraph, width_of
from latbench.result import BrokerFacts, Counts, HopSummary, RunResult, RunStatus, TailShare
from latbench.tick import HOPS, PARTS, HopKind
from latbench.units import (
    format_count,
    format_duration,
    format_latency,
    format_memory,
    format_rate,
)

INFO: Final = "info"
WARNING: Final = "warning"
INVALID: Final = "invalid"
SEVERITIES: Final = (INVALID, WARNING, INFO)
"""What weighs most comes first."""

_SEVERITY_STYLES: Final = {INVALID: "bold red", WARNING: "yellow", INFO: "cyan"}
_GUTTER: Final = 10
_MAX_BAR: Final = 30


class Report(Drawn):
    """A whole result as a person reads it.

    `findings` are worded already: (severity, text) each. `path` is where the result lies.
    """

    def __init__(
        self,
        result: RunResult,
        findings: Sequence[tuple[str, str]] = (),
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._result = result
        self._findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding[0]))
        self._path = path

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """The sections, a blank line between them."""
        result = self._result
        measured = result.hop("end_to_end").count > 0
        sections = [
            self._heading(width, ink),
            _fields(_scenario(result), width, ink),
            self._latencies(width, ink, measured=measured),
            draw_shares(result, width, ink) if measured else [],
            self._outcome(width, ink, measured=measured),
            self._found(width, ink),
            _fields(self._origin(), width, ink),
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
            lines += paragraph(_broken(result), width, ink, style=style)
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
        table = HopTable(self._result.hops, embedded=self._result.config.is_embedded)
        return [title, *table.draw(width, ink)]

    def _outcome(self, width: int, ink: Ink, *, measured: bool) -> list[Line]:
        counts = self._result.counts
        lines: list[Line] = []
        if measured:
            lines += _fields([("spread", _spread(self._result.hop("end_to_end")))], width, ink)
        lines += _fields([("ticks", _ticks(counts))], width, ink)
        if amiss := ", ".join(_amiss(counts)):
            style = "bold red" if counts.lost or counts.ring_overruns else "yellow"
            lines += _fields([("amiss", amiss)], width, ink, style=style)
        if strange := ", ".join(_strange(self._result.hops)):
            told = f"latencies counted apart, in no figure above: {strange}"
            lines += _fields([("amiss", told)], width, ink, style="yellow")
        return lines

    def _found(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for severity, text in self._findings:
            style = _SEVERITY_STYLES[severity]
            lines += paragraph(text, width, ink, label=severity, label_style=style, gutter=_GUTTER)
        for text in self._result.said:
            lines += paragraph(text, width, ink, label="said", label_style="cyan", gutter=_GUTTER)
        return [[("Findings", "bold")], *lines] if lines else []

    def _origin(self) -> Iterable[tuple[str, str]]:
        environment = self._result.environment
        machine = (
            environment.cpu_model,
            f"{environment.cpus} CPU{'s' if environment.cpus != 1 else ''}",
            format_memory(environment.memory_bytes) if environment.memory_bytes else "",
            f"governor {environment.governor}" if environment.governor else "",
            f"kernel {environment.kernel}",
            environment.hostname,
        )
        revision = environment.git_revision
        software = (
            f"latbench {self._result.latbench}",
            f"Python {environment.python}",
            *(f"{name} {version}" for name, version in environment.libraries.items()),
            f"git {revision.removesuffix('+')}" if revision else "",
            "uncommitted changes" if revision.endswith("+") else "",
        )
        yield "machine", ", ".join(filter(None, machine))
        yield "software", ", ".join(filter(None, software))
        if self._path is not None:
            yield "file", os.fspath(self._path)


def _fields(
    fields: Iterable[tuple[str, str]], width: int, ink: Ink, *, style: str = ""
) -> list[Line]:
    lines: list[Line] = []
    for label, text in fields:
        lines += paragraph(text, width, ink, style=style, label=label, gutter=_GUTTER)
    return lines


def _broken(result: RunResult) -> str:
    covered = f"the figures cover the {format_duration(_whole_s(result.measured_ns))} until then"
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


def _whole_s(value_ns: int) -> int:
    return value_ns // NS_PER_S * NS_PER_S if value_ns >= NS_PER_S else value_ns


# what was done


def _scenario(result: RunResult) -> Iterable[tuple[str, str]]:
    config, broker = result.config, result.broker
    yield "load", _load(result)
    symbols = ", ".join(config.symbols)
    if config.is_replay:
        yield "source", f"replay of {config.source}, {'again and again' if config.loop else 'once'}"
    else:
        many = f"{len(config.symbols)} symbols: " if len(config.symbols) > 1 else ""
        yield "source", f"simulated, seed {config.seed}; {many}{symbols}"
    yield (
        "pipeline",
        (
            f"WebSocket by {config.ws_engine} → {_broker(broker)}, topic {config.topic}, "
            f"{broker.partitions} partition{'s' if broker.partitions != 1 else ''}"
        ),
    )
    settings = (
        (f"acks {config.acks}", {"acks", "request.required.acks"}),
        (f"linger {config.linger_ms:g} ms", {"linger.ms", "queue.buffering.max.ms"}),
        (f"compression {config.compression}", {"compression.type", "compression.codec"}),
    )
    # a property of the user's wins over an option: only what holds is shown
    holding = [text for text, names in settings if not names & config.producer.keys()]
    properties = [f"{key}={value}" for key, value in config.producer.items()]
    yield "producer", ", ".join([*holding, *properties])
    if config.consumer:
        yield "consumer", ", ".join(f"{key}={value}" for key, value in config.consumer.items())
    if config.pin:
        yield "pinned", f"to CPUs {', '.join(map(str, config.pin))}"


def _load(result: RunResult) -> str:
    config: RunConfig = result.config
    measured = format_duration(_whole_s(result.measured_ns))
    achieved = format_rate(result.achieved_rate_hz).removesuffix("/s")
    warmup = f" after a warm-up of {format_duration(config.warmup_ns)}" if config.warmup_ns else ""
    if config.as_fast_as_possible:
        return (
            f"as fast as the pipeline took it, {achieved} ticks/s; due is the moment of sending; "
            f"{measured} measured{warmup}"
        )
    if config.is_replay:
        speed = "at its own speed" if config.speed == 1 else f"at {config.speed:g}× its own speed"
        return f"{speed}, {achieved} ticks/s achieved; {measured} measured{warmup}"
    asked = format_rate(result.target_rate_hz).removesuffix("/s")
    return (
        f"{asked} ticks/s asked for, {achieved} achieved, {config.arrivals} arrivals; "
        f"{measured} measured{warmup}"
    )


def _broker(broker: BrokerFacts) -> str:
    if broker.kind == "embedded":
        return f"embedded broker (librdkafka {broker.version}'s mock, not Kafka)"
    version = broker.version if broker.version != "unknown" else "of unknown version"
    return f"Kafka {version} at {broker.bootstrap}"


# where the time goes


def draw_shares(result: RunResult, width: int, ink: Ink) -> list[Line]:
    """Each part's share of the mean end-to-end latency and, beside it, of the slowest ticks."""
    means = {hop.name: result.hop(hop.name).mean_ns for hop in PARTS}
    tail = result.tail if result.tail is not None and result.tail.count else None
    groups = [("mean of all ticks", means, "cyan")]
    if tail is not None:
        groups.append(("mean of the slowest 1%", dict(tail.mean_ns), "magenta"))

    embedded = result.config.is_embedded
    hops = [hop for hop in HOPS if hop.kind in (HopKind.PART, HopKind.TOTAL)]
    name_width = max(len(hop.name) for hop in hops)
    heads = [left(hop.name, name_width) for hop in hops]
    if width >= 110:
        labels = [ink.text(label_of(hop, embedded=embedded)) for hop in hops]
        label_width = max(map(len, labels))
        heads = [
            f"{head}  {left(label, label_width)}" for head, label in zip(heads, labels, strict=True)
        ]
    # a group: a gap of 3, a latency of 7, a share of 6, a gap of 1, the bar
    bar_width = min((width - len(heads[0])) // len(groups) - 17, _MAX_BAR)

    header: Line = [(" " * len(heads[0]), "")]
    lines: list[Line] = [
        [(head, "bold" if hop.kind is HopKind.TOTAL else "")]
        for hop, head in zip(hops, heads, strict=True)
    ]
    for caption, means_ns, colour in groups:
        header.append((f"   {left(caption, 14 + bar_width)}", "dim"))
        total_ns = sum(means_ns.values())
        for hop, line in zip(hops, lines, strict=True):
            is_total = hop.kind is HopKind.TOTAL
            value_ns = total_ns if is_total else means_ns[hop.name]
            share = value_ns / total_ns if total_ns else 0.0
            style = "bold" if is_total else ""
            bar = "" if is_total else ink.bar(share, bar_width)
            line.extend([("   ", ""), *latency_spans(value_ns, 7, style, ink)])
            line.extend([(f"{share:6.0%} ", style), (left(bar, bar_width), colour)])
    title: Line = [("Where the time goes", "bold")]
    rule: Line = [(ink.rule(width_of(lines[0])), "dim")]
    drawn = [title, header, *lines[:-1], rule, lines[-1]]
    if tail is not None:
        drawn.append([])
        drawn += paragraph(_tail_words(tail, means), width, ink, style="dim")
    return drawn


def _tail_words(tail: TailShare, means: dict[str, float]) -> str:
    grown = tail.grows_most(means)
    return (
        f"Slowest: the {format_count(tail.count)} ticks above end_to_end's p99, "
        f"{format_latency(tail.above_ns)}. What grows most in them is {grown}: "
        f"from {format_latency(means[grown])} to {format_latency(tail.mean_ns[grown])}."
    )


# what came of it


def _spread(end_to_end: HopSummary) -> str:
    p50_ns = end_to_end.percentiles_ns.get("p50")
    p999_ns = end_to_end.percentiles_ns.get("p99.9")
    spread = NOT_AVAILABLE
    if p50_ns is not None and p999_ns is not None:
        spread = format_latency(p999_ns - p50_ns)
    return f"end_to_end: p99.9 − p50 = {spread}, stdev = {format_latency(end_to_end.stdev_ns)}"


def _ticks(counts: Counts) -> str:
    return (
        f"{format_count(counts.sent)} sent ({format_count(counts.warmup)} of them for warm-up), "
        f"{format_count(counts.measured)} measured, {format_count(counts.consumed)} consumed"
        f"{', none lost' if not counts.lost else ''}"
    )


def _strange(hops: Iterable[HopSummary]) -> Iterable[str]:
    for hop in hops:
        if hop.negative:
            yield f"{format_count(hop.negative)} of {hop.hop} below 0"
        if hop.out_of_range:
            yield f"{format_count(hop.out_of_range)} of {hop.hop} above 24 h"


def _amiss(counts: Counts) -> Iterable[str]:
    told = (
        (counts.lost, "lost"),
        (counts.duplicates, "consumed more than once"),
        (counts.reordered, "consumed after a later tick of their symbol"),
        (counts.delivery_errors, "given up by the producer"),
        (counts.malformed, "malformed at the relay"),
        (counts.unknown, "messages on the topic that are no tick of this run"),
        (counts.ring_overruns, "rows that no ring had room for"),
        (counts.source_skipped, "lines of the capture that hold no message"),
    )
    yield from (f"{format_count(number)} {words}" for number, words in told if number)
    for times, waited_ns, who in (
        (counts.relay_backpressure, counts.relay_backpressure_ns, "the relay waited for Kafka"),
        (
            counts.generator_backpressure,
            counts.generator_backpressure_ns,
            "the generator waited for the relay",
        ),
    ):
        if times:
            often = "once" if times == 1 else f"{format_count(times)} times"
            yield f"{who} {often}, {format_latency(waited_ns)} in all"
