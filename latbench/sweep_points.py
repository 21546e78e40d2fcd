"""One point of a sweep: whether ticks pile up while it goes on, and what is to be said of it after.

A point fails when an SLO does not hold, and also when its run does not tell: ticks were lost, the
rate was another one, the run is invalid. Why is kept as codes and values; the prose stands here.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.findings import Code, Severity, describe, severity
from latbench.knee import Probe, Verdict
from latbench.result import Finding, RunResult, Snapshot
from latbench.sweep_result import SweepPoint
from latbench.thresholds import Threshold
from latbench.units import format_count, format_duration, format_latency

RATE_TOLERANCE: Final = 0.01
"""A point is no measurement of its rate when that was missed by more than 1 %."""

GIVE_UP_NS: Final = 3 * NS_PER_S
"""A point whose ticks are so far behind has failed: no stall of a machine is that long."""
GIVE_UP_LIMITS: Final = 10
"""Or so many times the longest limit, where that is more."""
START_PATIENCE_NS: Final = 2 * NS_PER_S
COLD_PATIENCE_NS: Final = 40 * NS_PER_S
"""The first point may find a broker that has just started: its JVM takes 20 to 40 s (measured)."""

_THIRD: Final = 4
"""Looks in a third of the measured span that a growth takes at least: a second of them."""

SLO_BROKEN: Final = "slo-broken"
SLO_UNKNOWN: Final = "slo-unknown"
RATE_MISSED: Final = "rate-missed"
OVERLOADED: Final = "overloaded"

_PROSE: Final[Mapping[str, str]] = {
    SLO_BROKEN: "{subject} is {value}",
    SLO_UNKNOWN: "{subject} takes {needed} ticks, there are {count}",
    RATE_MISSED: "rate {percent:+.1f} % off",
    OVERLOADED: "{behind} behind after {after}",
    Code.TICKS_LOST: "{lost} of {sent} ticks were lost",
}
_WORDS: Final[Mapping[str, str]] = {
    SLO_UNKNOWN: "too few ticks",
    RATE_MISSED: "rate",
    Code.TICKS_LOST: "lost",
    Code.NOTHING_MEASURED: "nothing measured",
}


class Overloaded(Exception):  # noqa: N818 (an outcome, not an error)
    """Ticks pile up faster than they leave: the point is ended, it can only get worse."""

    def __init__(self, snapshot: Snapshot, behind_ns: int) -> None:
        super().__init__(behind_ns)
        self.snapshot = snapshot
        self.behind_ns = behind_ns


class Backlog:
    """How far behind a point's ticks are, by its snapshots.

    Ticks that are due and not consumed yet, divided by the rate: the time that they are behind
    (Little's law). With arrivals at random nobody knows how many are due, so those sent count.
    """

    def __init__(
        self, rate_hz: int, arrivals: Arrivals, slos: Sequence[Threshold], *, cold: bool
    ) -> None:
        self._rate_hz = rate_hz
        self._is_even = arrivals is Arrivals.CONSTANT
        limit_ns = max(slo.limit_ns for slo in slos)
        self._give_up_ns = max(GIVE_UP_NS, GIVE_UP_LIMITS * limit_ns)
        self._patience_ns = COLD_PATIENCE_NS if cold else START_PATIENCE_NS
        self._measured: list[int] = []

    def note(self, snapshot: Snapshot) -> None:
        """Look at a run that goes on; raises `Overloaded` when there is no use in it any more."""
        if snapshot.phase not in {"warm-up", "measuring"}:
            return
        behind_ns = self._behind_ns(snapshot)
        if snapshot.phase == "measuring":
            self._measured.append(behind_ns)
        if behind_ns > self._give_up_ns and snapshot.elapsed_ns > self._patience_ns:
            raise Overloaded(snapshot, behind_ns)

    def _behind_ns(self, snapshot: Snapshot) -> int:
        waiting = snapshot.in_flight
        if self._is_even:
            elapsed_ns = snapshot.elapsed_ns
            if snapshot.total_ns is not None:
                elapsed_ns = min(elapsed_ns, snapshot.total_ns)
            due = elapsed_ns * self._rate_hz // NS_PER_S
            waiting = max(due - snapshot.consumed - snapshot.lost, 0)
        return waiting * NS_PER_S // self._rate_hz

    @property
    def growth_ns(self) -> int | None:
        """The last third of the measured span against the first; None: too few looks at it.

        Each look is up to 50 ms old, which medians of several even out.
        """
        third = len(self._measured) // 3
        if third < _THIRD:
            return None
        first, last = self._measured[:third], self._measured[-third:]
        return round(statistics.median(last) - statistics.median(first))


def make_point(
    number: int,
    probe: Probe,
    result: RunResult,
    slos: Sequence[Threshold],
    backlog_growth_ns: int | None,
    file: str = "",
) -> SweepPoint:
    """The point that a whole run makes."""
    values_ns = tuple(slo.read(result.hops) for slo in slos)
    reasons = (*_of_slos(slos, values_ns, result.counts.measured), *_of_run(result))
    counts = result.counts
    return SweepPoint(
        number=number,
        purpose=probe.purpose,
        rate_hz=probe.rate_hz,
        holds=not reasons,
        reasons=reasons,
        overloaded=False,
        scheduled_rate_hz=result.target_rate_hz,
        achieved_rate_hz=result.achieved_rate_hz,
        warmup_ns=result.warmup_ns or 0,
        measured_ns=result.measured_ns,
        sent=counts.sent,
        lost=counts.lost,
        values_ns=values_ns,
        hops=result.hops,
        cpu_shares={each.process: each.cpu_share for each in result.processes if each.span_ns},
        machine=result.machine,
        backlog_growth_ns=backlog_growth_ns,
        relay_backpressure_ns=counts.relay_backpressure_ns,
        generator_backpressure_ns=counts.generator_backpressure_ns,
        client=result.client,
        findings=result.findings,
        file=file,
    )


def overloaded_point(
    number: int, probe: Probe, slos: Sequence[Threshold], told: Overloaded
) -> SweepPoint:
    """The point that was ended because ticks piled up."""
    snapshot = told.snapshot
    reason = _reason(OVERLOADED, behind=told.behind_ns, after=snapshot.elapsed_ns)
    return SweepPoint(
        number=number,
        purpose=probe.purpose,
        rate_hz=probe.rate_hz,
        holds=False,
        reasons=(reason,),
        overloaded=True,
        scheduled_rate_hz=float(probe.rate_hz),
        achieved_rate_hz=snapshot.sent * NS_PER_S / max(snapshot.elapsed_ns, 1),
        warmup_ns=0,
        measured_ns=0,
        sent=snapshot.sent,
        lost=snapshot.lost,
        values_ns=(None,) * len(slos),
        hops=(),
        cpu_shares={
            stage.stage: stage.cpu_share for stage in snapshot.stages if stage.cpu_share is not None
        },
        machine=None,
        backlog_growth_ns=told.behind_ns,
        relay_backpressure_ns=0,
        generator_backpressure_ns=0,
        client=None,
        findings=(),
    )


def verdict_of(point: SweepPoint) -> Verdict:
    """What the search makes of a point."""
    if point.holds:
        return Verdict.HOLDS
    return Verdict.FAILS_CLEARLY if point.overloaded else Verdict.FAILS


def describe_reason(reason: Finding) -> str:
    """Why a point fails, in words, on one line."""
    prose = _PROSE.get(reason.code)
    if prose is None:
        return describe(reason)
    values: dict[str, object] = dict(reason.values)
    for name, value in reason.values.items():
        match name:
            case "value" | "behind":
                values[name] = format_latency(float(value))
            case "after":
                values[name] = format_duration(round(float(value) / NS_PER_S) * NS_PER_S)
            case "needed" | "count" | "lost" | "sent":
                values[name] = format_count(int(value))
    return prose.format(**values)


def reason_word(reason: Finding) -> str:
    """The same in a word or two, for a table: `p99`, `rate`, `overloaded`."""
    if reason.code == SLO_BROKEN:
        return str(reason.values["subject"]).removeprefix("end_to_end.")
    return _WORDS.get(reason.code, reason.code)


def _reason(code: str, **values: float | str) -> Finding:
    return Finding(code=code, values=dict(values))


def _of_slos(
    slos: Sequence[Threshold], values_ns: Sequence[float | None], measured: int
) -> list[Finding]:
    reasons = []
    for slo, value_ns in zip(slos, values_ns, strict=True):
        if value_ns is None:
            needed = slo.ticks_needed
            reasons.append(_reason(SLO_UNKNOWN, subject=slo.subject, needed=needed, count=measured))
        elif not slo.allows(value_ns):
            reasons.append(_reason(SLO_BROKEN, subject=slo.subject, value=value_ns))
    return reasons


def _of_run(result: RunResult) -> list[Finding]:
    reasons = [
        Finding(code=found.code, values=found.values)
        for found in result.findings
        if severity(found) is Severity.INVALID
    ]
    scheduled_hz, achieved_hz = result.target_rate_hz, result.achieved_rate_hz
    missed = achieved_hz / scheduled_hz - 1 if scheduled_hz else 0.0
    if abs(missed) > RATE_TOLERANCE:
        reasons.append(_reason(RATE_MISSED, percent=round(missed * 100, 2)))
    return reasons
