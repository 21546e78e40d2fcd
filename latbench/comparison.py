"""What a comparison of two sides gave: plain values that its report and its files are made from.

Side A is the base, side B what is new. The unit is one run's statistic, never a tick: ticks of one
run depend on each other.
"""

from __future__ import annotations

import enum

import msgspec

from latbench.gates import Gate


class Verdict(enum.StrEnum):
    """What a gate, or all of them together, say."""

    PASS = "pass"  # noqa: S105 (a verdict, no password)
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    """The interval reaches to both sides of what is allowed."""
    INCOMPARABLE = "incomparable"
    """Two different things were measured, or a run's figures can't be believed."""


class Allowed(enum.StrEnum):
    """What decided how much a gate allows."""

    MARGIN = "margin"
    FLOOR = "floor"
    """The least change in nanoseconds that anybody cares about is a larger share."""
    CALIBRATION = "calibration"
    """The machine's own noise, measured with A against A, is larger."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How one statistic of one hop differs between the sides; None where it is not known."""

    hop: str
    statistic: str
    base_ns: float | None
    new_ns: float | None
    """The medians over the runs of A and of B."""
    ratio: float | None
    """B over A: the Hodges–Lehmann estimate."""
    ratio_low: float | None
    ratio_high: float | None
    """What it lies between with probability `confidence`; None: no bound from so few runs."""
    shift_ns: float | None
    """B less A, estimated alike."""
    shift_low_ns: float | None
    shift_high_ns: float | None
    confidence: float

    @property
    def subject(self) -> str:
        """`end_to_end.p99`."""
        return f"{self.hop}.{self.statistic}"

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no change out."""
        low, high = self.ratio_low, self.ratio_high
        return (low is not None and low > 1) or (high is not None and high < 1)


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one gate."""

    gate: Gate
    allowed: float
    """The share that B may be above A by."""
    allowed_by: Allowed
    change: Change
    verdict: Verdict


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the way whose change explains a total's, by the same statistic."""

    subject: str
    """Of the total: `end_to_end.p99`."""
    hop: str
    shift_ns: float
    total_shift_ns: float
    """The total's change by the same measure as the part's."""
    is_sure: bool = True
    """Whether the part's own interval leaves no change out; else it is only the likeliest."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the same on both sides."""

    name: str
    base: str
    new: str


class Unfit(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose figures can't be compared."""

    run: str
    """Its file, or its number in a session."""
    side: str
    """`A` or `B`."""
    why: str
    """In words, without a full stop."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that two sides say of each other."""

    verdict: Verdict
    base_runs: int
    new_runs: int
    """Runs that count, of each side."""
    gates: tuple[GateResult, ...]
    changes: tuple[Change, ...]
    """Of every hop, at p50, p90, p99 and the mean: diagnosis, with no say in the verdict."""
    blames: tuple[Blame, ...]
    mismatches: tuple[Difference, ...]
    """Of machine, broker and load: each makes the sides incomparable."""
    differences: tuple[Difference, ...]
    """Of settings and software: what is being compared."""
    unfit: tuple[Unfit, ...]


def overall(gates: tuple[GateResult, ...]) -> Verdict:
    """One verdict of all gates: the gravest."""
    verdicts = {each.verdict for each in gates}
    if Verdict.REGRESSION in verdicts:
        return Verdict.REGRESSION
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE
