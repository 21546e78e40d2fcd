from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.settling import MIN_THIRD_S, WINDOW_S, Drift, find_drift, has_settled

LEVEL_NS = 600_000
SEEDS = 100


def noisy(seconds: int, seed: int, share: float, level_ns: float = LEVEL_NS) -> list[int]:
    """Per-second medians around a level, with a standard deviation of a share of it."""
    factors = np.exp(np.random.default_rng(seed).normal(0, share, seconds))
    return [round(level_ns * factor) for factor in factors]


def settles_after(medians_ns: list[int]) -> int | None:
    """How many seconds it takes, looking at each."""
    looks = range(1, len(medians_ns) + 1)
    return next((over for over in looks if has_settled(medians_ns[:over])), None)


# --- settling ---------------------------------------------------------------------------------


def test_it_takes_two_windows_at_least() -> None:
    assert settles_after([LEVEL_NS] * 30) == 2 * WINDOW_S
    assert not has_settled([])


@given(st.lists(st.floats(0.5, 2.0), min_size=2 * WINDOW_S, max_size=60))
def test_it_has_settled_at_the_latest_once_neighbouring_windows_differ_by_a_twentieth(
    factors: list[float],
) -> None:
    medians = [round(LEVEL_NS * factor) for factor in factors]
    levels = [
        math.log(float(np.median(medians[at : at + WINDOW_S])))
        for at in range(len(medians) - WINDOW_S + 1)
    ]
    settled = settles_after(medians)
    for at, level in enumerate(levels[:-WINDOW_S]):
        if abs(levels[at + WINDOW_S] - level) < 0.0499:
            assert settled is not None
            assert settled <= at + 2 * WINDOW_S
            break


def test_a_steady_latency_settles_soon() -> None:
    taken = [settles_after(noisy(60, seed, 0.1)) for seed in range(SEEDS)]
    assert all(seconds is not None for seconds in taken)
    assert np.median([seconds for seconds in taken if seconds]) <= 12


@pytest.mark.parametrize("halving_s", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.05])
def test_a_broker_that_gets_warm_does_not_settle_before_it_is_warm(
    halving_s: float, share: float
) -> None:
    for seed in range(20):
        falling = [max(20_000_000 * 2 ** (-second / halving_s), LEVEL_NS) for second in range(120)]
        medians = noisy(120, seed, share)
        medians = [
            round(median * level / LEVEL_NS) for median, level in zip(medians, falling, strict=True)
        ]
        flat_from = next(second for second, level in enumerate(falling) if level == LEVEL_NS)
        settled = settles_after(medians)
        assert settled is not None
        # at most the last window may still have some of the fall in it
        assert settled > flat_from + WINDOW_S - 3
        assert settled <= flat_from + 4 * WINDOW_S


@pytest.mark.parametrize("growth", [1.05, 1.1, 1.5, 2.0])
def test_a_latency_that_rises_never_settles(growth: float) -> None:
    for seed in range(20):
        medians = noisy(40, seed, 0.02)
        rising = [round(median * growth**second) for second, median in enumerate(medians)]
        assert settles_after(rising) is None


@given(
    seed=st.integers(0, 2**32 - 1),
    places=st.sets(st.integers(0, WINDOW_S - 1), max_size=2),
    others=st.sets(st.integers(WINDOW_S, 2 * WINDOW_S - 1), max_size=2),
    outlier=st.sampled_from([0.01, 0.3, 3.0, 500.0]),
)
def test_single_seconds_with_a_stall_do_not_matter(
    seed: int, places: set[int], others: set[int], outlier: float
) -> None:
    medians = noisy(2 * WINDOW_S, seed, 0.01)
    for place in places | others:
        medians[place] = round(medians[place] * outlier)
    assert has_settled(medians)


def test_only_the_last_two_windows_count() -> None:
    assert has_settled([9, 10**12, 0, 77, *[LEVEL_NS] * 2 * WINDOW_S])
    assert not has_settled([*[LEVEL_NS] * 2 * WINDOW_S, *[2 * LEVEL_NS] * WINDOW_S])


@pytest.mark.parametrize("place", range(2 * WINDOW_S))
def test_a_second_without_ticks_says_nothing_so_nothing_has_settled(place: int) -> None:
    medians = [LEVEL_NS] * 2 * WINDOW_S
    medians[place] = 0
    assert not has_settled(medians)


@pytest.mark.parametrize(
    ("change", "settled"), [(1.0, True), (1.05, True), (0.952, True), (1.052, False), (0.94, False)]
)
def test_without_noise_a_change_by_a_twentieth_is_none(change: float, settled: bool) -> None:
    later = round(LEVEL_NS * change)
    assert has_settled([LEVEL_NS] * WINDOW_S + [later] * WINDOW_S) is settled


@pytest.mark.parametrize(("change", "settled"), [(1.16, True), (1.163, False), (0.84, False)])
def test_however_noisy_a_change_by_fifteen_hundredths_is_one(change: float, settled: bool) -> None:
    wild = [LEVEL_NS // 2, LEVEL_NS * 3 // 5, LEVEL_NS, LEVEL_NS * 5 // 3, LEVEL_NS * 2]
    assert has_settled(wild + [round(each * change) for each in wild]) is settled


# --- drift ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.05])
@pytest.mark.parametrize("seconds", [15, 30, 60, 600])
def test_noise_alone_is_no_drift(seconds: int, share: float) -> None:
    found = [find_drift(noisy(seconds, seed, share)) for seed in range(SEEDS)]
    assert found.count(None) >= 95


@pytest.mark.parametrize("seconds", [15, 30, 300])
def test_much_noise_alone_is_seldom_a_drift(seconds: int) -> None:
    found = [find_drift(noisy(seconds, seed, 0.1)) for seed in range(SEEDS)]
    assert found.count(None) >= 90


@pytest.mark.parametrize("step", [1.3, 1 / 1.3])
def test_a_step_of_a_third_is_seen_over_noise(step: float) -> None:
    for seed in range(SEEDS):
        first, last = noisy(30, seed, 0.05), noisy(30, seed + SEEDS, 0.05, LEVEL_NS * step)
        drift = find_drift(first + last)
        assert drift is not None
        assert drift == Drift(
            first_ns=float(np.median(first[:20])), last_ns=float(np.median(last[10:]))
        )


@pytest.mark.parametrize(("change", "found"), [(1.1, False), (1.11, True), (0.91, False)])
def test_without_noise_a_drift_is_a_change_by_more_than_a_tenth(change: float, found: bool) -> None:
    medians = [LEVEL_NS] * 10 + [LEVEL_NS * 2] * 10 + [round(LEVEL_NS * change)] * 10
    assert (find_drift(medians) is not None) is found


def test_a_drift_is_one_of_thirds_and_not_of_single_seconds() -> None:
    medians = noisy(30, 1, 0.01)
    for place in (0, 1, 2, 3, 26, 27, 28, 29):
        medians[place] *= 50
    assert find_drift(medians) is None


def test_seconds_without_ticks_are_passed_over() -> None:
    first, last = noisy(10, 1, 0.01), noisy(10, 2, 0.01, 2 * LEVEL_NS)
    sparse = [value for median in [*first, *last] for value in (0, median)]
    assert find_drift(sparse) == find_drift([*first, *last]) is not None


def test_of_a_short_run_nothing_is_said() -> None:
    steps = [LEVEL_NS] * MIN_THIRD_S + [LEVEL_NS] * MIN_THIRD_S + [9 * LEVEL_NS] * MIN_THIRD_S
    assert find_drift(steps) is not None
    assert find_drift(steps[:-1]) is None
    assert find_drift([]) is None
    assert find_drift([0] * 60) is None


@given(st.lists(st.integers(0, 2**60), max_size=60))
def test_whatever_the_medians_are_an_answer_is_given(medians: list[int]) -> None:
    assert has_settled(medians) in {True, False}
    drift = find_drift(medians)
    if drift is not None:
        assert abs(math.log(drift.last_ns / drift.first_ns)) > 0.1
