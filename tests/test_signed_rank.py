"""Signed ranks: the test against scipy, its interval against the test, the estimate by a loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from latbench.signed_rank import (
    MAX_PAIRS,
    Floats,
    hodges_lehmann,
    interval,
    least_pairs,
    p_value,
    walsh_averages,
)

ALPHAS = (0.2, 0.05, 0.025, 0.0125, 0.01, 0.001)


@st.composite
def differences(draw: st.DrawFn, least: int = 1, most: int = 25) -> Floats:
    """Whole numbers without two of the same size: no ties, and exact halves for averages."""
    sizes = draw(st.lists(st.integers(1, 10**6), min_size=least, max_size=most, unique=True))
    signs = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    return np.array(
        [size if up else -size for size, up in zip(sizes, signs, strict=True)], dtype=np.float64
    )


anything = st.lists(st.integers(-1000, 1000), min_size=1, max_size=25).map(
    lambda values: np.array(values, dtype=np.float64)
)
"""With ties and zeros."""


@given(differences(), st.integers(-2000, 2000))
def test_the_p_value_is_scipys_exact_one(values: Floats, centre: int) -> None:
    shifted = values - (centre + 0.25)  # no difference of none, and of no two the same size
    assume(len(set(np.abs(shifted))) == len(shifted))
    expected = stats.wilcoxon(shifted, method="exact").pvalue
    assert p_value(values, centre + 0.25) == pytest.approx(expected, rel=1e-12)
    assert p_value(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_the_p_value_is_that_of_a_table() -> None:
    # n = 10, T = 8: the critical value of the two-sided test at 5 % (Wilcoxon 1945)
    values = np.array([-1, -2, -5, 3, 4, 6, 7, 8, 9, 10], dtype=np.float64)
    assert p_value(values) == pytest.approx(50 / 1024)


@given(anything, st.sampled_from(ALPHAS))
def test_the_interval_is_all_centres_that_the_test_does_not_reject(
    values: Floats, alpha: float
) -> None:
    low, high = interval(values, alpha)
    averages = np.unique(walsh_averages(values))
    between = (averages[1:] + averages[:-1]) / 2
    for centre in (averages[0] - 1, *between, averages[-1] + 1):  # none is an average
        assert (low < centre < high) == (p_value(values, centre) > alpha)


@given(anything, st.integers(-1000, 1000))
def test_a_centre_that_equals_averages_is_never_surer_than_those_beside_it(
    values: Floats, centre: int
) -> None:
    beside = [p_value(values, centre - 0.25), p_value(values, centre + 0.25)]
    assert min(beside) <= p_value(values, centre) <= 1


@given(anything)
def test_the_estimate_is_that_of_a_plain_loop(values: Floats) -> None:
    pairs = itertools.combinations_with_replacement(values.tolist(), 2)
    averages = sorted((a + b) / 2 for a, b in pairs)
    assert walsh_averages(values).tolist() == averages
    middle = len(averages) // 2
    expected = (
        averages[middle] if len(averages) % 2 else (averages[middle - 1] + averages[middle]) / 2
    )
    assert hodges_lehmann(values) == expected


@given(anything)
def test_the_interval_is_the_wider_the_surer_and_holds_the_estimate(values: Floats) -> None:
    ends = [interval(values, alpha) for alpha in ALPHAS]
    for (low, high), (wider_low, wider_high) in itertools.pairwise(ends):
        assert wider_low <= low <= high <= wider_high
    assert all(low <= hodges_lehmann(values) <= high for low, high in ends)


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.05, 0.025, 0.0125, 0.05 / 6, 0.0625, 0.001])
def test_from_the_least_pairs_on_an_interval_has_ends(alpha: float) -> None:
    least = least_pairs(alpha)
    assert interval(np.arange(float(least - 1)), alpha) == (-math.inf, math.inf)
    assert interval(np.arange(float(least)), alpha) == (0.0, least - 1.0)


def test_five_pairs_decide_nothing_at_five_per_cent_and_six_do() -> None:
    assert least_pairs(0.05) == 6
    assert p_value(np.arange(1.0, 6.0)) == 2 / 2**5
    assert p_value(np.arange(1.0, 7.0)) == 2 / 2**6


@given(anything, st.integers(-1000, 1000), st.sampled_from([0.25, 2.0, 1024.0]))
def test_shifted_scaled_and_turned_differences_give_that_of_the_results(
    values: Floats, shift: int, scale: float
) -> None:
    low, high = interval(values, 0.05)
    middle = hodges_lehmann(values)
    assert interval(values + shift, 0.05) == (low + shift, high + shift)
    assert hodges_lehmann(values + shift) == middle + shift
    assert interval(values * scale, 0.05) == (low * scale, high * scale)
    assert hodges_lehmann(values * scale) == middle * scale
    assert interval(-values, 0.05) == (-high, -low)
    assert hodges_lehmann(-values) == -middle
    assert p_value(values, shift) == p_value(-values, -shift) == p_value(values - shift)


def test_no_differences_tell_nothing() -> None:
    none = np.empty(0)
    assert math.isnan(hodges_lehmann(none))
    assert interval(none, 0.05) == (-math.inf, math.inf)
    assert p_value(none) == 1.0


def test_differences_of_nothing_are_no_finding() -> None:
    same = np.zeros(10)
    assert (p_value(same), hodges_lehmann(same), interval(same, 0.05)) == (1.0, 0.0, (0.0, 0.0))


def test_the_interval_has_the_confidence_that_it_says() -> None:
    chooser = np.random.default_rng(7)
    samples = chooser.standard_t(3, size=(2000, 10)) + 5.0
    held = sum(low <= 5.0 <= high for low, high in (interval(each, 0.05) for each in samples))
    assert 0.945 <= held / 2000 <= 0.97  # exact: 0.9512


def test_more_pairs_than_the_exact_distribution_is_made_for_are_refused() -> None:
    assert MAX_PAIRS == 1_000
    with pytest.raises(ValueError, match="1001 pairs are more than 1000"):
        interval(np.arange(1001.0), 0.05)
