"""Bounds as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.errors import UsageError
from latbench.histogram import PERCENTILES, Histogram
from latbench.thresholds import STATISTICS, Threshold, parse_limit, parse_threshold
from latbench.tick import HOPS, Hop
from tests.results import make_hops


def threshold(statistic: str = "p99", operator: str = "<", limit_ns: int = 5_000_000) -> Threshold:
    return Threshold(hop="end_to_end", statistic=statistic, operator=operator, limit_ns=limit_ns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("end_to_end.p99 < 5ms", threshold()),
        ("end_to_end.p99<5ms", threshold()),
        ("  end_to_end.p99  <=  5 ms ", threshold(operator="<=")),
        ("end_to_end.p99 ≤ 5000us", threshold(operator="<=")),
        ("end_to_end.p99.99 < 1.5ms", threshold("p99.99", limit_ns=1_500_000)),
        ("end_to_end.mean < 250µs", threshold("mean", limit_ns=250_000)),
        ("end_to_end.max < 1s", threshold("max", limit_ns=1_000_000_000)),
    ],
)
def test_a_bound_is_read(text: str, expected: Threshold) -> None:
    assert parse_threshold(text) == expected


@given(
    st.sampled_from(HOPS),
    st.sampled_from(STATISTICS),
    st.sampled_from(["<", "<="]),
    st.integers(1, 24 * 3600 * 10**9),
)
def test_what_is_written_out_in_full_is_read_again(
    hop: Hop, statistic: str, operator: str, limit_ns: int
) -> None:
    read = parse_threshold(f"{hop.name}.{statistic} {operator} {limit_ns}ns")
    assert (read.statistic, read.operator, read.limit_ns) == (statistic, operator, limit_ns)


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("", "is not HOP.STATISTIC < TIME", "end_to_end.p99 < 5ms"),
        ("p99 < 5ms", "is not HOP.STATISTIC < TIME", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99", "is not HOP.STATISTIC < TIME", "end_to_end.p99 < 5ms"),
        ("end_to_ends.p99 < 5ms", "hop 'end_to_ends', which is not there", "mean end_to_end?"),
        ("end_to_end.p98 < 5ms", "statistic 'p98', which is not there", "did you mean p9"),
        ("end_to_end.q < 5ms", "statistic 'q', which is not there", "there are p50, p75"),
        ("end_to_end.p99 > 5ms", "is no upper bound", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99 == 5ms", "is no upper bound", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99 < 5", "ends in no time with its unit: '5'", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99 < 5m", "ends in no time with its unit: '5m'", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99 < ", "ends in no time with its unit: ''", "end_to_end.p99 < 5ms"),
        ("end_to_end.p99 < 0ms", "is not above 0", ""),
        ("end_to_end.p99 < 90000s", "more than the 24 h", "end_to_end.p99 < 5ms"),
    ],
)
def test_what_is_no_bound_is_told_in_an_error_and_a_hint(
    text: str, complaint: str, hint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        parse_threshold(text)
    assert complaint in raised.value.message
    assert hint in raised.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_bound_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_threshold(text)


@pytest.mark.parametrize("percent", PERCENTILES)
def test_the_ticks_needed_are_the_fewest_that_a_histogram_gives_the_percentile_for(
    percent: float,
) -> None:
    needed = threshold(f"p{percent:g}").ticks_needed
    histogram = Histogram()
    histogram.count = needed
    histogram.counts[1] = needed
    assert histogram.percentiles((percent,)) != [None]
    histogram.count = needed - 1
    assert histogram.percentiles((percent,)) == [None]


def test_mean_and_maximum_need_one_tick() -> None:
    assert threshold("mean").ticks_needed == threshold("max").ticks_needed == 1


def test_each_statistic_is_read_from_its_hop() -> None:
    hops = make_hops()
    end_to_end = next(hop for hop in hops if hop.hop == "end_to_end")
    assert threshold("mean").read(hops) == end_to_end.mean_ns
    assert threshold("max").read(hops) == end_to_end.max_ns
    assert threshold("p99").read(hops) == end_to_end.percentiles_ns["p99"]


def test_what_too_few_ticks_tell_is_not_read() -> None:
    assert threshold("p99").read(make_hops(count=50)) is None
    assert threshold("mean").read(make_hops(count=0)) is None
    assert threshold("mean").read(()) is None


@given(st.integers(1, 10**12))
def test_the_limit_itself_is_allowed_by_at_most_and_not_by_less(limit_ns: int) -> None:
    assert threshold(operator="<=", limit_ns=limit_ns).allows(limit_ns)
    assert not threshold(operator="<", limit_ns=limit_ns).allows(limit_ns)
    assert threshold(operator="<", limit_ns=limit_ns).allows(limit_ns - 1)
    assert not threshold(operator="<=", limit_ns=limit_ns).allows(limit_ns + 1)


def test_it_is_shown_as_people_write_it() -> None:
    assert str(threshold()) == "end_to_end.p99 < 5.00 ms"
    assert threshold().subject == "end_to_end.p99"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("end_to_end.p99 > 5ms", threshold(operator="<=")),
        ("p99 > 5ms", threshold(operator="<=")),
        ("p99>=5ms", threshold(operator="<")),
        ("  p99.9  ≥  5 ms ", threshold("p99.9", operator="<")),
        ("p99.99 > 5000us", threshold("p99.99", operator="<=")),
        ("max > 5ms", threshold("max", operator="<=")),
        ("end_to_end.mean > 250µs", threshold("mean", operator="<=", limit_ns=250_000)),
    ],
)
def test_what_fails_is_read_as_the_bound_that_holds(text: str, expected: Threshold) -> None:
    assert parse_limit(text) == expected


@given(st.sampled_from([">", ">="]), st.integers(1, 10**12), st.integers(0, 10**12))
def test_a_value_fails_just_when_the_text_says_so(sign: str, limit_ns: int, value_ns: int) -> None:
    fails = value_ns > limit_ns if sign == ">" else value_ns >= limit_ns
    assert parse_limit(f"kafka.p50 {sign} {limit_ns}ns").allows(value_ns) is not fails


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("", "is not HOP.STATISTIC > TIME", "--fail-on 'end_to_end.p99 > 15ms'"),
        ("> 5ms", "is not HOP.STATISTIC > TIME", "end_to_end.p99 > 15ms"),
        ("p99", "is not HOP.STATISTIC > TIME", "end_to_end.p99 > 15ms"),
        ("kafak.p99 > 5ms", "hop 'kafak', which is not there", "did you mean kafka?"),
        ("p98 > 5ms", "statistic 'p98', which is not there", "did you mean p9"),
        ("p99 < 5ms", "says nothing that fails: there are > and >=", "end_to_end.p99 > 15ms"),
        ("p99 == 5ms", "says nothing that fails", "end_to_end.p99 > 15ms"),
        ("p99 > 5", "ends in no time with its unit: '5'", "end_to_end.p99 > 15ms"),
        ("p99 > 0ms", "is not above 0", ""),
        ("p99 > 90000s", "more than the 24 h", "end_to_end.p99 > 15ms"),
    ],
)
def test_what_says_nothing_that_fails_is_told_in_an_error_and_a_hint(
    text: str, complaint: str, hint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        parse_limit(text)
    assert complaint in raised.value.message
    assert hint in raised.value.hint


@given(st.text(max_size=40))
def test_any_text_says_what_fails_or_is_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_limit(text)
