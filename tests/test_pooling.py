"""Runs pooled: as if all their ticks were of one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.analysis import summarise
from latbench.clock import NS_PER_S
from latbench.histogram import Histogram
from latbench.pooling import pool
from latbench.result import HopSummary, RunResult
from latbench.series import HICCUP, Distribution
from latbench.tick import HOPS
from tests.results import make_counts, make_result, make_tail

runs = st.lists(
    st.lists(st.integers(0, 10**9), min_size=0, max_size=300), min_size=2, max_size=4
)  # fmt: skip


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def make_run(values: list[int]) -> tuple[RunResult, dict[str, Distribution]]:
    """A run of which every hop took these times, at 100 ticks a second."""
    histogram = histogram_of(values)
    span_ns = len(values) * NS_PER_S // 100
    hops = tuple(summarise(hop.name, histogram, span_ns) for hop in HOPS)
    distributions = {
        name: Distribution(histogram.counts, histogram.max_ns)
        for name in [*(hop.name for hop in HOPS), HICCUP]
        if values
    }
    hiccups = summarise(HICCUP, histogram, span_ns)
    return make_result(hops=hops, hiccups=hiccups, measured_ns=span_ns), distributions


@given(runs)
def test_runs_pooled_are_one_run_of_all_their_ticks(parts: list[list[int]]) -> None:
    made = [make_run(values) for values in parts]
    pooled = pool([result for result, _ in made], [each for _, each in made])
    values = [value for part in parts for value in part]
    expected = summarise("end_to_end", histogram_of(values), len(values) * NS_PER_S // 100)
    told = pooled.end_to_end
    assert told.count == expected.count
    assert (told.min_ns, told.max_ns) == (expected.min_ns, expected.max_ns)
    assert told.percentiles_ns == expected.percentiles_ns
    assert told.mean_ns == pytest.approx(expected.mean_ns)
    assert told.stdev_ns == pytest.approx(expected.stdev_ns, rel=1e-6, abs=1e-3 * told.max_ns)
    assert told.rate_hz == pytest.approx(expected.rate_hz)
    assert pooled.hops[HICCUP].percentiles_ns == expected.percentiles_ns


def test_one_run_is_as_its_file_says() -> None:
    result, distributions = make_run([5, 6, 7])
    pooled = pool([result], [distributions])
    assert [pooled.hops[hop.name] for hop in HOPS] == list(result.hops)
    assert pooled.tail == result.tail


def test_lost_ticks_are_added() -> None:
    results = [make_result(counts=make_counts(lost=lost)) for lost in (3, 4)]
    assert pool(results, [{}, {}]).lost == 7


def test_a_hop_that_a_run_does_not_have_counts_nothing() -> None:
    """As with `--acks 0` in one of them."""
    first, distributions = make_run([5] * 300)
    none: HopSummary = summarise("ack", Histogram(), 0)
    hops = tuple(none if hop.hop == "ack" else hop for hop in first.hops)
    second = msgspec.structs.replace(first, hops=hops)
    without = {key: each for key, each in distributions.items() if key != "ack"}
    pooled = pool([first, second], [distributions, without])
    assert pooled.hops["ack"].count == 300
    assert pooled.end_to_end.count == 600


def test_tails_are_weighed_by_their_ticks() -> None:
    tails = [
        make_tail(count=count, above_ns=above, mean_ns=dict.fromkeys(("kafka", "relay"), mean))
        for count, above, mean in ((100, 7, 10.0), (300, 5, 20.0))
    ]
    pooled = pool([make_result(tail=each) for each in (*tails, None)], [{}, {}, {}])
    assert pooled.tail is not None
    assert (pooled.tail.count, pooled.tail.above_ns) == (400, 5)
    assert pooled.tail.mean_ns == {"kafka": 17.5, "relay": 17.5}
