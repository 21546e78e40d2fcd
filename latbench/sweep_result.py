"""What a sweep gave: plain values that its report, its file and its pictures are made from."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Mapping
from typing import Final

import msgspec

from latbench.config import RunConfig
from latbench.knee import Knee, Purpose
from latbench.queueing import Fit
from latbench.result import (
    BrokerFacts,
    ClientFigures,
    Environment,
    Finding,
    HopSummary,
    MachineFigures,
)
from latbench.thresholds import Threshold

SWEEP_SCHEMA_VERSION: Final = 1
"""Of the sweep's file.

1 (0.1.0): a row a point; metadata `latbench.sweep` holds a `SweepResult` as JSON.
"""

STEADY_GROWTH_NS: Final = 100_000_000
"""A backlog that has grown by more time than this from the beginning of a point to its end has no
latency of its own: it would be more in a longer point."""


class SweepStatus(enum.StrEnum):
    """How a sweep ended."""

    FOUND = "found"
    NONE_HOLDS = "none-holds"
    INCONCLUSIVE = "inconclusive"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, where, and how long each rate is measured."""

    slos: tuple[Threshold, ...]
    """All of them must hold."""
    from_hz: int
    to_hz: int
    resolution: float
    """0.05: a rate 5 % above the answer fails."""
    duration_ns: int
    """The measured span of a point, at least."""
    warmup_ns: int | None
    """None: until the latency has settled."""
    cool_down_ns: int
    """Between the end of a point and the start of the next."""


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One rate, measured once."""

    number: int
    """From 1 on, in the order of measuring."""
    purpose: Purpose
    rate_hz: int
    """Ticks a second that were asked for."""
    holds: bool
    """Whether every SLO does, and the point is a valid measurement of its rate."""
    reasons: tuple[Finding, ...]
    """Why not; `latbench.sweep_points` has the prose."""
    overloaded: bool
    """It was ended early, because ticks piled up: it has no hops."""
    scheduled_rate_hz: float
    achieved_rate_hz: float
    warmup_ns: int
    measured_ns: int
    sent: int
    lost: int
    values_ns: tuple[float | None, ...]
    """The statistic of each SLO; None where it is not known."""
    hops: tuple[HopSummary, ...]
    cpu_shares: dict[str, float]
    """CPUs in use by process: 1.0 is one of them fully."""
    machine: MachineFigures | None
    backlog_growth_ns: int | None
    """By how much more time ticks were behind at the end of the measured span than at its begin;
    None: too short to tell."""
    relay_backpressure_ns: int
    generator_backpressure_ns: int
    client: ClientFigures | None
    findings: tuple[Finding, ...]
    """Of its run."""
    file: str = ""
    """Its run's result file, where that is kept."""

    @property
    def is_steady(self) -> bool:
        """Whether its latency is one that would last."""
        off = [reason for reason in self.reasons if reason.code != "slo-broken"]
        growth_ns = self.backlog_growth_ns or 0
        return not self.overloaded and not off and growth_ns <= STEADY_GROWTH_NS


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """What is at its limit first; `latbench.saturation` has the prose."""

    stage: str
    """`generator`, `relay`, `consumer`, `broker`, `machine` (its CPUs), or "": nothing is."""
    rate_hz: int
    """The lowest rate above the answer that it shows at."""
    evidence: tuple[Finding, ...]
    """The strongest first."""


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a sweep."""

    schema: int = SWEEP_SCHEMA_VERSION
    latbench: str
    """The version that wrote it."""
    status: SweepStatus
    failure: str = ""
    """Why a failed sweep failed, in one line."""
    started_unix_ns: int
    elapsed_ns: int
    plan: SweepPlan
    config: RunConfig
    """Of the points' runs; their rate, warm-up and duration stand in `plan` and `points`."""
    environment: Environment | None
    broker: BrokerFacts | None
    """None where no point was measured."""
    points: tuple[SweepPoint, ...]
    knee: Knee | None
    """None where the search did not come to its end."""
    saturation: Saturation | None
    fit: Fit | None
    """Of the first SLO's statistic; None: too few rates to fit a curve to."""

    @property
    def highest_held_hz(self) -> int | None:
        """The answer; where the search did not end, the highest rate that held more than not."""
        if self.knee is not None:
            return self.knee.rate_hz
        verdicts: dict[int, list[bool]] = {}
        for point in self.points:
            verdicts.setdefault(point.rate_hz, []).append(point.holds)
        held = [rate for rate, those in verdicts.items() if sum(those) * 2 > len(those)]
        return max(held, default=None)


def steady_values(points: tuple[SweepPoint, ...], slo: int = 0) -> Mapping[int, float]:
    """By rate the median of what its steady points measured of an SLO's statistic."""
    found: dict[int, list[float]] = {}
    for point in points:
        value_ns = point.values_ns[slo]
        if point.is_steady and value_ns is not None:
            found.setdefault(point.rate_hz, []).append(value_ns)
    return {rate: statistics.median(values) for rate, values in sorted(found.items())}
