"""Facts of a run that a reader of its figures must know: which there are, how grave, in what words.

A `Finding` is stored as a code and its values; the prose stands here and nowhere else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final

from latbench.config import RunConfig
from latbench.result import BrokerFacts, Counts, Finding, HopSummary, RunResult, RunStatus
from latbench.tick import HOP_BY_NAME, HopKind
from latbench.units import format_count, format_latency, format_rate

RATE_TOLERANCE: Final = 0.001
"""The achieved rate may differ from the scheduled one by 0.1 %."""


class Severity(enum.StrEnum):
    """What a finding means for the figures."""

    INFO = "info"
    WARNING = "warning"
    INVALID = "invalid"
    """They can't be believed: the command exits 4."""


class Code(enum.StrEnum):
    """Every fact that is looked for."""

    NOTHING_MEASURED = "nothing-measured"
    TICKS_LOST = "ticks-lost"
    RING_OVERRUN = "ring-overrun"
    NEGATIVE_LATENCY = "negative-latency"
    CUT_OFF = "cut-off"
    RATE_MISSED = "rate-missed"
    LATENCY_OUT_OF_RANGE = "latency-out-of-range"
    DUPLICATES = "duplicates"
    REORDERED = "reordered"
    DELIVERY_ERRORS = "delivery-errors"
    RELAY_BACKPRESSURE = "relay-backpressure"
    GENERATOR_BACKPRESSURE = "generator-backpressure"
    UNKNOWN_MESSAGES = "unknown-messages"
    MALFORMED_MESSAGES = "malformed-messages"
    SOURCE_SKIPPED = "source-skipped"
    NO_SCHEDULE = "no-schedule"
    EMBEDDED_BROKER = "embedded-broker"


SEVERITY: Final[Mapping[Code, Severity]] = {
    Code.NOTHING_MEASURED: Severity.INVALID,
    Code.TICKS_LOST: Severity.INVALID,
    Code.RING_OVERRUN: Severity.INVALID,
    Code.NEGATIVE_LATENCY: Severity.INVALID,
    Code.CUT_OFF: Severity.WARNING,
    Code.RATE_MISSED: Severity.WARNING,
    Code.LATENCY_OUT_OF_RANGE: Severity.WARNING,
    Code.DUPLICATES: Severity.WARNING,
    Code.REORDERED: Severity.WARNING,
    Code.DELIVERY_ERRORS: Severity.WARNING,
    Code.RELAY_BACKPRESSURE: Severity.WARNING,
    Code.GENERATOR_BACKPRESSURE: Severity.WARNING,
    Code.UNKNOWN_MESSAGES: Severity.WARNING,
    Code.MALFORMED_MESSAGES: Severity.WARNING,
    Code.SOURCE_SKIPPED: Severity.INFO,
    Code.NO_SCHEDULE: Severity.INFO,
    Code.EMBEDDED_BROKER: Severity.INFO,
}

_PROSE: Final[Mapping[Code, str]] = {
    Code.NOTHING_MEASURED: "no tick was measured: the run ended in its warm-up",
    Code.TICKS_LOST: (
        "{lost} of {sent} ticks never reached the consumer: the percentiles lack the slowest"
    ),
    Code.RING_OVERRUN: "{rows} rows found their ring full: the supervisor did not keep up",
    Code.NEGATIVE_LATENCY: "{count} latencies of {hop} are below zero: two clocks disagree",
    Code.CUT_OFF: (
        "the rows end while ticks were on their way: {lost} of them stand as not consumed"
    ),
    Code.RATE_MISSED: "the rate was {achieved} instead of {scheduled} ({percent:+.2f} %)",
    Code.LATENCY_OUT_OF_RANGE: "{count} latencies of {hop} are above 24 h and in no percentile",
    Code.DUPLICATES: "{count} ticks were consumed twice; the first time counts",
    Code.REORDERED: "{count} ticks were consumed after a later one of their symbol",
    Code.DELIVERY_ERRORS: "the producer refused or gave up {count} ticks",
    Code.RELAY_BACKPRESSURE: (
        "the producer's queue was full {times}, {duration} in all: the relay stopped reading"
    ),
    Code.GENERATOR_BACKPRESSURE: (
        "the socket to the relay was full {times}, {duration} in all: the generator waited, "
        "which counts as schedule"
    ),
    Code.UNKNOWN_MESSAGES: "{count} messages on the topic are no ticks of this run",
    Code.MALFORMED_MESSAGES: "{count} messages at the relay were no ticks and went nowhere",
    Code.SOURCE_SKIPPED: "{count} lines of the capture hold no message and were skipped",
    Code.NO_SCHEDULE: (
        "at --speed max nothing is due: latency counts from sending, so the generator's own "
        "lateness does not show"
    ),
    Code.EMBEDDED_BROKER: (
        "the kafka hop is librdkafka's mock cluster, not Kafka: it tests the pipeline; for "
        "Kafka's figures give --broker host:port"
    ),
}


def severity(finding: Finding) -> Severity:
    """How grave a finding is; one of a later version that is not known here is a warning."""
    try:
        return SEVERITY[Code(finding.code)]
    except ValueError:
        return Severity.WARNING


def describe(finding: Finding) -> str:
    """A finding in words, on one line."""
    try:
        prose = _PROSE[Code(finding.code)]
    except ValueError:
        return f"{finding.code}: {finding.values}"
    values: dict[str, object] = dict(finding.values)
    for name in ("lost", "sent", "rows", "count"):
        if name in values:
            values[name] = format_count(int(finding.values[name]))
    if "times" in values:
        times = int(finding.values["times"])
        values["times"] = "once" if times == 1 else f"{times:,} times"
    if "ns" in values:
        values["duration"] = format_latency(int(finding.values["ns"]))
    for name in ("achieved", "scheduled"):
        if name in values:
            values[name] = format_rate(float(finding.values[name]))
    try:
        return prose.format(**values)
    except KeyError:  # written by a version that gave other values
        return f"{finding.code}: {finding.values}"


def is_valid(result: RunResult) -> bool:
    """Whether the figures may be believed."""
    return all(severity(finding) is not Severity.INVALID for finding in result.findings)


def judge(
    *,
    config: RunConfig,
    broker: BrokerFacts,
    counts: Counts,
    hops: tuple[HopSummary, ...],
    scheduled_hz: float,
    achieved_hz: float,
    status: RunStatus,
) -> tuple[Finding, ...]:
    """All that is to be said of a run, gravest first."""
    found = [
        *_of_counts(counts, status),
        *_of_hops(hops),
        *_of_rate(config, scheduled_hz, achieved_hz),
        *_of_setting(config, broker),
    ]
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: -order.index(severity(finding))))


def _of_counts(counts: Counts, status: RunStatus) -> Iterator[Finding]:
    if not counts.measured:
        yield Finding(code=Code.NOTHING_MEASURED)
    if counts.lost and status in {RunStatus.RECOVERED, RunStatus.RUNNING}:
        yield Finding(code=Code.CUT_OFF, values={"lost": counts.lost})
    elif counts.lost:
        yield Finding(code=Code.TICKS_LOST, values={"lost": counts.lost, "sent": counts.sent})
    if counts.ring_overruns:
        yield Finding(code=Code.RING_OVERRUN, values={"rows": counts.ring_overruns})
    for code, count in (
        (Code.DUPLICATES, counts.duplicates),
        (Code.REORDERED, counts.reordered),
        (Code.DELIVERY_ERRORS, counts.delivery_errors),
        (Code.UNKNOWN_MESSAGES, counts.unknown),
        (Code.MALFORMED_MESSAGES, counts.malformed),
        (Code.SOURCE_SKIPPED, counts.source_skipped),
    ):
        if count:
            yield Finding(code=code, values={"count": count})
    for code, times, waited_ns in (
        (Code.RELAY_BACKPRESSURE, counts.relay_backpressure, counts.relay_backpressure_ns),
        (
            Code.GENERATOR_BACKPRESSURE,
            counts.generator_backpressure,
            counts.generator_backpressure_ns,
        ),
    ):
        if times:
            yield Finding(code=code, values={"times": times, "ns": waited_ns})


def _of_hops(hops: tuple[HopSummary, ...]) -> Iterator[Finding]:
    for summary in hops:
        if HOP_BY_NAME[summary.hop].kind not in {HopKind.PART, HopKind.TOTAL}:
            continue
        if summary.negative:
            yield _of_hop(Code.NEGATIVE_LATENCY, summary.hop, summary.negative)
        if summary.out_of_range:
            yield _of_hop(Code.LATENCY_OUT_OF_RANGE, summary.hop, summary.out_of_range)


def _of_hop(code: Code, hop: str, count: int) -> Finding:
    return Finding(code=code, values={"hop": hop, "count": count})


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


def _of_setting(config: RunConfig, broker: BrokerFacts) -> Iterator[Finding]:
    if config.as_fast_as_possible:
        yield Finding(code=Code.NO_SCHEDULE)
    if broker.kind == "embedded":
        yield Finding(code=Code.EMBEDDED_BROKER)
