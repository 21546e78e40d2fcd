"""Runs and results of A/B sessions, made up for tests: noise of a machine, and delays put in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from latbench.ab import conclude
from latbench.ab_result import (
    AbPlan,
    AbResult,
    AbRun,
    AbStatus,
    Phase,
    Side,
    Variant,
    order_of_pairs,
)
from latbench.analysis import HopFigures
from latbench.assembly import TABLE_COLUMNS, TickTable
from latbench.clock import NS_PER_S, NS_PER_US
from latbench.gates import parse_gates
from latbench.histogram import Histogram
from latbench.result import HopSummary, RunResult
from latbench.store import ResultWriter
from latbench.tick import PARTS
from tests.results import make_hops, make_result, make_tail
from tests.rows import SYMBOLS, make_stamps

PART_NAMES: Final = tuple(hop.name for hop in PARTS)
_WITHIN: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (name,) for name in PART_NAMES},
    "end_to_end": PART_NAMES,
    "service": PART_NAMES[1:],
    "ack": (),
}
"""The parts that a hop's latency is made of."""


def delayed(
    hops: Sequence[HopSummary], by_ns: Mapping[str, float], scale: Mapping[str, float]
) -> tuple[HopSummary, ...]:
    """Hops whose ticks take longer by a constant in some parts, after the noise of each."""
    found = []
    for hop in hops:
        more = sum(by_ns.get(part, 0.0) for part in _WITHIN[hop.hop])
        factor = scale.get(hop.hop, 1.0)
        percentiles = {
            name: None if value is None else max(round(value * factor + more), 1)
            for name, value in hop.percentiles_ns.items()
        }
        changed = msgspec.structs.replace(
            hop,
            min_ns=round(hop.min_ns * factor + more),
            mean_ns=hop.mean_ns * factor + more,
            max_ns=round(hop.max_ns * factor + more),
            percentiles_ns=percentiles,
        )
        found.append(changed)
    return tuple(found)


def noisy_result(
    chooser: np.random.Generator,
    *,
    shared: float = 0.0,
    spread: float = 0.02,
    by_us: Mapping[str, float] | None = None,
    times: float = 1.0,
    **changes: Any,
) -> RunResult:
    """A run whose hops each scatter by `spread`, and all together by e to the power of `shared`.

    `by_us` puts constants into parts; `times` multiplies everything.
    """
    base = make_hops()
    factor = times * math.exp(shared)
    scale = {hop.hop: factor * math.exp(chooser.normal(0, spread)) for hop in base}
    by_ns = {part: us * NS_PER_US for part, us in (by_us or {}).items()}
    tail = make_tail()
    means = {part: mean * scale[part] + by_ns.get(part, 0.0) for part, mean in tail.mean_ns.items()}
    given = {
        "hops": delayed(base, by_ns, scale),
        "tail": msgspec.structs.replace(tail, mean_ns=means),
    }
    return make_result(**given | changes)


def noisy_pairs(
    seed: int, pairs: int, *, spread: float = 0.02, drift: float = 0.1, **of_b: Any
) -> tuple[list[RunResult], list[RunResult]]:
    """Runs of both sides in pairs; what the machine does meanwhile hits both of a pair."""
    chooser = np.random.default_rng(seed)
    base, new = [], []
    for _ in range(pairs):
        shared = chooser.normal(0, drift)
        base.append(noisy_result(chooser, shared=shared, spread=spread))
        new.append(noisy_result(chooser, shared=shared, spread=spread, **of_b))
    return base, new


def make_plan(*gates: str, **changes: Any) -> AbPlan:
    """B with a linger, at 5,000 ticks/s."""
    plan = AbPlan(
        a=Variant(command=(), options=()),
        b=Variant(command=(), options=("--linger", "5")),
        common=("--tick-rate", "5000", "--duration", "3s", "--warmup", "1s"),
        gates=parse_gates(gates),
    )
    return msgspec.structs.replace(plan, **changes)


def make_run(
    result: RunResult, number: int, pair: int, side: Side, phase: Phase = Phase.MEASURED
) -> AbRun:
    """A run of a session."""
    return AbRun(
        number=number,
        pair=pair,
        side=side,
        phase=phase,
        result=result,
        histograms={"end_to_end": "HISTFAAA"},
    )


def make_session(plan: AbPlan | None = None, *, seed: int = 1, **of_b: Any) -> AbResult:
    """A whole session of as many pairs as the first look takes."""
    plan = plan or make_plan()
    base, new = noisy_pairs(seed, plan.pairs + 1, **of_b)
    runs: list[AbRun] = []
    orders = order_of_pairs(plan.seed), order_of_pairs(plan.seed)
    for index in range(plan.pairs + 1):
        phase = Phase.MEASURED if index else Phase.DISCARDED
        for side in next(orders[index > 0]):
            result = (base if side is Side.A else new)[index]
            runs.append(make_run(result, len(runs) + 1, max(index, 1), side, phase))
    return conclude(
        AbResult(
            latbench="0.1.0",
            status=AbStatus.COMPLETE,
            started_unix_ns=1_764_005_400 * NS_PER_S,
            elapsed_ns=len(runs) * 5 * NS_PER_S,
            plan=plan,
            runs=tuple(runs),
            comparison=None,
        )
    )


def make_drawn_session(pairs: int = 6, later_us: int = 300) -> AbResult:
    """A session whose histograms hold what its figures tell; in B every tick is later in kafka."""
    session = make_session(make_plan("p50=5%", pairs=pairs, most_pairs=pairs))
    return conclude(
        msgspec.structs.replace(session, runs=tuple(_drawn(run, later_us) for run in session.runs))
    )


def _drawn(run: AbRun, later_us: int) -> AbRun:
    stamps = make_stamps(2000, seed=run.number)
    if run.side is Side.B:
        stamps["consumed_ns"] = stamps["consumed_ns"] + later_us * NS_PER_US
    figures = HopFigures()
    figures.record(stamps)
    histograms = {name: each.encode() for name, each in figures.histograms.items() if each.count}
    changes: dict[str, Any] = {
        "hops": figures.summaries(2 * NS_PER_S),
        "run_id": f"{run.number:08}",
        "started_unix_ns": run.result.started_unix_ns + run.number * 5 * NS_PER_S,
        "hiccups": None,
        "stalls": None,
    }
    result = msgspec.structs.replace(run.result, **changes)
    return msgspec.structs.replace(run, result=result, histograms=histograms)


def write_run(path: Path, result: RunResult) -> None:
    """A result file with a few rows."""
    columns = make_stamps(50)
    table = TickTable({name: columns[name] for name in TABLE_COLUMNS})
    writer = ResultWriter(path, SYMBOLS)
    writer.write(table, columns["seq"] < 10, None)
    histogram = Histogram()
    histogram.record(columns["consumed_ns"] - columns["due_ns"])
    writer.close(result, {"end_to_end": histogram}, {})
