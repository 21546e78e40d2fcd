"""A sweep from run to run, with runs that are made up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from latbench.arrivals import Arrivals
from latbench.assignment import Assignment
from latbench.clock import NS_PER_S, monotonic_ns
from latbench.config import MAX_AUTO_WARMUP_NS, RunConfig
from latbench.errors import LatbenchError, UsageError
from latbench.knee import Probe, Purpose
from latbench.result import RunStatus, Snapshot
from latbench.signals import Interrupted
from latbench.spool import spool_path
from latbench.supervisor import Observer, Outcome
from latbench.sweep import (
    WARMUP_LIMIT_NS,
    SweepOutcome,
    check_plan,
    longest_point_ns,
    point_duration_ns,
    sweep,
)
from latbench.sweep_result import SweepPlan, SweepPoint, SweepStatus
from tests.results import make_snapshot
from tests.sweeps import CAPACITY_HZ, make_plan, queue_result

Script = Callable[[int, int], Outcome]
"""Number and rate of a run to what comes of it."""


class Rig:
    """Runs that are made up, and a watcher that notes what it is told."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or self.queue
        self.configs: list[RunConfig] = []
        self.begun: list[tuple[int, Probe]] = []
        self.ended: list[SweepPoint] = []
        self.snapshots = 0
        self.rests: list[int] = []
        self.signal_at_rest = 0

    @staticmethod
    def queue(number: int, rate_hz: int) -> Outcome:
        del number
        return Outcome(result=queue_result(rate_hz))

    def run(self, assignment: Assignment, observe: Observer) -> Outcome:
        self.configs.append(assignment.config)
        rate_hz = assignment.config.tick_rate_hz
        if rate_hz > 2 * CAPACITY_HZ:  # ticks pile up
            spool_path(assignment.output).mkdir()
            observe(make_snapshot(elapsed_ns=60 * NS_PER_S, total_ns=None, consumed=10_000))
        observe(make_snapshot(elapsed_ns=NS_PER_S, total_ns=None, consumed=rate_hz))
        assignment.output.write_text("rows")
        return self.script(len(self.configs), rate_hz)

    def rest(self, rest_ns: int) -> int:
        self.rests.append(rest_ns)
        return self.signal_at_rest if len(self.rests) == 3 else 0

    def begin(self, number: int, probe: Probe) -> None:
        self.begun.append((number, probe))

    def update(self, snapshot: Snapshot) -> None:
        del snapshot
        self.snapshots += 1

    def end(self, point: SweepPoint) -> None:
        self.ended.append(point)

    def sweep(self, directory: Path, plan: SweepPlan | None = None, **options: Any) -> SweepOutcome:
        given = {"run": self.run, "rest": self.rest}
        return sweep(plan or make_plan(), RunConfig(), directory, self, **given | options)


def test_the_answer_is_found_and_everything_told(tmp_path: Path) -> None:
    rig = Rig()
    outcome = rig.sweep(tmp_path / "runs")
    result = outcome.result
    assert result.status is SweepStatus.FOUND
    assert result.knee is not None
    assert result.knee.rate_hz is not None
    # p99 of the queue is 1.31 ms without a load, so 5 ms at a load of 0.74
    assert 0.95 * 0.738 * CAPACITY_HZ <= result.knee.rate_hz <= 0.738 * CAPACITY_HZ
    assert [number for number, _ in rig.begun] == list(range(1, len(rig.ended) + 1))
    assert tuple(rig.ended) == result.points
    assert rig.snapshots >= len(rig.ended)
    assert rig.rests == [2 * NS_PER_S] * (len(rig.ended) - 1)  # none after the last
    assert result.fit is not None
    assert result.fit.curve.capacity_hz == pytest.approx(CAPACITY_HZ, rel=0.02)
    assert result.saturation is not None
    assert result.saturation.stage == "relay"
    assert result.environment is not None
    assert outcome.signal == 0


def test_each_point_is_a_run_at_its_rate_as_long_as_its_percentile_takes(tmp_path: Path) -> None:
    rig = Rig()
    rig.sweep(tmp_path / "runs")
    for config, (_, probe) in zip(rig.configs, rig.begun, strict=True):
        assert config.tick_rate_hz == probe.rate_hz
        assert config.duration_ns is not None
        assert config.duration_ns * probe.rate_hz // NS_PER_S >= 10_000
        assert config.warmup_auto
    assert rig.configs[0].warmup_ns == MAX_AUTO_WARMUP_NS
    assert {config.warmup_ns for config in rig.configs[1:]} == {WARMUP_LIMIT_NS}


def test_a_warm_up_of_a_given_length_is_that(tmp_path: Path) -> None:
    rig = Rig()
    rig.sweep(tmp_path / "runs", make_plan(warmup_ns=NS_PER_S))
    assert {(config.warmup_ns, config.warmup_auto) for config in rig.configs} == {(NS_PER_S, False)}


def test_no_files_are_left_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    Rig().sweep(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []
    result = Rig().sweep(tmp_path / "runs", keep=True).result
    kept = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert kept == [f"{point.number:03}-{point.rate_hz}.parquet" for point in result.points]
    assert [point.file for point in result.points] == [str(tmp_path / "runs" / n) for n in kept]


def test_a_point_whose_ticks_pile_up_is_ended_and_its_spool_removed(tmp_path: Path) -> None:
    rig = Rig()
    outcome = rig.sweep(tmp_path / "runs", make_plan(from_hz=70_000), keep=True)
    assert outcome.result.status is SweepStatus.NONE_HOLDS
    assert [point.overloaded for point in rig.ended] == [True]  # clear: not measured twice
    assert list((tmp_path / "runs").iterdir()) == []
    assert outcome.result.environment is None


def test_an_answer_that_fails_again_and_again_is_none(tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        purpose = rig.begun[number - 1][1].purpose
        bad = purpose is Purpose.CONFIRM
        return Outcome(result=queue_result(rate_hz, CAPACITY_HZ / (20 if bad else 1)))

    rig = Rig(script)
    outcome = rig.sweep(tmp_path / "runs")
    assert outcome.result.status is SweepStatus.INCONCLUSIVE
    assert outcome.result.highest_held_hz is None


@pytest.mark.parametrize("during", ["a run", "its start", "a rest"])
def test_a_signal_ends_it_with_what_was_measured(during: str, tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        if number == 3 and during == "its start":
            raise Interrupted(signal.SIGTERM)
        interrupted = number == 3 and during == "a run"
        return Outcome(result=queue_result(rate_hz), signal=signal.SIGTERM if interrupted else 0)

    rig = Rig(script)
    rig.signal_at_rest = signal.SIGTERM if during == "a rest" else 0
    outcome = rig.sweep(tmp_path / "runs")
    assert outcome.signal == signal.SIGTERM
    assert outcome.result.status is SweepStatus.INTERRUPTED
    assert outcome.result.knee is None
    assert len(outcome.result.points) == (3 if during == "a rest" else 2)
    assert outcome.result.highest_held_hz == max(point.rate_hz for point in rig.ended)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_the_first_point_leaves_nothing_to_tell(tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        return Outcome(result=queue_result(rate_hz), signal=signal.SIGINT)

    with pytest.raises(Interrupted):
        Rig(script).sweep(tmp_path / "runs")


def test_a_stage_that_dies_ends_it_with_what_was_measured(tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        result = queue_result(rate_hz)
        if number < 3:
            return Outcome(result=result)
        failed = msgspec.structs.replace(result, status=RunStatus.FAILED, failure="the relay died")
        return Outcome(result=failed, log_tail=("out of memory",))

    outcome = Rig(script).sweep(tmp_path / "runs")
    assert outcome.result.status is SweepStatus.FAILED
    assert outcome.result.failure == "the relay died"
    assert outcome.hint == "its log ends: out of memory"
    assert len(outcome.result.points) == 2


def test_a_failure_at_the_first_point_is_an_error(tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        raise LatbenchError("no broker answers", "start one")

    with pytest.raises(LatbenchError, match="no broker answers"):
        Rig(script).sweep(tmp_path / "runs")


def test_a_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LatbenchError, match="can't write"):
        Rig().sweep(tmp_path / "file" / "runs")


# --- signals, for real ------------------------------------------------------------------------


def test_a_signal_ends_a_rest_at_once(tmp_path: Path) -> None:
    plan = make_plan(cool_down_ns=60 * NS_PER_S)
    began_ns = monotonic_ns()

    class Pressing(Rig):
        def end(self, point: SweepPoint) -> None:
            super().end(point)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    outcome = Pressing().sweep(tmp_path / "runs", plan, rest=None)
    assert outcome.signal == signal.SIGINT
    assert len(outcome.result.points) == 1
    assert monotonic_ns() - began_ns < 20 * NS_PER_S
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_a_run_did_not_hear_is_heard_after_it(tmp_path: Path) -> None:
    def script(number: int, rate_hz: int) -> Outcome:
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # as a run does that is concluded
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        return Outcome(result=queue_result(rate_hz))

    plan = make_plan(cool_down_ns=0)
    outcome = Rig(script).sweep(tmp_path / "runs", plan, rest=None)
    assert outcome.signal == signal.SIGTERM
    assert len(outcome.result.points) == 1


def test_a_rest_without_a_signal_is_as_long_as_asked_for(tmp_path: Path) -> None:
    plan = make_plan(from_hz=1000, to_hz=1000, cool_down_ns=NS_PER_S // 20)
    began_ns = monotonic_ns()
    outcome = Rig().sweep(tmp_path / "runs", plan, rest=None)
    assert outcome.result.status is SweepStatus.FOUND
    assert monotonic_ns() - began_ns >= 3 * NS_PER_S // 20


# --- plans ------------------------------------------------------------------------------------


def test_a_point_is_as_long_as_asked_for_or_as_its_percentile_takes() -> None:
    plan = make_plan(duration_ns=3 * NS_PER_S)
    assert point_duration_ns(plan, 100_000, Arrivals.CONSTANT) == 3 * NS_PER_S
    assert point_duration_ns(plan, 1000, Arrivals.CONSTANT) == 10_100_000_000
    assert point_duration_ns(plan, 1000, Arrivals.BURST) == 15 * NS_PER_S
    mean = make_plan("end_to_end.mean < 5ms", duration_ns=3 * NS_PER_S)
    assert point_duration_ns(mean, 1, Arrivals.CONSTANT) == 3 * NS_PER_S


def test_the_strictest_percentile_counts() -> None:
    plan = make_plan("end_to_end.p50 < 1ms", "end_to_end.p99.9 < 9ms")
    assert point_duration_ns(plan, 10_000, Arrivals.CONSTANT) == 10_100_000_000


def test_what_a_point_takes_at_most_holds_its_parts() -> None:
    plan = make_plan(warmup_ns=5 * NS_PER_S, cool_down_ns=NS_PER_S)
    longest_ns = longest_point_ns(plan, Arrivals.CONSTANT)
    assert longest_ns == (3 + 5 + 1) * NS_PER_S + 10_100_000_000
    assert longest_point_ns(make_plan(), Arrivals.CONSTANT) > longest_ns


def test_a_plan_that_goes_down_is_refused() -> None:
    with pytest.raises(UsageError, match="--from 2,000 is above --to 1,000") as raised:
        check_plan(make_plan(from_hz=2000, to_hz=1000), Arrivals.CONSTANT)
    assert raised.value.hint == "write --from 1000 --to 2000"


def test_a_percentile_that_would_take_hours_is_refused_with_a_rate_that_does_not() -> None:
    plan = make_plan("end_to_end.p99.99 < 5ms", from_hz=100)
    with pytest.raises(UsageError, match="takes 1,000,000 ticks to be known") as raised:
        check_plan(plan, Arrivals.CONSTANT)
    assert raised.value.hint.startswith("write --from 2000,")
    check_plan(make_plan("end_to_end.p99.99 < 5ms", from_hz=2000), Arrivals.CONSTANT)
    # who asks for long points gets them
    long = make_plan("end_to_end.p99.99 < 5ms", from_hz=100, duration_ns=20_000 * NS_PER_S)
    check_plan(long, Arrivals.CONSTANT)
