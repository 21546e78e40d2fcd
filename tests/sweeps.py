"""Points and results of sweeps, made up for tests: a pipeline that is an M/M/1 queue."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.knee import Knee, Probe, Purpose, search
from latbench.result import HopSummary, MachineFigures, RunResult
from latbench.sweep import conclude
from latbench.sweep_points import make_point, verdict_of
from latbench.sweep_result import SweepPlan, SweepPoint, SweepResult, SweepStatus
from latbench.thresholds import parse_threshold
from tests.results import (
    make_broker,
    make_counts,
    make_environment,
    make_hop,
    make_process,
    make_result,
)

CAPACITY_HZ: Final = 30_000.0


def make_plan(*slos: str, **changes: Any) -> SweepPlan:
    """From 1,000/s up, 10 s a point."""
    plan = SweepPlan(
        slos=tuple(map(parse_threshold, slos or ("end_to_end.p99 < 5ms",))),
        from_hz=1000,
        to_hz=1_000_000,
        resolution=0.05,
        duration_ns=10 * NS_PER_S,
        warmup_ns=None,
        cool_down_ns=2 * NS_PER_S,
    )
    return msgspec.structs.replace(plan, **changes)


def queue_hops(rate_hz: float, capacity_hz: float = CAPACITY_HZ) -> tuple[HopSummary, ...]:
    """All hops at a rate: the time in `websocket` is an M/M/1 queue's, that of others is not."""
    waiting = rate_hz / max(capacity_hz - rate_hz, 1.0)
    scales = {"websocket": 1 + 3 * waiting, "end_to_end": 1 + waiting, "service": 1 + waiting}
    return tuple(
        make_hop(name, scale=scales.get(name, 1.0))
        for name in ("schedule", "websocket", "relay", "kafka", "end_to_end", "ack", "service")
    )


def queue_result(rate_hz: int, capacity_hz: float = CAPACITY_HZ, **changes: Any) -> RunResult:
    """A run at a rate; at the capacity its relay uses a whole CPU."""
    shares = {"generator": 0.4, "relay": 0.97, "consumer": 0.3, "supervisor": 0.05}
    load = min(rate_hz / capacity_hz, 1.0)
    processes = tuple(
        make_process(name, span_ns=10 * NS_PER_S, cpu_ns=round(share * load * 10 * NS_PER_S))
        for name, share in shares.items()
    )
    given = {
        "target_rate_hz": float(rate_hz),
        "achieved_rate_hz": min(float(rate_hz), capacity_hz),
        "measured_ns": 10 * NS_PER_S,
        "counts": make_counts(sent=rate_hz * 12),
        "hops": queue_hops(rate_hz, capacity_hz),
        "processes": processes,
        "machine": MachineFigures(busy=0.2 + 0.5 * load, steal=0.0, iowait=0.0),
    }
    return make_result(**given | changes)


def queue_point(
    rate_hz: int, plan: SweepPlan | None = None, number: int = 1, **changes: Any
) -> SweepPoint:
    """The point of `queue_result`; `changes` are of the run."""
    plan = plan or make_plan()
    probe = Probe(rate_hz, Purpose.STEP)
    return make_point(number, probe, queue_result(rate_hz, **changes), plan.slos, 0)


def make_sweep(plan: SweepPlan | None = None, **changes: Any) -> SweepResult:
    """A whole sweep over the queue, whose search is the real one."""
    plan = plan or make_plan()
    points: list[SweepPoint] = []
    knee: Knee | None = None
    going = search(plan.from_hz, plan.to_hz, plan.resolution)
    probe = next(going)
    while knee is None:
        number = len(points) + 1
        # each measurement is a little different, the same in each test
        capacity_hz = CAPACITY_HZ * (1 + 0.01 * math.sin(number))
        result = queue_result(probe.rate_hz, capacity_hz)
        growth_ns = NS_PER_S if probe.rate_hz >= capacity_hz else 0
        points.append(make_point(number, probe, result, plan.slos, growth_ns))
        try:
            probe = going.send(verdict_of(points[-1]))
        except StopIteration as ended:
            knee = ended.value
    result_ = SweepResult(
        latbench="0.1.0",
        status=SweepStatus(str(knee.ending)),
        started_unix_ns=1_764_005_400 * NS_PER_S,
        elapsed_ns=len(points) * 24 * NS_PER_S,
        plan=plan,
        config=RunConfig(broker="localhost:9092", name="sweep"),
        environment=make_environment(),
        broker=make_broker(),
        points=tuple(points),
        knee=knee,
        saturation=None,
        fit=None,
    )
    return conclude(msgspec.structs.replace(result_, **changes))
