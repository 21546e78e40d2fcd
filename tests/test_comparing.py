"""Stored results against stored results: every verdict, who counts, what is told besides."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.comparing import Dominance, compare
from latbench.comparison import Allowed, Verdict
from latbench.config import RunConfig
from latbench.deciding import SHOWN, Samples
from latbench.gates import DEFAULT_GATES, Gate
from latbench.groups import GROSS_SPREAD, Groups, spread_ratio
from latbench.likeness import load, mismatches
from latbench.result import Finding, RunStatus
from latbench.tick import HOPS
from tests.comparisons import make_run, make_side, sides
from tests.results import make_config, make_environment, make_hop

P99 = (Gate(hop="end_to_end", statistic="p99", margin=0.10),)


def verdict(new: float, gates: tuple[Gate, ...] = DEFAULT_GATES) -> Verdict:
    return compare(*sides(new), gates).comparison.verdict


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (0.7, Verdict.PASS),
        (1.0, Verdict.PASS),
        (1.04, Verdict.PASS),  # 8.6 % of 581 µs are 50 µs
        (1.09, Verdict.INCONCLUSIVE),
        (1.3, Verdict.REGRESSION),
    ],
)
def test_the_verdict_is_by_the_interval_and_what_is_allowed(new: float, expected: Verdict) -> None:
    assert verdict(new) is expected


def test_a_small_latency_may_grow_by_the_floor_and_the_gate_says_so() -> None:
    gates = (Gate(hop="relay", statistic="p50", margin=0.05),)
    found = compare(*sides(3.0), gates).comparison
    assert found.verdict is Verdict.PASS
    assert found.gates[0].allowed_by is Allowed.FLOOR
    assert found.gates[0].allowed == pytest.approx(50 / 7.12, rel=0.05)


def test_one_gate_that_got_worse_is_a_regression_whatever_the_others_say() -> None:
    gates = (*P99, Gate(hop="kafka", statistic="p50", margin=0.05))
    found = compare(*sides(1.3, "kafka"), gates).comparison
    assert [each.verdict for each in found.gates][1] is Verdict.REGRESSION
    assert found.verdict is Verdict.REGRESSION


@pytest.mark.parametrize("hop", ["websocket", "kafka", "schedule"])
def test_the_hop_that_got_slower_is_named(hop: str) -> None:
    found = compare(*sides(4.0, hop), DEFAULT_GATES).comparison
    assert {each.hop for each in found.blames} == {hop}
    assert len(found.blames) == 2
    assert all(each.shift_ns > 0 for each in found.blames)


def test_every_hop_has_its_changes() -> None:
    found = compare(*sides(1.3), P99).comparison
    assert [(c.hop, c.statistic) for c in found.changes] == [
        (hop.name, statistic) for hop in HOPS for statistic in SHOWN
    ]
    assert all(change.is_sure for change in found.changes)


@pytest.mark.parametrize("counts", [(9, 10), (10, 9), (5, 5), (2, 2), (9, 1), (1, 12), (30, 2)])
def test_fewer_than_ten_runs_a_side_decide_nothing(counts: tuple[int, int]) -> None:
    found = compare(*sides(3.0, counts=counts), P99)
    assert found.comparison.verdict is Verdict.INCONCLUSIVE
    assert not found.enough_runs
    change = found.comparison.gates[0].change
    assert change.ratio == pytest.approx(3.0, rel=0.1)
    assert (change.ratio_low is None) is (math.comb(sum(counts), counts[0]) <= 40)


@pytest.mark.parametrize(
    ("base_runs", "gates", "expected"),
    [
        (38, P99, Verdict.INCONCLUSIVE),
        (39, P99, Verdict.REGRESSION),
        (78, DEFAULT_GATES, Verdict.INCONCLUSIVE),
        (79, DEFAULT_GATES, Verdict.REGRESSION),
    ],
)
def test_one_new_run_decides_once_its_exact_interval_is_finite(
    base_runs: int, gates: tuple[Gate, ...], expected: Verdict
) -> None:
    found = compare(*sides(2.0, counts=(base_runs, 1)), gates).comparison
    assert found.verdict is expected


def test_a_percentile_that_a_run_lacks_leaves_its_gate_open() -> None:
    base, new = sides()
    few = make_run(1, "b", hops=tuple(make_hop(hop.name, count=4000) for hop in HOPS))
    new = (msgspec.structs.replace(new[0], result=few), *new[1:])
    found = compare(base, new, DEFAULT_GATES).comparison
    assert [each.verdict for each in found.gates] == [Verdict.PASS, Verdict.INCONCLUSIVE]
    assert found.gates[1].change.ratio is None
    assert found.verdict is Verdict.INCONCLUSIVE


# --- what must be the same ----------------------------------------------------------------------


def test_different_loads_are_incomparable_and_forced_they_are_compared() -> None:
    base, new = sides(1.3, config=make_config(tick_rate_hz=4000))
    found = compare(base, new, DEFAULT_GATES).comparison
    assert found.verdict is Verdict.INCOMPARABLE
    assert [(d.name, d.base, d.new) for d in found.mismatches] == [
        ("tick-rate", "5,000/s", "4,000/s")
    ]
    assert (found.gates, found.changes) == ((), ())
    forced = compare(base, new, DEFAULT_GATES, force=True).comparison
    assert forced.verdict is Verdict.REGRESSION
    assert forced.mismatches == found.mismatches


def test_another_machine_among_one_sides_runs_is_told_as_well() -> None:
    base, new = sides()
    other = make_run(1, "b", environment=make_environment(cpus=8))
    new = (msgspec.structs.replace(new[0], result=other), *new[1:])
    found = compare(base, new, DEFAULT_GATES).comparison
    assert [(d.name, d.base, d.new) for d in found.mismatches] == [("cpus", "2", "2 / 8")]


def test_settings_may_differ_and_are_told() -> None:
    found = compare(*sides(config=make_config(linger_ms=5.0)), DEFAULT_GATES).comparison
    assert [(d.name, d.base, d.new) for d in found.differences] == [("linger", "0 ms", "5 ms")]
    assert found.verdict is Verdict.PASS


def test_a_duration_that_is_the_default_is_the_same_as_the_same_one_given() -> None:
    assert load(RunConfig()) == load(RunConfig(duration_ns=60 * 10**9))
    assert load(RunConfig(source="f.csv"))["duration"] == "all of it"
    assert mismatches((make_run(1),), (make_run(2),)) == ()


# --- who counts ---------------------------------------------------------------------------------


def test_runs_that_failed_or_are_invalid_are_left_out_and_told() -> None:
    base, new = sides(counts=(12, 10))
    lost = Finding(code="ticks-lost", values={"lost": 3, "sent": 100})
    bad = [
        {"status": RunStatus.FAILED, "failure": "the relay died"},
        {"findings": (lost,)},
    ]
    spoiled = [
        msgspec.structs.replace(s, result=msgspec.structs.replace(s.result, **change))
        for s, change in zip(base, bad, strict=False)
    ]
    found = compare((*spoiled, *base[2:]), new, DEFAULT_GATES).comparison
    assert found.verdict is Verdict.PASS
    assert (found.base_runs, found.new_runs) == (10, 10)
    assert [(u.run, u.side) for u in found.unfit] == [
        ("a/01.parquet", "A"),
        ("a/02.parquet", "A"),
    ]
    assert found.unfit[0].why == "it is failed: the relay died"


def test_a_finding_that_was_allowed_leaves_nothing_out() -> None:
    lost = Finding(code="ticks-lost", values={"lost": 3, "sent": 100}, allowed=True)
    found = compare(*sides(findings=(lost,)), DEFAULT_GATES).comparison
    assert found.unfit == ()


@pytest.mark.parametrize("force", [False, True])
def test_a_side_with_no_run_left_is_incomparable(force: bool) -> None:
    base, new = sides(status=RunStatus.INTERRUPTED)
    found = compare(base, new, DEFAULT_GATES, force=force)
    assert found.comparison.verdict is Verdict.INCOMPARABLE
    assert (found.comparison.base_runs, found.comparison.new_runs) == (10, 0)
    assert len(found.comparison.unfit) == 10
    assert found.least_ticks == 0


# --- what holds where sides scatter differently -------------------------------------------------


def test_brunner_and_munzel_stand_beside_the_interval() -> None:
    found = compare(*sides(1.3), DEFAULT_GATES)
    assert [each.subject for each in found.dominances] == ["end_to_end.p50", "end_to_end.p99"]
    assert all(each.superiority == 1.0 for each in found.dominances)
    assert all((each.p_value or 1) < 1e-4 for each in found.dominances)
    assert not any(each.is_gross for each in found.dominances)


def test_a_side_that_scatters_five_times_as_widely_is_told() -> None:
    base, _ = sides()
    rng = np.random.default_rng(1)
    new = tuple(
        msgspec.structs.replace(
            each,
            result=msgspec.structs.replace(
                each.result,
                hops=tuple(
                    make_hop(hop.name, scale=float(np.exp(rng.normal(0, 0.3)))) for hop in HOPS
                ),
            ),
        )
        for each in make_side("b")
    )
    found = compare(base, new, DEFAULT_GATES)
    assert all(each.is_gross for each in found.dominances)


def test_the_spread_is_known_from_four_values_on_that_differ() -> None:
    base = np.array([100.0, 110.0, 120.0, 130.0])
    assert spread_ratio(base, base**2) == pytest.approx(2.0)
    assert spread_ratio(base[:3], base) is None
    assert spread_ratio(np.full(5, 3.0), base) is None
    told = Dominance(subject="s", superiority=0.5, p_value=1.0, spread_ratio=1 / GROSS_SPREAD)
    assert not told.is_gross
    assert msgspec.structs.replace(told, spread_ratio=0.2).is_gross


@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.2, 5), st.integers(0, 2**32))
def test_groups_are_samples_of_a_ratio_and_of_a_shift(
    base_runs: int, new_runs: int, factor: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = random.lognormal(13, 0.1, base_runs)
    new = random.lognormal(13, 0.1, new_runs)
    groups: Samples = Groups(base, new)
    scaled = Groups(base, new * factor)
    assert scaled.ratio() == pytest.approx(groups.ratio() + math.log(factor), abs=1e-9)
    low, high = groups.ratio_interval(0.05)
    assert low <= groups.ratio() <= high
    assert groups.ratio_p(groups.ratio()) > 0.5
    moved = Groups(base, new + 1000)
    assert moved.shift() == pytest.approx(groups.shift() + 1000)
    shift_low, shift_high = groups.shift_interval(0.05)
    assert shift_low <= groups.shift() <= shift_high


def test_alike_sides_are_called_worse_no_more_often_than_alpha() -> None:
    alarms = 0
    for number in range(300):
        random = np.random.default_rng(number)
        base, new = random.lognormal(13, 0.2, 10), random.lognormal(13, 0.2, 10)
        low, _ = Groups(base, new).ratio_interval(0.05)
        alarms += low > 0
    assert alarms / 300 < 0.05
