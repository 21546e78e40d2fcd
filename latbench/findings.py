"""Facts of a run that a reader of its figures must know: which there are, how grave, in what words.

A `Finding` is stored as a code and its values; the prose stands here and nowhere else.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.errors import UsageError
from latbench.result import Finding, RunResult
from latbench.units import format_count, format_duration, format_latency, format_rate


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
    TICKS_MISSED = "ticks-missed"
    SUBSCRIBERS_MISSED = "subscribers-missed"
    RING_OVERRUN = "ring-overrun"
    NEGATIVE_LATENCY = "negative-latency"
    WARMUP_UNSETTLED = "warmup-unsettled"
    LATENCY_DRIFTED = "latency-drifted"
    HICCUPS = "hiccups"
    GENERATOR_LATE = "generator-late"
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
    CONSUMER_ERRORS = "consumer-errors"
    SUBSCRIBERS_ENDED = "subscribers-ended"
    CPU_STOLEN = "cpu-stolen"
    FEW_CPUS = "few-cpus"
    POWER_SAVING = "power-saving"
    FEW_SAMPLES = "few-samples"
    WARMUP_SETTLED = "warmup-settled"
    SOURCE_SKIPPED = "source-skipped"
    NO_SCHEDULE = "no-schedule"
    EMBEDDED_BROKER = "embedded-broker"
    DELAYS_INJECTED = "delays-injected"


SEVERITY: Final[Mapping[Code, Severity]] = {
    Code.NOTHING_MEASURED: Severity.INVALID,
    Code.TICKS_LOST: Severity.INVALID,
    Code.TICKS_MISSED: Severity.INVALID,
    Code.SUBSCRIBERS_MISSED: Severity.INVALID,
    Code.RING_OVERRUN: Severity.INVALID,
    Code.NEGATIVE_LATENCY: Severity.INVALID,
    Code.WARMUP_UNSETTLED: Severity.WARNING,
    Code.LATENCY_DRIFTED: Severity.WARNING,
    Code.HICCUPS: Severity.WARNING,
    Code.GENERATOR_LATE: Severity.WARNING,
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
    Code.CONSUMER_ERRORS: Severity.WARNING,
    Code.SUBSCRIBERS_ENDED: Severity.WARNING,
    Code.CPU_STOLEN: Severity.WARNING,
    Code.FEW_CPUS: Severity.WARNING,
    Code.POWER_SAVING: Severity.WARNING,
    Code.FEW_SAMPLES: Severity.INFO,
    Code.WARMUP_SETTLED: Severity.INFO,
    Code.SOURCE_SKIPPED: Severity.INFO,
    Code.NO_SCHEDULE: Severity.INFO,
    Code.EMBEDDED_BROKER: Severity.INFO,
    Code.DELAYS_INJECTED: Severity.WARNING,
}

_PROSE: Final[Mapping[Code, str]] = {
    Code.NOTHING_MEASURED: "no tick was measured: the run ended in its warm-up",
    Code.TICKS_LOST: (
        "{lost} of {sent} ticks never reached the consumer, and no percentile has them"
    ),
    Code.TICKS_MISSED: (
        "{missed} ticks between the first and the last that came never did, and no percentile has "
        "them"
    ),
    Code.SUBSCRIBERS_MISSED: (
        "{missed} of {expected} ticks never reached their subscriber, and no percentile of fanout "
        "has them: {short} of {subscribers} subscribers missed some"
    ),
    Code.RING_OVERRUN: "{rows} rows found their ring full: the supervisor did not keep up",
    Code.NEGATIVE_LATENCY: "{count} latencies of {hop} are below zero: two clocks disagree",
    Code.WARMUP_UNSETTLED: (
        "the latency had not settled after a warm-up of {waited}, so measuring began regardless"
    ),
    Code.LATENCY_DRIFTED: (
        "end_to_end's p50 went from {first} in the first third to {last} in the last, more than "
        "its noise: {cause}"
    ),
    Code.HICCUPS: (
        "the {process} woke {hiccup} late at {percentile}, of end_to_end's {latency}: stalls, of "
        "the machine or for want of a CPU, are as large as the tail"
    ),
    Code.GENERATOR_LATE: (
        "the generator was late by {late} at p99, of end_to_end's {latency}: the load was not as "
        "scheduled"
    ),
    Code.CUT_OFF: (
        "the rows end while ticks were on their way: {lost} of them stand as not consumed"
    ),
    Code.RATE_MISSED: "the rate was {achieved} instead of {scheduled} ({percent:+.2f} %)",
    Code.LATENCY_OUT_OF_RANGE: "{count} latencies of {hop} are above 24 h and in no percentile",
    Code.DUPLICATES: "{count} ticks were consumed twice; the first time counts",
    Code.REORDERED: "{count} ticks were consumed after a later one of their partition",
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
    Code.CONSUMER_ERRORS: "the consumer reported {count} errors and went on",
    Code.SUBSCRIBERS_ENDED: "the relay sent {ended} of {subscribers} subscribers away",
    Code.CPU_STOLEN: "the hypervisor took {percent:.1f} % of the CPU time for other machines",
    Code.FEW_CPUS: (
        "{cpus} for {processes} processes that each tick passes through: they wait for one another"
    ),
    Code.POWER_SAVING: (
        "the CPU governor is {governor}: clocks fall while nothing is due, and ticks pay for it"
    ),
    Code.FEW_SAMPLES: (
        "{percentile} of end_to_end takes {needed} measured ticks, there are {count}: it is not "
        "shown"
    ),
    Code.WARMUP_SETTLED: "the latency had settled after a warm-up of {waited}",
    Code.SOURCE_SKIPPED: "{count} lines of the capture hold no message and were skipped",
    Code.NO_SCHEDULE: (
        "at --speed max nothing is due: latency counts from sending, so the generator's own "
        "lateness does not show"
    ),
    Code.DELAYS_INJECTED: (
        "`latbench selftest` held ticks up by known delays: these are not the pipeline's figures"
    ),
    Code.EMBEDDED_BROKER: (
        "the kafka hop is librdkafka's mock cluster, not Kafka: it tests the pipeline; for "
        "Kafka's figures give --broker host:port"
    ),
}


def _as_is(value: float | str) -> object:
    return value


def _count(value: float | str) -> object:
    return format_count(int(value))


def _latency(value: float | str) -> object:
    return format_latency(float(value))


def _rate(value: float | str) -> object:
    return format_rate(float(value))


def _times(value: float | str) -> object:
    return "once" if int(value) == 1 else f"{int(value):,} times"


def _cpus(value: float | str) -> object:
    return "1 CPU" if int(value) == 1 else f"{int(value)} CPUs"


def _waited(value: float | str) -> object:
    return format_duration(round(int(value) / NS_PER_S) * NS_PER_S)


_FORMATS: Final[Mapping[str, Callable[[float | str], object]]] = {
    **dict.fromkeys(("lost", "sent", "rows", "count", "needed"), _count),
    **dict.fromkeys(("missed", "expected", "ended", "short", "subscribers"), _count),
    **dict.fromkeys(("duration", "first", "last", "hiccup", "latency", "late"), _latency),
    **dict.fromkeys(("achieved", "scheduled"), _rate),
    "times": _times,
    "cpus": _cpus,
    "waited": _waited,
}
"""How values are written, by their name; all others are written as they are."""


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
    try:
        values = {name: _FORMATS.get(name, _as_is)(value) for name, value in finding.values.items()}
        if finding.code == Code.LATENCY_DRIFTED:
            falls = float(finding.values.get("last", 0)) < float(finding.values.get("first", 0))
            values["cause"] = (
                "the warm-up was too short" if falls else "it does not keep up, or it ages"
            )
        return prose.format(**values)
    except (KeyError, ValueError):  # written by a version that gave other values
        return f"{finding.code}: {finding.values}"


def is_valid(result: RunResult) -> bool:
    """Whether the figures may be believed."""
    return all(
        finding.allowed or severity(finding) is not Severity.INVALID for finding in result.findings
    )


def parse_allowed(codes: Sequence[str]) -> tuple[str, ...]:
    """The codes of `--allow`, each once; `UsageError` for one that is not looked for."""
    for code in codes:
        if code not in set(Code):
            near = difflib.get_close_matches(code, list(Code), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(Code)}"
            raise UsageError(f"finding {code!r} is not there to allow", hint)
    return tuple(dict.fromkeys(codes))
