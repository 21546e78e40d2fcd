"""The curve through measured points, against queues whose latency is known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.queueing import MIN_POINTS, Curve, fit

RATES = (1000, 2000, 4000, 8000, 16_000, 24_000, 28_000, 30_000)

CURVES = st.builds(
    Curve,
    base_ns=st.floats(1e5, 1e8),
    wait_ns=st.floats(1e4, 1e8),
    capacity_hz=st.floats(31_000, 200_000),
)


def latency(curve: Curve, rate_hz: float) -> float:
    value_ns = curve.latency_ns(rate_hz)
    assert value_ns is not None
    return value_ns


@given(CURVES)
def test_a_curve_is_found_again_by_its_points(curve: Curve) -> None:
    found = fit({rate: latency(curve, rate) for rate in RATES})
    assert found is not None
    assert found.points == len(RATES)
    for rate in (500, 3000, 12_000, 20_000, 29_000):
        assert found.curve.latency_ns(rate) == pytest.approx(latency(curve, rate), rel=1e-3)
    assert found.worst_error is not None
    assert found.worst_error < 0.02


@pytest.mark.parametrize("quantile", [0.5, 0.99])
def test_percentiles_of_a_simulated_queue_lie_on_it(quantile: float) -> None:
    """M/M/1 by Lindley's recursion: a queue that knows nothing of the formula."""
    service_ns, chance = 25_000.0, random.Random(7)
    measured = {}
    for rate in (4000, 8000, 16_000, 20_000, 24_000, 28_000, 32_000):
        wait_ns, sojourns = 0.0, []
        for _ in range(60_000):
            service = chance.expovariate(1 / service_ns)
            sojourns.append(wait_ns + service)
            wait_ns = max(wait_ns + service - chance.expovariate(rate / 1e9), 0.0)
        sojourns.sort()
        measured[rate] = sojourns[int(quantile * len(sojourns))]
    found = fit(measured)
    assert found is not None
    assert found.curve.capacity_hz == pytest.approx(1e9 / service_ns, rel=0.1)
    theory = 1e9 / (1e9 / service_ns - 12_000) * math.log(1 / (1 - quantile))
    assert found.curve.latency_ns(12_000) == pytest.approx(theory, rel=0.1)
    assert found.median_error is not None
    assert found.median_error < 0.1


def test_a_latency_that_does_not_depend_on_the_load_has_no_waits() -> None:
    found = fit(dict.fromkeys(RATES, 1e6))
    assert found is not None
    assert found.curve.wait_ns == 0
    assert found.curve.latency_ns(10**6) == pytest.approx(1e6)
    assert found.curve.rate_hz(2e6) is None
    assert found.worst_error == pytest.approx(0)


def test_a_latency_that_falls_with_the_load_is_badly_fitted_and_says_so() -> None:
    found = fit({rate: 1e9 / rate for rate in RATES})
    assert found is not None
    assert found.worst_error is not None
    assert found.worst_error > 0.5


def test_a_point_beyond_the_capacity_of_the_others_can_not_be_told() -> None:
    curve = Curve(base_ns=1e6, wait_ns=1e6, capacity_hz=16_100)
    points = {rate: latency(curve, rate) for rate in (1000, 4000, 8000, 12_000, 16_000)}
    found = fit({**points, 20_000: 9e6})
    assert found is not None
    last = found.left_out[-1]
    assert (last.rate_hz, last.predicted_ns, last.error) == (20_000, None, None)
    assert found.errors[-1] is None
    assert found.worst_error == max(abs(error) for error in found.errors[:-1] if error is not None)


@pytest.mark.parametrize("count", range(MIN_POINTS))
def test_few_points_make_no_curve(count: int) -> None:
    assert fit(dict.fromkeys(RATES[:count], 1000000.0)) is None


def test_as_many_points_as_parameters_and_one_leave_none_out() -> None:
    found = fit(dict.fromkeys(RATES[:MIN_POINTS], 1000000.0))
    assert found is not None
    assert found.left_out == ()
    assert found.median_error is None
    assert found.worst_error is None


@given(st.dictionaries(st.integers(1, 10**6), st.floats(1, 1e12), min_size=4, max_size=12))
def test_any_points_make_a_curve_that_never_falls(points: dict[int, float]) -> None:
    found = fit(points)
    assert found is not None
    curve = found.curve
    assert curve.base_ns >= 0
    assert curve.wait_ns >= 0
    assert curve.capacity_hz > max(points)
    rates = sorted(points)
    values = [latency(curve, rate) for rate in rates]
    assert all(math.isfinite(value) for value in values)
    assert values == sorted(values)


@given(CURVES, st.floats(1.01, 100))
def test_a_rate_is_where_its_latency_is(curve: Curve, factor: float) -> None:
    wanted_ns = curve.base_ns + curve.wait_ns * factor
    rate = curve.rate_hz(wanted_ns)
    assert rate is not None
    assert latency(curve, rate) == pytest.approx(wanted_ns, rel=1e-6)
    assert curve.latency_ns(curve.capacity_hz) is None
    assert curve.rate_hz(curve.base_ns) is None
