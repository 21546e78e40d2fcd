"""Student's t distribution against the tables, against samples, and in its limits."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from latbench.student import two_sided_probability, two_sided_quantile

PROBABILITIES = st.floats(1e-9, 0.999)


@pytest.mark.parametrize(
    ("probability", "degrees", "t"),
    [  # Abramowitz and Stegun, table 26.10
        (0.05, 1, 12.706),
        (0.05, 2, 4.303),
        (0.05, 5, 2.571),
        (0.01, 9, 3.250),
        (0.001, 10, 4.587),
        (0.001, 30, 3.646),
        (0.01, 120, 2.617),
    ],
)
def test_it_is_as_the_tables_have_it(probability: float, degrees: int, t: float) -> None:
    assert two_sided_quantile(probability, degrees) == pytest.approx(t, abs=5e-4)


@given(PROBABILITIES)
def test_one_degree_is_cauchys_and_two_have_a_root(probability: float) -> None:
    cauchy = 1 / math.tan(math.pi * probability / 2)
    assert two_sided_quantile(probability, 1) == pytest.approx(cauchy, rel=1e-6)
    inner = 1 - probability
    root = inner * math.sqrt(2 / (1 - inner * inner))
    assert two_sided_quantile(probability, 2) == pytest.approx(root, rel=1e-6)


@given(st.floats(1e-4, 0.999), st.integers(1, 200))
def test_it_falls_towards_the_normal_one(probability: float, degrees: int) -> None:
    now, more = (two_sided_quantile(probability, n) for n in (degrees, degrees + 1))
    assert now > more > NormalDist().inv_cdf(1 - probability / 2) - 1e-9


@pytest.mark.parametrize("degrees", [3, 4, 9, 19])
def test_samples_exceed_it_as_often_as_it_says(degrees: int) -> None:
    sample = np.random.default_rng(1).standard_t(degrees, 400_000)
    share = np.mean(np.abs(sample) > two_sided_quantile(0.01, degrees))
    assert share == pytest.approx(0.01, rel=0.06)


@pytest.mark.parametrize(("probability", "degrees"), [(0, 3), (1, 3), (-0.1, 3), (0.5, 0)])
def test_what_has_no_quantile_is_refused(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match=f"probability {probability}, degrees {degrees}"):
        two_sided_quantile(probability, degrees)


@given(st.floats(1, 5000), st.floats(-30, 30))
def test_degrees_that_are_not_whole_are_as_scipy_has_them(degrees: float, t: float) -> None:
    expected = 2 * stats.t.sf(abs(t), degrees)
    found = two_sided_probability(t, degrees)
    assert found == pytest.approx(expected, rel=1e-7 if expected > 1e-40 else 1e-2, abs=1e-300)


@given(PROBABILITIES, st.integers(1, 200))
def test_the_probability_is_the_quantiles_opposite(probability: float, degrees: int) -> None:
    t = two_sided_quantile(probability, degrees)
    assert two_sided_probability(t, degrees) == pytest.approx(probability, rel=1e-6)


def test_a_probability_has_its_ends() -> None:
    assert two_sided_probability(math.inf, 3.5) == 0.0
    assert two_sided_probability(0.0, 3.5) == 1.0
    with pytest.raises(ValueError, match=r"degrees 0\.5"):
        two_sided_probability(1.0, 0.5)
