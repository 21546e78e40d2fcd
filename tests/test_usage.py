from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.histogram import Histogram
from latbench.recording import MACHINE, PROCESSES, SAMPLED, USAGE
from latbench.result import MachineFigures
from latbench.ring import Rows
from latbench.usage import MAX_MOMENTS, machine_figures, process_figures, thinned, within
from tests.rows import empty_rows

COUNTERS = ("cpu_ns", "involuntary_switches", "voluntary_switches", "minor_faults", "major_faults")


def samples(*moments: int) -> Rows:
    return np.array([[at, number] for number, at in enumerate(moments)], dtype=np.int64)


@pytest.mark.parametrize(
    ("moments", "kept"),
    [
        ([], []),
        ([5], [5]),  # the nearest there is
        ([15], [15]),
        ([25], [25]),
        ([0, 5, 15, 25, 30], [5, 15, 25]),
        ([10, 15, 20], [10, 15, 20]),  # at the ends themselves
        ([9, 10, 20, 21], [10, 20]),
        ([12, 14, 18], [12, 14, 18]),  # none around
        ([0, 5], [5]),
        ([25, 30], [25]),
        ([0, 30], [0, 30]),
    ],
)
def test_a_span_is_enclosed_by_the_nearest_samples(moments: list[int], kept: list[int]) -> None:
    rows = samples(*moments).reshape(-1, 2)
    assert within(rows, 10, 20)[:, 0].tolist() == kept


def usage(process: str, at_s: float, **values: int) -> list[int]:
    row = dict.fromkeys(SAMPLED[USAGE], 0)
    row |= {"at_ns": round(at_s * NS_PER_S), "process": PROCESSES.index(process), **values}
    return list(row.values())


def figures(*rows: list[int], hiccups: Any = None, from_s: int = 10, to_s: int = 20) -> Any:
    table = np.array(rows, dtype=np.int64).reshape(-1, len(SAMPLED[USAGE]))
    found = process_figures(table, hiccups or {}, from_s * NS_PER_S, to_s * NS_PER_S)
    return {each.process: each for each in found}


def test_counters_are_what_was_added_and_levels_as_they_were_last() -> None:
    rows = []
    for at_s in range(8, 23):  # the sample of 20 s comes late
        values = {name: number * at_s + 7 for number, name in enumerate(COUNTERS, start=1)}
        levels = {"rss_bytes": 1000 + at_s, "peak_rss_bytes": 2000 + at_s, "descriptors": at_s}
        rows.append(usage("relay", at_s + (at_s == 20) / 4, **values, **levels))
        rows.append(usage("consumer", at_s))
    relay = figures(*rows)["relay"]
    assert relay.span_ns == 10.25 * NS_PER_S
    assert [getattr(relay, name) for name in COUNTERS] == [10, 20, 30, 40, 50]
    assert (relay.rss_bytes, relay.peak_rss_bytes, relay.descriptors) == (1020, 2020, 20)
    assert relay.hiccups is None


def test_a_share_of_a_cpu_is_over_the_time_between_the_samples() -> None:
    rows = [usage("relay", at_s, cpu_ns=at_s * 600 * NS_PER_MS) for at_s in range(30)]
    assert figures(*rows)["relay"].cpu_share == 0.6
    assert figures(*rows[12:16])["relay"].cpu_share == 0.6


def test_one_sample_tells_levels_and_no_more() -> None:
    only = figures(usage("relay", 15, cpu_ns=4, rss_bytes=5))["relay"]
    assert (only.span_ns, only.cpu_ns, only.cpu_share, only.rss_bytes) == (0, 0, 0.0, 5)


def test_a_thread_that_ends_takes_nothing_away() -> None:
    switches = [100, 150, 180, 20, 25, 65]  # one that had switched 160 times or more ended
    rows = [
        usage("generator", 10 + second, voluntary_switches=total, cpu_ns=second)
        for second, total in enumerate(switches)
    ]
    generator = figures(*rows)["generator"]
    assert generator.voluntary_switches == 50 + 30 + 5 + 40
    assert generator.cpu_ns == 5


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=5, max_size=5), min_size=1, max_size=11))
def test_what_was_added_is_never_below_zero(totals: list[list[int]]) -> None:
    rows = [
        usage("broker", 10 + number, **dict(zip(COUNTERS, values, strict=True)))
        for number, values in enumerate(totals)
    ]
    broker = figures(*rows)["broker"]
    for number, name in enumerate(COUNTERS):
        added = getattr(broker, name)
        assert added >= max(totals[-1][number] - totals[0][number], 0)
        if [each[number] for each in totals] == sorted(each[number] for each in totals):
            assert added == totals[-1][number] - totals[0][number]


def test_processes_come_in_their_order_with_their_meters() -> None:
    meter = Histogram()
    meter.record(np.arange(1, 1001, dtype=np.int64))
    hiccups = {"broker": meter, "relay": Histogram(), "generator": meter}
    found = figures(usage("relay", 12), usage("supervisor", 12), hiccups=hiccups)
    assert list(found) == [name for name in PROCESSES if name not in {"consumer", "subscriber"}]
    assert found["relay"].hiccups is None  # a meter that recorded nothing is none
    assert found["broker"].hiccups.count == 1000
    assert found["broker"].hiccups.rate_hz == 100  # over the measured span
    assert (found["broker"].span_ns, found["broker"].rss_bytes) == (0, 0)
    assert found["supervisor"].hiccups is None


def test_without_samples_and_meters_there_are_no_processes() -> None:
    assert figures() == {}


def machine(*rows: tuple[int, int, int, int, int]) -> MachineFigures | None:
    table = np.array(rows, dtype=np.int64).reshape(-1, len(SAMPLED[MACHINE]))
    return machine_figures(table, 10, 20)


def test_shares_of_the_machine_are_of_the_time_of_all_cpus() -> None:
    rows = [(at, 100 + at * 5, 200 + at * 2, 300 + at * 1, 400 + at * 2) for at in range(5, 30)]
    assert machine(*rows) == MachineFigures(busy=0.5, steal=0.2, iowait=0.1)


def test_a_counter_of_the_machine_that_goes_back_counts_as_nothing() -> None:
    assert machine((10, 0, 0, 900, 0), (20, 3, 1, 890, 0)) == MachineFigures(
        busy=0.75, steal=0.0, iowait=0.0
    )


def test_fewer_than_two_samples_say_nothing_of_the_machine() -> None:
    assert machine_figures(empty_rows(MACHINE), 10, 20) is None
    assert machine((12, 1, 2, 3, 4)) is None


def test_a_machine_whose_time_stood_still_was_not_busy() -> None:
    assert machine((12, 1, 2, 3, 4), (13, 1, 2, 3, 4)) == MachineFigures(
        busy=0.0, steal=0.0, iowait=0.0
    )


@pytest.mark.parametrize("moments", [1, MAX_MOMENTS, MAX_MOMENTS + 1, 5 * MAX_MOMENTS + 7])
def test_samples_of_a_long_run_are_thinned_by_whole_moments(moments: int) -> None:
    rows = np.repeat(np.arange(moments), 2)[:, np.newaxis] * np.array([[7, 1]])
    kept = thinned(rows)
    every = -(-moments // MAX_MOMENTS)
    assert kept[:, 1].tolist() == np.repeat(np.arange(0, moments, every), 2).tolist()
    assert len(kept) <= 2 * MAX_MOMENTS
