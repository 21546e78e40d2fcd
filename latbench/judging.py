"""What is to be said of a run: every fact that `findings` has words for is looked for here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

import msgspec

from latbench.clock import NS_PER_MS
from latbench.config import RunConfig
from latbench.findings import Code, Severity, severity
from latbench.histogram import MIN_SAMPLES_BEYOND
from latbench.result import (
    BrokerFacts,
    Counts,
    Environment,
    FanoutFigures,
    Finding,
    HopSummary,
    MachineFigures,
    RunStatus,
)
from latbench.settling import Drift
from latbench.tick import HOP_BY_NAME, HopKind

RATE_TOLERANCE: Final = 0.001
"""The achieved rate may differ from the scheduled one by 0.1 %."""

LATE_NS: Final = NS_PER_MS
LATE_SHARE: Final = 0.1
"""The generator is late when its p99 is above 1 ms and above a tenth of the total's."""

HICCUP_SHARE: Final = 0.5
"""Stalls are comparable with a latency from half of it on, at the same percentile."""

STEAL_SHARE: Final = 0.01
POWER_SAVING: Final = frozenset({"powersave", "conservative", "ondemand", "schedutil"})
"""Governors that lower the clock of a CPU with little to do (Documentation/admin-guide/pm of the
kernel); what is left is `performance` and `userspace`."""

STAGES_ON_THE_WAY: Final = 3
PERCENTILES_EXPECTED: Final = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run is judged by."""

    config: RunConfig
    environment: Environment
    broker: BrokerFacts
    counts: Counts
    hops: tuple[HopSummary, ...]
    scheduled_hz: float
    achieved_hz: float
    status: RunStatus
    fanout: FanoutFigures | None = None
    missed: int = 0
    """Of a consumer alone: ticks between the first and the last that came, and never did."""
    consumer_errors: int = 0
    meters: dict[str, HopSummary] = {}
    """The hiccup meters' figures by process."""
    machine: MachineFigures | None = None
    drift: Drift | None = None
    warmup_ns: int = 0
    warmup_settled: bool = True


def judge(evidence: Evidence) -> tuple[Finding, ...]:
    """All that is to be said of a run, gravest first."""
    found = [
        *_of_counts(evidence.counts, evidence.status, evidence.consumer_errors, evidence.missed),
        *_of_hops(evidence.hops),
        *_of_fanout(evidence.fanout),
        *_of_rate(evidence.config, evidence.scheduled_hz, evidence.achieved_hz),
        *_of_steadiness(evidence),
        *_of_stalls(evidence),
        *_of_machine(evidence),
        *_of_samples(evidence),
        *_of_setting(evidence.config, evidence.broker),
    ]
    order = list(Severity)
    found.sort(key=lambda finding: -order.index(severity(finding)))
    allowed = evidence.config.allow
    return tuple(
        msgspec.structs.replace(finding, allowed=True) if finding.code in allowed else finding
        for finding in found
    )


def _finding(code: Code, **values: float | str) -> Finding:
    return Finding(code=code, values=dict(values))


def _of_counts(
    counts: Counts, status: RunStatus, consumer_errors: int, missed: int
) -> Iterator[Finding]:
    if not counts.measured:
        yield Finding(code=Code.NOTHING_MEASURED)
    cut_off = 0
    if status in {RunStatus.RECOVERED, RunStatus.RUNNING}:
        # those that the producer gave up were not on their way
        cut_off = max(counts.lost - counts.delivery_errors, 0)
    if cut_off:
        yield _finding(Code.CUT_OFF, lost=cut_off)
    if counts.lost > cut_off:
        yield _finding(Code.TICKS_LOST, lost=counts.lost - cut_off, sent=counts.sent)
    if missed:
        yield _finding(Code.TICKS_MISSED, missed=missed)
    if counts.ring_overruns:
        yield _finding(Code.RING_OVERRUN, rows=counts.ring_overruns)
    for code, count in (
        (Code.DUPLICATES, counts.duplicates),
        (Code.REORDERED, counts.reordered),
        (Code.DELIVERY_ERRORS, counts.delivery_errors),
        (Code.UNKNOWN_MESSAGES, counts.unknown),
        (Code.MALFORMED_MESSAGES, counts.malformed),
        (Code.CONSUMER_ERRORS, consumer_errors),
        (Code.SOURCE_SKIPPED, counts.source_skipped),
    ):
        if count:
            yield _finding(code, count=count)
    for code, times, waited_ns in (
        (Code.RELAY_BACKPRESSURE, counts.relay_backpressure, counts.relay_backpressure_ns),
        (
            Code.GENERATOR_BACKPRESSURE,
            counts.generator_backpressure,
            counts.generator_backpressure_ns,
        ),
    ):
        if times:
            yield _finding(code, times=times, duration=waited_ns)


def _of_fanout(fanout: FanoutFigures | None) -> Iterator[Finding]:
    if fanout is None:
        return
    if fanout.missed:
        yield _finding(
            Code.SUBSCRIBERS_MISSED,
            missed=fanout.missed,
            expected=fanout.expected,
            short=fanout.short_count,
            subscribers=fanout.subscribers,
        )
    if fanout.ended:
        yield _finding(Code.SUBSCRIBERS_ENDED, ended=fanout.ended, subscribers=fanout.subscribers)


def _of_hops(hops: tuple[HopSummary, ...]) -> Iterator[Finding]:
    for summary in hops:
        if HOP_BY_NAME[summary.hop].kind is HopKind.UNCORRECTED:
            continue  # a sum of parts that are looked at
        if summary.negative:
            yield _of_hop(Code.NEGATIVE_LATENCY, summary.hop, summary.negative)
        if summary.out_of_range:
            yield _of_hop(Code.LATENCY_OUT_OF_RANGE, summary.hop, summary.out_of_range)


def _of_hop(code: Code, hop: str, count: int) -> Finding:
    return _finding(code, hop=hop, count=count)


def _of_rate(config: RunConfig, scheduled_hz: float, achieved_hz: float) -> Iterator[Finding]:
    if config.as_fast_as_possible or not scheduled_hz:
        return
    missed = achieved_hz / scheduled_hz - 1
    if abs(missed) > RATE_TOLERANCE:
        yield Finding(
            code=Code.RATE_MISSED,
            values={
                "achieved": achieved_hz,
                "scheduled": scheduled_hz,
                "percent": round(missed * 100, 3),
            },
        )


def _hop(evidence: Evidence, name: str) -> HopSummary | None:
    """A hop that ticks were measured of."""
    return next((each for each in evidence.hops if each.hop == name and each.count), None)


def _of_steadiness(evidence: Evidence) -> Iterator[Finding]:
    if evidence.config.warmup_auto and evidence.counts.measured:  # else it had no end
        code = Code.WARMUP_SETTLED if evidence.warmup_settled else Code.WARMUP_UNSETTLED
        yield _finding(code, waited=evidence.warmup_ns)
    if evidence.drift is not None:
        first_ns, last_ns = round(evidence.drift.first_ns), round(evidence.drift.last_ns)
        yield _finding(Code.LATENCY_DRIFTED, first=first_ns, last=last_ns)


def _of_stalls(evidence: Evidence) -> Iterator[Finding]:
    total, schedule = _hop(evidence, "end_to_end"), _hop(evidence, "schedule")
    if total is None:
        return
    yield from _of_meters(evidence.meters, total)
    if schedule is not None and not evidence.config.as_fast_as_possible:
        late_ns, latency_ns = schedule.percentiles_ns["p99"], total.percentiles_ns["p99"]
        # what `--coalesce` holds up is asked for
        bound_ns = max(LATE_NS, LATE_SHARE * (latency_ns or 0)) + evidence.config.coalesce_ns
        if late_ns and latency_ns and late_ns > bound_ns:
            yield _finding(Code.GENERATOR_LATE, late=late_ns, latency=latency_ns)


def _of_meters(meters: dict[str, HopSummary], total: HopSummary) -> Iterator[Finding]:
    """A tick passes through all processes but the supervisor: the one that stalls most counts.

    All meters together would hide it, one fifth as often among the others' wake-ups.
    """
    for name in ("p99.9", "p99"):
        latency_ns = total.percentiles_ns.get(name)
        known = [
            (hiccup_ns, process)
            for process, meter in meters.items()
            if process != "supervisor" and (hiccup_ns := meter.percentiles_ns.get(name)) is not None
        ]
        if latency_ns is None or not known:
            continue
        hiccup_ns, process = max(known)
        if hiccup_ns > HICCUP_SHARE * latency_ns:
            yield _finding(
                Code.HICCUPS,
                process=process,
                percentile=name,
                hiccup=hiccup_ns,
                latency=latency_ns,
            )
        return


def _of_machine(evidence: Evidence) -> Iterator[Finding]:
    machine, environment = evidence.machine, evidence.environment
    if machine is not None and machine.steal > STEAL_SHARE:
        yield _finding(Code.CPU_STOLEN, percent=round(machine.steal * 100, 2))
    processes = STAGES_ON_THE_WAY + _is_here(evidence.broker)
    if environment.cpus < processes:
        yield _finding(Code.FEW_CPUS, cpus=environment.cpus, processes=processes)
    if environment.governor in POWER_SAVING:
        yield _finding(Code.POWER_SAVING, governor=environment.governor)


def _is_here(broker: BrokerFacts) -> bool:
    """Whether the broker runs on this machine, as far as its address tells."""
    host = broker.bootstrap.split(",")[0].rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _of_samples(evidence: Evidence) -> Iterator[Finding]:
    """The first percentile that people look for and that there are too few ticks to know."""
    total = _hop(evidence, "end_to_end")
    if total is None:
        return
    for name, percent in PERCENTILES_EXPECTED:
        if total.percentiles_ns.get(name) is None:
            needed = round(MIN_SAMPLES_BEYOND / (1 - percent / 100))
            yield _finding(Code.FEW_SAMPLES, percentile=name, needed=needed, count=total.count)
            return


def _of_setting(config: RunConfig, broker: BrokerFacts) -> Iterator[Finding]:
    if config.as_fast_as_possible:
        yield Finding(code=Code.NO_SCHEDULE)
    if config.delays_injected:
        yield _finding(Code.DELAYS_INJECTED)
    if broker.kind == "embedded":
        yield Finding(code=Code.EMBEDDED_BROKER)
