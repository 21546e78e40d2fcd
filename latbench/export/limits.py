"""A run held against the limits of `--fail-on`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from latbench.errors import ExitCode
from latbench.findings import is_valid
from latbench.histogram import MIN_SAMPLES_BEYOND
from latbench.result import HopSummary, RunResult, RunStatus
from latbench.thresholds import Threshold
from latbench.units import format_latency

HELD: Final = "held"
BROKEN: Final = "broken"
UNKNOWN: Final = "unknown"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, and what the run had."""

    limit: Threshold
    value_ns: float | None
    """None where too few ticks tell it."""

    @property
    def is_broken(self) -> bool:
        """Whether the value is known and beyond the limit."""
        return self.value_ns is not None and not self.limit.allows(self.value_ns)

    @property
    def verdict(self) -> str:
        """`held`, `broken` or `unknown`."""
        if self.value_ns is None:
            return UNKNOWN
        return BROKEN if self.is_broken else HELD

    def __str__(self) -> str:
        subject, bound = self.limit.subject, f"{self.limit.operator} {self._limit}"
        if self.value_ns is not None:
            value = format_latency(self.value_ns)
            if value == self._limit:  # which of them is larger, three digits don't tell
                value = f"{self.value_ns:,.0f} ns"
            return f"{subject} is {value}, the limit is {bound}"
        if self.limit.percent is None:
            return f"{subject} has no tick to tell whether it is {bound}"
        return (
            f"fewer than {MIN_SAMPLES_BEYOND} ticks lie above {subject}: too few to tell whether "
            f"it is {bound}"
        )

    @property
    def _limit(self) -> str:
        return format_latency(self.limit.limit_ns)


def judge(hops: Sequence[HopSummary], limits: Sequence[Threshold]) -> tuple[Judged, ...]:
    """Each limit against the hops' figures."""
    return tuple(Judged(limit=limit, value_ns=limit.read(hops)) for limit in limits)


def doubt(result: RunResult) -> str:
    """Why the figures can't be believed, in a few words; "" where they can."""
    if result.status is RunStatus.FAILED:
        return f"the run failed: {result.failure or 'for an unknown reason'}"
    if result.status is RunStatus.RUNNING:
        return "the run goes on"
    return "" if is_valid(result) else "the run is no valid measurement: see its findings"


def exit_code(judged: Sequence[tuple[RunResult, Sequence[Judged]]]) -> ExitCode:
    """What a command ends with that was asked to hold runs against limits: the worst of all.

    A run that can't be believed neither holds nor breaks a limit; nor does a value that too few
    ticks tell.
    """
    limited = [(result, verdicts) for result, verdicts in judged if verdicts]
    believed = [verdicts for result, verdicts in limited if not doubt(result)]
    if any(each.is_broken for verdicts in believed for each in verdicts):
        return ExitCode.REGRESSION
    unknown = any(each.value_ns is None for verdicts in believed for each in verdicts)
    return ExitCode.INVALID if unknown or len(believed) < len(limited) else ExitCode.OK
