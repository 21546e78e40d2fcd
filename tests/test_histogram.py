from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latbench.histogram import (
    COUNTERS,
    HIGHEST_NS,
    MIN_SAMPLES_BEYOND,
    PERCENTILES,
    Histogram,
    Values,
    bucket_indices,
    bucket_indices_plainly,
    highest_equivalent,
)

# every magnitude as often as any other, and the counters' borders
latencies = st.one_of(
    st.integers(0, HIGHEST_NS),
    st.integers(0, 46).flatmap(lambda bits: st.integers(0, 2**bits)),
    st.builds(lambda bits, step: max(2**bits + step, 0), st.integers(0, 46), st.integers(-2, 2)),
)
few = st.lists(latencies, max_size=30)
seeds = st.integers(0, 2**32 - 1)


def array(values: Sequence[int]) -> Values:
    return np.array(values, dtype=np.int64)


def histogram_of(*parts: Sequence[int]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.record(array(part))
    return histogram


def plain_of(values: Sequence[int]) -> HdrHistogram:
    """The plain twin: HdrHistogram's own, a value at a time."""
    plain = HdrHistogram(1, HIGHEST_NS, 3)
    for value in values:
        assert plain.record_value(value)
    return plain


@functools.cache
def many(seed: int, count: int = 30_000) -> Values:
    """Latencies around half a millisecond with a long tail."""
    rng = np.random.default_rng(seed)
    values = np.rint(rng.lognormal(rng.uniform(6, 16), rng.uniform(0.1, 2), count))
    return np.minimum(values, HIGHEST_NS).astype(np.int64)


def nearest_rank(values: Values, percent: float) -> int:
    rank = max(math.ceil(round(percent * len(values) / 100, 6)), 1)
    return int(np.sort(values)[rank - 1])


def same(one: Histogram, other: Histogram) -> bool:
    exact = ("count", "min_ns", "max_ns", "sum_ns", "sum_of_squares", "negative", "out_of_range")
    return bool((one.counts == other.counts).all()) and all(
        getattr(one, name) == getattr(other, name) for name in exact
    )


@given(few)
def test_a_value_falls_into_the_counter_that_hdr_histogram_has_for_it(values: list[int]) -> None:
    plain = HdrHistogram(1, HIGHEST_NS, 3)
    expected = [plain._counts_index_for(value) for value in values]
    assert bucket_indices(array(values)).tolist() == expected
    for value, index in zip(values, expected, strict=True):
        assert highest_equivalent(index) == plain.get_highest_equivalent_value(value)


@given(few)
def test_counters_by_a_floats_bits_are_those_by_the_bit_length(values: list[int]) -> None:
    assert (bucket_indices(array(values)) == bucket_indices_plainly(array(values))).all()


def test_every_border_between_counters_is_where_it_was() -> None:
    firsts = [0, *(highest_equivalent(index) + 1 for index in range(COUNTERS - 1))]
    borders = array(sorted({max(first + step, 0) for first in firsts for step in (-1, 0, 1)}))
    borders = borders[borders <= HIGHEST_NS]
    assert (bucket_indices(borders) == bucket_indices_plainly(borders)).all()
    small = np.arange(5000, dtype=np.int64)
    assert (bucket_indices(small) == bucket_indices_plainly(small)).all()


@given(few)
@settings(max_examples=50)
def test_counting_in_bulk_gives_the_counts_of_one_at_a_time(values: list[int]) -> None:
    histogram = histogram_of(values)
    assert histogram.counts.tolist() == list(plain_of(values).counts)
    assert histogram.count == len(values)
    assert histogram.sum_ns == sum(values)
    assert histogram.min_ns == min(values, default=0)
    assert histogram.max_ns == max(values, default=0)


@pytest.mark.parametrize("count", [1, 2047, 2048, 5000])
def test_small_and_large_arrays_are_counted_alike(count: int) -> None:
    values = many(3)[:count]
    expected = np.bincount(bucket_indices(values), minlength=COUNTERS)
    assert (histogram_of(values).counts == expected).all()  # type: ignore[arg-type]


@given(seeds)
@settings(max_examples=30)
def test_percentiles_are_within_a_thousandth_of_the_exact_ones(seed: int) -> None:
    values = many(seed)
    histogram = Histogram()
    histogram.record(values)
    for percent, found in zip(PERCENTILES, histogram.percentiles(), strict=True):
        exact = nearest_rank(values, percent)
        beyond = len(values) - math.ceil(round(percent * len(values) / 100, 6))
        assert (found is None) == (beyond < MIN_SAMPLES_BEYOND)
        if found is not None:
            assert exact <= found <= exact * 1.001
        assert exact <= histogram.value_at(percent) <= exact * 1.001


@given(few.filter(bool), st.sampled_from(PERCENTILES))
def test_a_value_to_draw_with_is_never_above_the_greatest(
    values: list[int], percent: float
) -> None:
    found = histogram_of(values).value_at(percent)
    exact = nearest_rank(array(values), percent)
    assert exact <= found <= max(exact * 1.001, exact)
    assert found <= max(values)


@pytest.mark.parametrize(
    ("percent", "least"), [(50.0, 200), (99.0, 10_000), (99.9, 100_000), (99.99, 1_000_000)]
)
def test_a_percentile_is_told_from_a_hundred_samples_beyond_it_on(
    percent: float, least: int
) -> None:
    values = np.arange(least, dtype=np.int64)
    histogram = Histogram()
    histogram.record(values[:-1])
    assert histogram.percentiles([percent]) == [None]
    histogram.record(values[-1:])
    (found,) = histogram.percentiles([percent])
    assert found is not None
    exact = nearest_rank(values, percent)
    assert exact <= found <= exact * 1.001


def test_a_percentile_is_never_above_the_maximum() -> None:
    histogram = Histogram()
    histogram.record(np.full(1000, 1_000_001, dtype=np.int64))  # the first of its counter's 1,024
    assert highest_equivalent(int(bucket_indices(array([1_000_001]))[0])) > 1_000_001
    assert histogram.percentiles([50.0]) == [1_000_001]
    assert histogram.value_at(99.0) == 1_000_001


def test_nothing_recorded_is_told_as_nothing() -> None:
    histogram = Histogram()
    histogram.record(array([]))
    assert histogram.percentiles() == [None] * len(PERCENTILES)
    assert (histogram.value_at(50.0), histogram.mean_ns, histogram.stdev_ns) == (0, 0.0, 0.0)
    assert (histogram.min_ns, histogram.max_ns) == (0, 0)


@given(few, few)
@example([], [5])
@example([5], [])
@settings(max_examples=50)
def test_adding_is_recording_one_after_the_other(first: list[int], second: list[int]) -> None:
    added = histogram_of(first)
    added.add(histogram_of(second))
    assert same(added, histogram_of(first + second))
    assert same(added, histogram_of(first, second))


@given(few, few, few)
@settings(max_examples=50)
def test_it_does_not_matter_in_which_order_histograms_are_added(
    first: list[int], second: list[int], third: list[int]
) -> None:
    def total(*parts: Histogram) -> Histogram:
        out = Histogram()
        for part in parts:
            out.add(part)
        return out

    one, two, three = histogram_of(first), histogram_of(second), histogram_of(third)
    assert same(total(one, two), total(two, one))
    assert same(total(total(one, two), three), total(one, total(two, three)))


@given(st.lists(latencies | st.integers(-(2**62), -1) | st.integers(HIGHEST_NS + 1, 2**62)))
def test_values_out_of_range_are_counted_apart(values: list[int]) -> None:
    histogram = histogram_of(values)
    assert histogram.negative == sum(value < 0 for value in values)
    assert histogram.out_of_range == sum(value > HIGHEST_NS for value in values)
    inside = histogram_of([value for value in values if 0 <= value <= HIGHEST_NS])
    inside.negative, inside.out_of_range = histogram.negative, histogram.out_of_range
    assert same(histogram, inside)


def test_both_ends_of_the_range_belong_to_it() -> None:
    histogram = histogram_of([-1, 0, HIGHEST_NS, HIGHEST_NS + 1])
    assert (histogram.count, histogram.negative, histogram.out_of_range) == (2, 1, 1)
    assert (histogram.min_ns, histogram.max_ns) == (0, HIGHEST_NS)


@given(few.filter(bool))
def test_mean_and_deviation_are_those_of_the_samples_themselves(values: list[int]) -> None:
    histogram = histogram_of(values)
    assert histogram.mean_ns == statistics.fmean(values)
    assert histogram.sum_of_squares == sum(value**2 for value in values)
    assert histogram.stdev_ns == pytest.approx(statistics.pstdev(values), rel=1e-14)


@pytest.mark.parametrize(
    "longest",
    [
        HIGHEST_NS,
        (1 << 24) - 1,  # the greatest lower half
        11_863_283,  # up to which the squares of 65,536 are added at once
        11_863_284,
    ],
)
def test_a_block_of_the_longest_latencies_does_not_overflow(longest: int) -> None:
    values = np.full(1 << 16, longest, dtype=np.int64)
    histogram = Histogram()
    histogram.record(values)
    histogram.record(values)
    assert histogram.sum_ns == 2 * longest * len(values)
    assert histogram.sum_of_squares == 2 * longest**2 * len(values)
    assert (histogram.mean_ns, histogram.stdev_ns) == (longest, 0)


@given(few, few)
@settings(max_examples=30)
def test_clearing_forgets_everything(first: list[int], second: list[int]) -> None:
    histogram = histogram_of([*first, -1, HIGHEST_NS + 1])
    histogram.clear()
    assert same(histogram, Histogram())
    histogram.record(array(second))
    assert same(histogram, histogram_of(second))


@given(few)
@settings(max_examples=30)
def test_any_hdr_histogram_reads_what_is_encoded(values: list[int]) -> None:
    encoded = histogram_of(values).encode()
    decoded, plain = HdrHistogram.decode(encoded.encode()), plain_of(values)
    assert decoded.get_total_count() == len(values)
    assert decoded.get_max_value() == plain.get_max_value()
    assert decoded.get_min_value() == plain.get_min_value()
    assert [decoded.get_count_at_index(index) for index in range(COUNTERS)] == list(plain.counts)
    counts = Histogram.decode_counts(encoded)
    assert (counts == histogram_of(values).counts).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_decoded_histogram_has_the_same_percentiles(seed: int) -> None:
    histogram = Histogram()
    histogram.record(many(seed))
    told = dict(zip(PERCENTILES, histogram.percentiles(), strict=True))
    known = {percent: value for percent, value in told.items() if value is not None}
    decoded = HdrHistogram.decode(histogram.encode().encode())
    assert decoded.get_percentile_to_value_dict(list(known)) == known


def decoded(histogram: Histogram, **changes: float) -> Histogram:
    figures = {
        name: getattr(histogram, name)
        for name in ("min_ns", "max_ns", "mean_ns", "stdev_ns", "negative", "out_of_range")
    }
    return Histogram.decode(histogram.encode(), **figures | changes)


@given(few)
def test_a_histogram_comes_back_from_its_encoding_and_figures(values: list[int]) -> None:
    histogram = histogram_of(values, [-1, HIGHEST_NS + 1])
    back = decoded(histogram)
    assert (back.counts == histogram.counts).all()
    for name in ("count", "min_ns", "max_ns", "negative", "out_of_range"):
        assert getattr(back, name) == getattr(histogram, name)
    assert back.mean_ns == pytest.approx(histogram.mean_ns, rel=1e-15)
    assert math.isclose(back.stdev_ns, histogram.stdev_ns, rel_tol=1e-7, abs_tol=1.0)


@given(seeds)
def test_what_came_back_has_the_exact_sum(seed: int) -> None:
    histogram = histogram_of(many(seed).clip(max=10**11).tolist())
    assert histogram.sum_ns < 1 << 52
    assert decoded(histogram).sum_ns == histogram.sum_ns


@given(few, few)
def test_histograms_that_came_back_add_to_that_of_all_values(
    first: list[int], second: list[int]
) -> None:
    total, whole = Histogram(), histogram_of(first, second)
    for part in (first, second):
        total.add(decoded(histogram_of(part)))
    assert (total.counts == whole.counts).all()
    assert (total.count, total.min_ns, total.max_ns) == (whole.count, whole.min_ns, whole.max_ns)
    assert total.percentiles() == whole.percentiles()
    assert total.mean_ns == pytest.approx(whole.mean_ns, rel=1e-14)
    assert math.isclose(total.stdev_ns, whole.stdev_ns, rel_tol=1e-7, abs_tol=1.0)


@given(st.text(max_size=60))
def test_what_is_no_encoded_histogram_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"histogram|encode|codec"):
        Histogram.decode(text, min_ns=0, max_ns=0, mean_ns=0.0, stdev_ns=0.0)


def test_a_histogram_of_another_precision_is_a_value_error() -> None:
    other = HdrHistogram(1, HIGHEST_NS, 2, b64_wrap=True)
    other.record_value(7)
    with pytest.raises(ValueError, match="of another range or precision"):
        Histogram.decode(other.encode().decode(), min_ns=7, max_ns=7, mean_ns=7.0, stdev_ns=0.0)
