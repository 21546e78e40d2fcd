"""Finding the highest rate that holds an SLO: run after run, as the search asks for them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from latbench import __version__
from latbench.arrivals import Arrivals
from latbench.assignment import Assignment, assign
from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.config import MAX_AUTO_WARMUP_NS, MAX_RATE_HZ, RunConfig
from latbench.endings import Endings
from latbench.errors import LatbenchError, UsageError
from latbench.knee import Ending, Knee, Probe, search
from latbench.queueing import fit
from latbench.result import BrokerFacts, Environment, RunStatus, Snapshot
from latbench.run_directory import run_directory
from latbench.saturation import find_saturation
from latbench.signals import Interrupted
from latbench.spool import spool_path
from latbench.supervisor import Observer, Outcome
from latbench.supervisor import run as supervise
from latbench.sweep_points import Backlog, Overloaded, make_point, overloaded_point, verdict_of
from latbench.sweep_result import SweepPlan, SweepPoint, SweepResult, SweepStatus, steady_values
from latbench.units import format_count, format_duration, format_rate

DEFAULT_FROM_HZ: Final = 1000
DEFAULT_TO_HZ: Final = MAX_RATE_HZ
DEFAULT_RESOLUTION: Final = 0.05
MIN_RESOLUTION: Final = 0.005
MAX_RESOLUTION: Final = 0.5
DEFAULT_DURATION_NS: Final = 10 * NS_PER_S
DEFAULT_COOL_DOWN_NS: Final = 2 * NS_PER_S

WARMUP_LIMIT_NS: Final = 20 * NS_PER_S
"""Of `--warmup auto` from the second point on: the broker is warm, and what has not settled twice
as long as the least that it takes is a queue that grows. The first point may take two minutes."""
MAX_POINT_NS: Final = 600 * NS_PER_S
_START_NS: Final = 3 * NS_PER_S
"""For processes to start and end, and a result to be written."""

_SPARE: Final[Mapping[Arrivals, float]] = {
    Arrivals.CONSTANT: 1.01,
    Arrivals.POISSON: 1.1,
    Arrivals.BURST: 1.5,
}
"""So many times the ticks that a percentile needs: at random there may be fewer than expected."""

_STATUS: Final[Mapping[Ending, SweepStatus]] = {
    Ending.FOUND: SweepStatus.FOUND,
    Ending.NONE_HOLDS: SweepStatus.NONE_HOLDS,
    Ending.INCONCLUSIVE: SweepStatus.INCONCLUSIVE,
}

Run = Callable[[Assignment, Observer], Outcome]
Rest = Callable[[int], int]
"""Waits so many nanoseconds, or until a signal asks for the end, whose number it gives; else 0."""


class Watcher(Protocol):
    """Who shows a sweep while it goes on."""

    def begin(self, number: int, probe: Probe) -> None:
        """A point is about to be measured."""

    def update(self, snapshot: Snapshot) -> None:
        """How it is going, four times a second."""

    def end(self, point: SweepPoint) -> None:
        """It has been measured."""


class SweepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a sweep ended, and what it gave."""

    result: SweepResult
    signal: int = 0
    """The signal that ended it early; 0: none."""
    hint: str = ""
    """What to do about its failure."""


def check_plan(plan: SweepPlan, arrivals: Arrivals) -> None:
    """Raise `UsageError` for a plan that can't be carried out in reasonable time."""
    if plan.from_hz > plan.to_hz:
        raise UsageError(
            f"--from {format_count(plan.from_hz)} is above --to {format_count(plan.to_hz)}",
            f"write --from {plan.to_hz} --to {plan.from_hz}",
        )
    longest_ns = point_duration_ns(plan, plan.from_hz, arrivals)
    if longest_ns > max(MAX_POINT_NS, plan.duration_ns):
        slo = max(plan.slos, key=lambda each: each.ticks_needed)
        raise UsageError(
            f"{slo.subject} takes {format_count(slo.ticks_needed)} ticks to be known: "
            f"{format_duration(longest_ns)} at {format_rate(plan.from_hz)}",
            f"write --from {_rate_within(plan, arrivals)}, or bound a lower percentile",
        )


def point_duration_ns(plan: SweepPlan, rate_hz: int, arrivals: Arrivals) -> int:
    """How long a rate is measured: `plan.duration_ns`, or as long as its percentiles take."""
    ticks = max(slo.ticks_needed for slo in plan.slos) * _SPARE[arrivals]
    step_ns = 100 * NS_PER_MS
    needed_ns = -(-int(ticks * NS_PER_S / rate_hz) // step_ns) * step_ns
    return max(plan.duration_ns, needed_ns)


def longest_point_ns(plan: SweepPlan, arrivals: Arrivals) -> int:
    """What a point takes at most, its rest included; a cold broker's first one may take longer."""
    warmup_ns = WARMUP_LIMIT_NS if plan.warmup_ns is None else plan.warmup_ns
    measured_ns = point_duration_ns(plan, plan.from_hz, arrivals)
    return _START_NS + warmup_ns + measured_ns + plan.cool_down_ns


def _rate_within(plan: SweepPlan, arrivals: Arrivals) -> int:
    """The lowest rate, to one digit, whose point is no longer than it may be."""
    rate_hz = 1
    while point_duration_ns(plan, rate_hz, arrivals) > MAX_POINT_NS:
        digit = 10 ** (len(str(rate_hz)) - 1)
        rate_hz += digit
    return rate_hz


def sweep(
    plan: SweepPlan,
    config: RunConfig,
    directory: Path,
    watcher: Watcher,
    *,
    keep: bool = False,
    run: Run = supervise,
    rest: Rest | None = None,
) -> SweepOutcome:
    """Measure rates until the answer is found; `config` tells the pipeline.

    With `keep` each point's result file stays in `directory`; else they lie beside it while they
    are needed.
    A signal or a failure ends the sweep, and what was measured by then is in the result. Raises
    `LatbenchError` or `Interrupted` where that is nothing.
    """
    with Endings() as endings, run_directory(directory, keep=keep) as runs:
        session = _Session(plan, config, runs, watcher, run, keep=keep)
        try:
            return session.go(rest or endings.rest)
        except OSError as error:
            raise LatbenchError(f"can't write {directory}: {error}", "choose --output") from None


class _Session:
    """The state of a sweep that goes on."""

    def __init__(
        self,
        plan: SweepPlan,
        config: RunConfig,
        directory: Path,
        watcher: Watcher,
        run: Run,
        *,
        keep: bool,
    ) -> None:
        self._plan = plan
        self._config = config
        self._directory = directory
        self._watcher = watcher
        self._run = run
        self._keep = keep
        self._started_unix_ns = time.time_ns()
        self._started_ns = monotonic_ns()
        self._points: list[SweepPoint] = []
        self._environment: Environment | None = None
        self._broker: BrokerFacts | None = None

    def go(self, rest: Rest) -> SweepOutcome:
        """Until the search has ended, or someone or something ends it."""
        try:
            knee = self._search(rest)
        except Interrupted as interrupted:
            if not self._points:
                raise
            return SweepOutcome(
                result=self._result(SweepStatus.INTERRUPTED), signal=interrupted.signum
            )
        except LatbenchError as error:
            if not self._points:
                raise
            result = self._result(SweepStatus.FAILED, failure=error.message)
            return SweepOutcome(result=result, hint=error.hint)
        return SweepOutcome(result=self._result(_STATUS[knee.ending], knee))

    def _search(self, rest: Rest) -> Knee:
        going = search(self._plan.from_hz, self._plan.to_hz, self._plan.resolution)
        probe = next(going)
        while True:
            point = self._measure(probe)
            self._points.append(point)
            self._watcher.end(point)
            try:
                probe = going.send(verdict_of(point))
            except StopIteration as ended:
                knee: Knee = ended.value
                return knee
            if signum := rest(self._plan.cool_down_ns):
                raise Interrupted(signum)

    def _measure(self, probe: Probe) -> SweepPoint:
        """One run, and what it says of its rate."""
        number, plan = len(self._points) + 1, self._plan
        config = self._config_at(probe.rate_hz)
        path = self._directory / f"{number:03}-{probe.rate_hz}.parquet"
        is_first = not self._points
        backlog = Backlog(probe.rate_hz, config.arrivals, plan.slos, cold=is_first)

        def observe(snapshot: Snapshot) -> None:
            self._watcher.update(snapshot)
            backlog.note(snapshot)

        self._watcher.begin(number, probe)
        try:
            outcome = self._run(assign(config, path), observe)
        except Overloaded as told:
            shutil.rmtree(spool_path(path), ignore_errors=True)
            return overloaded_point(number, probe, plan.slos, told)
        result = outcome.result
        if outcome.signal:
            raise Interrupted(outcome.signal)
        if result.status is RunStatus.FAILED:
            tail = "; ".join(outcome.log_tail)
            raise LatbenchError(result.failure, f"its log ends: {tail}" if tail else "")
        self._environment, self._broker = result.environment, result.broker
        if not self._keep:
            path.unlink(missing_ok=True)
        kept = str(path) if self._keep else ""
        return make_point(number, probe, result, plan.slos, backlog.growth_ns, kept)

    def _config_at(self, rate_hz: int) -> RunConfig:
        plan = self._plan
        limit_ns = WARMUP_LIMIT_NS if self._points else MAX_AUTO_WARMUP_NS
        return msgspec.structs.replace(
            self._config,
            tick_rate_hz=rate_hz,
            duration_ns=point_duration_ns(plan, rate_hz, self._config.arrivals),
            warmup_ns=limit_ns if plan.warmup_ns is None else plan.warmup_ns,
            warmup_auto=plan.warmup_ns is None,
        )

    def _result(
        self, status: SweepStatus, knee: Knee | None = None, *, failure: str = ""
    ) -> SweepResult:
        points = tuple(self._points)
        return conclude(
            SweepResult(
                latbench=__version__,
                status=status,
                failure=failure,
                started_unix_ns=self._started_unix_ns,
                elapsed_ns=monotonic_ns() - self._started_ns,
                plan=self._plan,
                config=self._config.without_secrets(),
                environment=self._environment,
                broker=self._broker,
                points=points,
                knee=knee,
                saturation=None,
                fit=None,
            )
        )


def conclude(result: SweepResult) -> SweepResult:
    """The result with what follows from its points: who is at a limit, and the curve."""
    return msgspec.structs.replace(
        result,
        saturation=find_saturation(result.points, result.highest_held_hz),
        fit=fit(steady_values(result.points)),
    )
