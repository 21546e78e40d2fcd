"""The rank-sum test, its interval, and Brunner and Munzel: against SciPy and by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from latbench import rank_sum

DISTINCT = st.integers(2, 24).flatmap(
    lambda size: st.lists(
        st.integers(-10_000, 10_000), min_size=size, max_size=size, unique=True
    ).flatmap(lambda values: st.tuples(st.just(values), st.integers(1, size - 1)))
)
"""Values of which none equals another, and how many of them are the base's."""
TIED = st.lists(st.integers(0, 5), min_size=2, max_size=20)


def split(drawn: tuple[list[int], int]) -> tuple[np.ndarray, np.ndarray]:
    values, size = drawn
    array = np.array(values, dtype=np.float64)
    return array[:size], array[size:]


def as_floats(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@given(DISTINCT)
def test_without_ties_the_probability_is_scipys_exact_one(drawn: tuple[list[int], int]) -> None:
    base, new = split(drawn)
    expected = stats.mannwhitneyu(base, new, method="exact").pvalue
    assert rank_sum.p_value(base, new) == pytest.approx(expected, rel=1e-9)


@given(TIED, TIED)
def test_with_ties_it_is_scipys_normal_one(base: list[int], new: list[int]) -> None:
    assume(len({*base, *new}) > 1)
    expected = stats.mannwhitneyu(base, new, method="asymptotic").pvalue
    found = rank_sum.p_value(as_floats(base), as_floats(new))
    if len({*base, *new}) < len(base) + len(new):
        assert found == pytest.approx(min(expected, 1.0), rel=1e-9)


def test_many_values_take_the_normal_distribution() -> None:
    random = np.random.default_rng(1)
    base, new = random.normal(size=150), random.normal(0.3, size=120)
    expected = stats.mannwhitneyu(base, new, method="asymptotic").pvalue
    assert rank_sum.p_value(base, new) == pytest.approx(expected, rel=1e-9)
    low, high = rank_sum.interval(base, new, 0.05)
    assert low < rank_sum.hodges_lehmann(base, new) < high
    for shift, is_kept in ((low + 1e-9, True), (low - 1e-9, False), (high + 1e-9, False)):
        assert (rank_sum.p_value(base, new, shift) > 0.05) is is_kept


def test_the_normal_interval_goes_over_into_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    base, new = random.normal(size=100), random.normal(0.3, size=100)
    exact = rank_sum.interval(base, new, 0.05)
    monkeypatch.setattr(rank_sum, "EXACT_PAIRS", 1)
    assert rank_sum.interval(base, new, 0.05) == pytest.approx(exact, abs=0.01)


@given(DISTINCT, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_has_just_the_shifts_that_are_not_rejected(
    drawn: tuple[list[int], int], alpha: float
) -> None:
    base, new = split(drawn)
    low, high = rank_sum.interval(base, new, alpha)
    if math.isinf(low):
        assert math.isinf(high)
        assert 2 / math.comb(base.size + new.size, base.size) > alpha
        return
    for shift, is_kept in ((low - 0.5, False), (low + 0.5, True), (high + 0.5, False)):
        values = np.concatenate([base + shift, new])
        if is_kept and not low < shift < high:
            continue
        assert np.unique(values).size == values.size
        # a p of just alpha is not kept, whatever the last bit of a sum of fractions says
        assert (rank_sum.p_value(base, new, shift) > alpha * (1 + 1e-9)) is is_kept


@given(DISTINCT)
def test_the_estimate_is_the_median_of_all_differences(drawn: tuple[list[int], int]) -> None:
    base, new = split(drawn)
    pairs = [b - a for a, b in itertools.product(base, new)]
    assert rank_sum.hodges_lehmann(base, new) == np.median(pairs)
    assert rank_sum.hodges_lehmann(new, base) == -np.median(pairs)


@pytest.mark.parametrize(
    ("few", "many", "alpha", "is_known"),
    [
        (3, 3, 0.05, False),
        (4, 4, 0.05, True),
        (1, 38, 0.05, False),
        (1, 39, 0.05, True),
        (1, 78, 0.025, False),
        (1, 79, 0.025, True),
        (10, 10, 0.05, True),
    ],
)
def test_too_few_values_have_no_bound(few: int, many: int, alpha: float, is_known: bool) -> None:
    low, high = rank_sum.interval(np.arange(float(many)), np.arange(float(few)) + 0.5, alpha)
    assert (math.isfinite(low), math.isfinite(high)) == (is_known, is_known)


@pytest.mark.parametrize("sizes", [(10, 10), (6, 15), (1, 39)])
def test_the_interval_has_the_truth_as_often_as_it_says(sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    kept = 0
    for _ in range(2000):
        low, high = rank_sum.interval(
            random.standard_t(3, sizes[0]), random.standard_t(3, sizes[1]) + 1.0, 0.05
        )
        kept += low <= 1.0 <= high
    assert 0.94 < kept / 2000 < 0.985


def test_none_and_one_say_nothing() -> None:
    nothing, one = np.array([]), np.array([1.0])
    assert math.isnan(rank_sum.hodges_lehmann(nothing, one))
    assert math.isnan(rank_sum.superiority(nothing, one))
    assert rank_sum.interval(nothing, one, 0.05) == (-math.inf, math.inf)
    assert rank_sum.p_value(nothing, one) == rank_sum.p_value(one, one) == 1.0
    assert rank_sum.brunner_munzel(one, one) is None


def test_more_values_than_memory_is_meant_for_are_refused() -> None:
    with pytest.raises(ValueError, match="1001 values are more than 1000"):
        rank_sum.differences(np.zeros(1001), np.zeros(2))


# --- Brunner and Munzel -----------------------------------------------------------------------


@given(TIED, TIED)
def test_brunner_and_munzels_probability_is_scipys(base: list[int], new: list[int]) -> None:
    a, b = as_floats(base), as_floats(new)
    overlap = min(a.max(), b.max()) > max(a.min(), b.min())
    assume(overlap and len({*base}) > 1 and len({*new}) > 1)
    found = rank_sum.brunner_munzel(a, b)
    rarest = 2 / math.comb(a.size + b.size, a.size)
    expected = stats.brunnermunzel(a, b).pvalue
    assert found == pytest.approx(max(expected, rarest), rel=1e-7)


def test_sides_that_do_not_overlap_are_as_rare_as_an_order_can_be() -> None:
    low, high = np.arange(5.0), np.arange(5.0) + 10
    assert rank_sum.brunner_munzel(low, high) == pytest.approx(2 / 252)
    assert rank_sum.superiority(low, high) == 1.0
    assert rank_sum.superiority(high, low) == 0.0


def test_values_that_are_all_the_same_differ_by_nothing() -> None:
    same = np.full(4, 7.0)
    assert rank_sum.brunner_munzel(same, same) == rank_sum.p_value(same, same) == 1.0
    assert rank_sum.superiority(same, same) == 0.5


def test_it_holds_where_the_sides_scatter_differently_and_are_of_unequal_size() -> None:
    random = np.random.default_rng(4)
    alarms = {"rank sum": 0, "Brunner–Munzel": 0}
    for _ in range(1500):
        base, new = random.normal(size=40), 5 * random.normal(size=10)
        probability = rank_sum.brunner_munzel(base, new)
        assert probability is not None
        alarms["Brunner–Munzel"] += probability < 0.05
        alarms["rank sum"] += rank_sum.p_value(base, new) < 0.05
    assert alarms["Brunner–Munzel"] / 1500 < 0.08
    assert alarms["rank sum"] / 1500 > 0.12
