"""Change points of made-up series: how often a false one, how soon a true one; against scipy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from latbench import e_divisive
from latbench.e_divisive import (
    LEAST_VALUES,
    MAX_P,
    MIN_MAGNITUDE,
    MIN_SEGMENT,
    ChangePoint,
    best_split,
    distance_sums,
    find_change_points,
    scaled_energy,
    segments,
    variance_inflation,
    welch_p,
)
from tests.noise import NOISES, correlated, normal

Values = npt.NDArray[np.float64]

SERIES = 1000
RUNS = 60
STEP = math.log(1.1)
values_of = st.lists(st.floats(-50, 50), min_size=2, max_size=70)


def rate_of_false(make: Callable[[np.random.Generator, int, float], Values], noise: float) -> float:
    """The share of series without any change in which there is a change point."""
    rng = np.random.default_rng(20140114)
    return sum(bool(find_change_points(make(rng, RUNS, noise))) for _ in range(SERIES)) / SERIES


# --- noise alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "noise", "most"),
    [  # measured: docs/history.md
        ("normal", 0.03, 0.006),
        ("normal", 0.10, 0.04),
        ("t, 3 degrees", 0.10, 0.02),
        ("log-normal", 0.10, 0.02),
        ("one run in ten slow", 0.10, 0.01),
        ("neighbours correlate by 0.3", 0.10, 0.10),
        ("neighbours correlate by 0.5", 0.10, 0.12),
    ],
)
def test_noise_has_a_change_point_in_few_series(name: str, noise: float, most: float) -> None:
    assert rate_of_false(NOISES[name], noise) <= most


def test_without_allowing_for_persistence_a_third_of_such_series_had_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(e_divisive, "variance_inflation", lambda values, points: 1.0)
    assert rate_of_false(NOISES["neighbours correlate by 0.5"], 0.10) > 1 / 3


@pytest.mark.parametrize("factor", [1.5, 3, 10])
def test_one_slow_run_is_no_change_point(factor: float) -> None:
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(300):
        values = normal(rng, RUNS, 0.03)
        values[rng.integers(RUNS)] += math.log(factor)
        # whatever its size: so small a shift is elsewhere refused for that alone
        found += bool(find_change_points(values, min_shift=0.0))
    plain = sum(
        bool(find_change_points(normal(rng, RUNS, 0.03), min_shift=0.0)) for _ in range(300)
    )
    assert found <= plain + 3


# --- changes --------------------------------------------------------------------------------------


def indices(values: Values) -> list[int]:
    return [point.index for point in find_change_points(values)]


@pytest.mark.parametrize("place", [12, 20, 30, 48, 52])
def test_a_step_of_10_percent_in_noise_of_3_is_found_where_it_is(place: int) -> None:
    rng = np.random.default_rng(5)
    hits, alone = 0, 0
    for _ in range(100):
        values = normal(rng, RUNS, 0.03)
        values[place:] += STEP
        found = find_change_points(values)
        near = [point for point in found if abs(point.index - place) <= 2]
        hits += len(near) == 1
        alone += len(found) == 1
        assert all(point.shift > 0 for point in near)
    assert hits >= 90
    assert alone >= 90


def test_it_takes_six_values_after_a_change_and_mostly_eight() -> None:
    seen = {}
    for after in (5, 8):
        rng = np.random.default_rng(9)
        seen[after] = 0
        for _ in range(200):
            values = normal(rng, RUNS, 0.03)
            values[RUNS - after :] += STEP
            seen[after] += any(
                abs(point.index - (RUNS - after)) <= 2 for point in find_change_points(values)
            )
    assert seen[5] < 60
    assert seen[8] > 180


@pytest.mark.parametrize("shifts", [(STEP, 2 * STEP), (STEP, 0.0), (-STEP, STEP)])
def test_two_steps_are_found_and_what_goes_up_and_back_again(shifts: tuple[float, float]) -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(100):
        values = normal(rng, RUNS, 0.03)
        values[20:32] += shifts[0]
        values[32:] += shifts[1]
        found = indices(values)
        hits += len(found) == 2 and abs(found[0] - 20) <= 2 and abs(found[1] - 32) <= 2
    assert hits >= 85


def test_a_drift_is_a_stair_that_only_goes_up() -> None:
    rng = np.random.default_rng(8)
    for slope in (0.003, 0.005, 0.01, 0.02):
        for _ in range(25):
            found = find_change_points(normal(rng, RUNS, 0.03) + slope * np.arange(RUNS))
            assert found
            assert all(point.shift > 0 for point in found)
            # k steps are k / (k + 1) of the way: from the middle of the first level to the last's
            assert 0.3 < sum(point.shift for point in found) / (slope * RUNS) < 1.5


def test_a_long_series_is_looked_at_in_windows() -> None:
    places = (75, 230, 245, 410)
    rng = np.random.default_rng(4)
    values = normal(rng, 500, 0.03)
    for place in places:
        values[place:] += STEP
    found = indices(values)
    assert len(found) == len(places)
    assert all(abs(place - index) <= 2 for place, index in zip(places, found, strict=True))


def test_constants_that_differ_differ_for_sure() -> None:
    (point,) = find_change_points([1.0] * 10 + [2.0] * 10)
    assert point == ChangePoint(index=10, p_value=0.0, shift=1.0)
    assert find_change_points([3.0] * 40) == []


@pytest.mark.parametrize("count", [0, 1, 2, LEAST_VALUES - 1])
def test_in_too_few_values_there_is_none(count: int) -> None:
    assert find_change_points(([0.0] * MIN_SEGMENT + [5.0] * MIN_SEGMENT)[:count]) == []


@given(values_of)
def test_each_change_point_is_as_sure_and_as_large_as_it_must_be(values: list[float]) -> None:
    points = find_change_points(values)
    bounds = [0, *(point.index for point in points), len(values)]
    if points:
        assert all(b - a >= MIN_SEGMENT for a, b in itertools.pairwise(bounds))
    for point in points:
        assert point.p_value < MAX_P
        assert abs(point.shift) >= math.log1p(MIN_MAGNITUDE)
    parts = [values[a:b] for a, b in segments([point.index for point in points], len(values))]
    for point, (before, after) in zip(points, itertools.pairwise(parts), strict=True):
        assert point.shift == float(np.median(after)) - float(np.median(before))
    assert find_change_points(values) == points


@given(st.integers(0, 2**32), st.floats(-20, 20))
def test_another_unit_changes_nothing(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    values = normal(rng, RUNS, 0.03)
    values[25:] += 2 * STEP
    assert indices(values) == indices(values + unit)


# --- parts ----------------------------------------------------------------------------------------


def plain_q(before: list[float], after: list[float]) -> float:
    """Matteson and James, (5) to (7), as they are written."""
    n, m = len(before), len(after)
    between = sum(abs(x - y) for x in before for y in after)
    within = [
        sum(abs(x - y) for x, y in itertools.combinations(part, 2)) / math.comb(len(part), 2)
        for part in (before, after)
    ]
    return n * m / (n + m) * (2 * between / (n * m) - within[0] - within[1])


@given(st.lists(st.floats(-50, 50), min_size=LEAST_VALUES + 3, max_size=30), st.integers(0, 3))
def test_the_energy_is_that_of_the_paper(values: list[float], start: int) -> None:
    end = len(values)
    taus = np.arange(start + MIN_SEGMENT, end - MIN_SEGMENT + 1)
    kappas = np.arange(start + LEAST_VALUES, end + 1)
    found = scaled_energy(distance_sums(np.array(values)), start, taus, kappas)
    best = -math.inf
    for row, tau in enumerate(taus):
        for column, kappa in enumerate(kappas):
            if kappa - tau < MIN_SEGMENT:
                assert found[row, column] == -math.inf
                continue
            wanted = plain_q(values[start:tau], values[tau:kappa])
            best = max(best, wanted)
            assert found[row, column] == pytest.approx(wanted, abs=1e-8)
    split = best_split(distance_sums(np.array(values)), start, end)
    if end - start < LEAST_VALUES:
        assert split is None
    else:
        assert split is not None
        tau, kappa = split
        assert plain_q(values[start:tau], values[tau:kappa]) == pytest.approx(best, abs=1e-8)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 40), st.floats(-2, 2))
def test_the_test_is_scipys(seed: int, n: int, m: int, log_ratio: float) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.normal(0, 1, n), rng.normal(1, math.exp(log_ratio), m)
    wanted = stats.ttest_ind(before, after, equal_var=False).pvalue
    assert welch_p(before, after) == pytest.approx(wanted, rel=1e-9)
    assert welch_p(after, before) == pytest.approx(wanted, rel=1e-9)
    assert welch_p(before, after, 2.0) > wanted


@pytest.mark.parametrize(("correlation", "inflation"), [(0.0, 1.0), (0.3, 1.86), (0.6, 4.0)])
def test_persistence_is_measured_within_segments(correlation: float, inflation: float) -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        values = correlated(rng, 100, 0.1, correlation)
        values[50:] += 3.0
        values += 0.01 * np.arange(100)
        found.append(variance_inflation(values, [50]))
    assert np.median(found) == pytest.approx(inflation, rel=0.2, abs=0.15)
    assert min(found) >= 1
