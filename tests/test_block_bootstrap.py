"""Drawing a run's own seconds again: blocks, added histograms, intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.block_bootstrap import block_length, draw, interval, means, percentiles
from latbench.histogram import Histogram, bucket_indices


@pytest.mark.parametrize(
    ("intervals", "length"), [(1, 1), (2, 2), (10, 4), (60, 8), (600, 17), (27, 6)]
)
def test_blocks_grow_with_the_cube_root(intervals: int, length: int) -> None:
    assert block_length(intervals) == length


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_a_resample_has_as_many_intervals_as_there_are(intervals: int, seed: int) -> None:
    drawn = draw(intervals, seed, 20)
    assert drawn.shape == (20, intervals)
    assert (drawn.sum(axis=1) == intervals).all()
    assert (drawn == draw(intervals, seed, 20)).all()


def test_every_interval_is_drawn_as_often_as_any_other() -> None:
    shares = draw(50, 1, 20_000).mean(axis=0)
    assert shares == pytest.approx(np.ones(50), abs=0.05)


def test_neighbours_are_drawn_together() -> None:
    drawn = draw(60, 1, 4000) > 0
    together = np.mean(drawn[:, 10] & drawn[:, 11]) / np.mean(drawn[:, 10])
    apart = np.mean(drawn[:, 10] & drawn[:, 40]) / np.mean(drawn[:, 10])
    assert together > 0.85 > apart


def made_up(intervals: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        np.rint(random.lognormal(12, 1, random.integers(0, 400))).astype(np.int64)
        for _ in range(intervals)
    ]


def counted(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Counts by interval, and the counters in use."""
    counters = np.unique(np.concatenate([bucket_indices(each) for each in values]))
    counts = np.zeros((len(values), counters.size), dtype=np.uint32)
    for row, each in zip(counts, values, strict=True):
        np.add.at(row, np.searchsorted(counters, bucket_indices(each)), 1)
    return counts, counters


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_percentiles_are_those_of_the_added_histograms(intervals: int, seed: int) -> None:
    values = made_up(intervals, seed)
    if not sum(map(len, values)):
        return
    counts, counters = counted(values)
    drawn = draw(intervals, seed, 5)
    found = percentiles(drawn, counts, counters, [50.0, 90.0])
    average = means(
        drawn, np.array([len(v) for v in values], float), np.array([v.sum() for v in values], float)
    )
    for number, times in enumerate(drawn.astype(int).tolist()):
        added = Histogram()
        for each, often in zip(values, times, strict=True):
            for _ in range(often):
                added.record(each)
        if not added.count:
            assert math.isnan(found[50.0][number])
            continue
        for percent in (50.0, 90.0):
            # the histogram's own is never above the exact maximum
            assert min(found[percent][number], added.max_ns) == added.value_at(percent)
        assert average[number] == pytest.approx(added.mean_ns)


def test_an_interval_leaves_alpha_out_and_is_infinite_for_what_is_not_known() -> None:
    values = np.arange(1001.0)
    assert interval(values, 0.05) == (25.0, 975.0)
    assert interval(np.array([]), 0.05) == (-math.inf, math.inf)
    assert interval(np.array([1.0, math.nan]), 0.05) == (-math.inf, math.inf)


def test_blocks_see_that_seconds_depend_on_each_other() -> None:
    """Means of 120 s, each second's half that of the one before."""
    random = np.random.default_rng(5)
    kept = alone = 0
    for number in range(300):
        noise = random.normal(size=140)
        for second in range(1, 140):
            noise[second] += 0.5 * noise[second - 1]
        series = 100 + noise[20:]
        drawn = draw(120, number, 400)
        low, high = interval(means(drawn, np.ones(120), series), 0.05)
        kept += low <= 100 <= high
        width = 1.96 * series.std() / math.sqrt(120)
        alone += abs(series.mean() - 100) <= width
    assert kept / 300 > 0.87
    assert alone / 300 < 0.83
