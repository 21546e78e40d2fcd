from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.analysis import (
    HopFigures,
    RateFigures,
    SecondMedians,
    TailFigures,
    percentile_name,
    summarise,
)
from latbench.assembly import MISSING
from latbench.clock import NS_PER_S
from latbench.histogram import HIGHEST_NS, MIN_SAMPLES_BEYOND, PERCENTILES, Histogram
from latbench.result import HopSummary
from latbench.tick import HOPS, PARTS
from tests.rows import make_stamps

Stamps = Mapping[str, npt.NDArray[np.int64]]

STAMP_NAMES = ("due_ns", "sent_ns", "relay_in_ns", "relay_out_ns", "acked_ns", "consumed_ns")
SPAN_NS = 3 * NS_PER_S
seeds = st.integers(0, 2**32 - 1)
gaps = st.integers(0, 2**44) | st.integers(0, 46).flatmap(lambda bits: st.integers(0, 2**bits))


@st.composite
def few_stamps(draw: st.DrawFn) -> dict[str, npt.NDArray[np.int64]]:
    """A few ticks with arbitrary stamps, of which any but `due` may be missing."""
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        moment = draw(st.integers(0, 2**60))
        row = [moment]
        for name in STAMP_NAMES[1:]:
            moment = row[3 if name == "consumed_ns" else -1] + draw(gaps)
            row.append(moment)
        missing = draw(st.sets(st.integers(1, 5), max_size=2))
        rows.append([MISSING if number in missing else ns for number, ns in enumerate(row)])
    table = np.array(rows, dtype=np.int64).reshape(-1, len(STAMP_NAMES))
    return {name: table[:, number] for number, name in enumerate(STAMP_NAMES)}


@st.composite
def many_stamps(draw: st.DrawFn) -> dict[str, npt.NDArray[np.int64]]:
    """Enough ticks for a p99.9, each gap log-normal of its own scale and width; some missing."""
    rng = np.random.default_rng(draw(seeds))
    count = draw(st.sampled_from([150, 12_000, 120_000]))
    table = {"due_ns": rng.integers(0, 2**60, count)}
    before = {"acked_ns": "relay_out_ns", "consumed_ns": "relay_out_ns"}
    for last, name in itertools.pairwise(STAMP_NAMES):
        gap = rng.lognormal(rng.uniform(4, 18), rng.uniform(0.05, 2), count)
        table[name] = table[before.get(name, last)] + np.minimum(gap, 2**44).astype(np.int64)
    for name in draw(st.sets(st.sampled_from(STAMP_NAMES[1:]), max_size=2)):
        table[name][rng.random(count) < 0.01] = MISSING
    return table


def latencies(stamps: Stamps, start: str, end: str) -> list[int]:
    """The plain twin: a tick at a time, in Python's integers."""
    pairs = zip(stamps[start].tolist(), stamps[end].tolist(), strict=True)
    return [last - first for first, last in pairs if MISSING not in {first, last}]


def figures_of(*parts: Stamps) -> dict[str, HopSummary]:
    figures = HopFigures()
    for part in parts:
        figures.record(part)
    return {summary.hop: summary for summary in figures.summaries(SPAN_NS)}


def check_against_exact(summary: HopSummary, values: list[int]) -> None:
    """Done-when: what is told is what the rows say, within the histogram's precision."""
    assert summary.count == len(values)
    assert summary.rate_hz == pytest.approx(len(values) / 3)
    assert summary.min_ns == min(values, default=0)
    assert summary.max_ns == max(values, default=0)
    assert summary.mean_ns == pytest.approx(sum(values) / max(len(values), 1), rel=1e-12)
    values.sort()
    assert list(summary.percentiles_ns) == [percentile_name(percent) for percent in PERCENTILES]
    for percent in PERCENTILES:
        rank = max(math.ceil(round(percent * len(values) / 100, 6)), 1)
        found = summary.percentiles_ns[percentile_name(percent)]
        if len(values) - rank < MIN_SAMPLES_BEYOND:
            assert found is None
        else:
            exact = values[rank - 1]
            assert found is not None
            assert exact <= found <= min(exact + exact // 1000, summary.max_ns)


@given(few_stamps())
def test_figures_of_a_few_arbitrary_ticks_are_those_of_the_rows(stamps: Stamps) -> None:
    found = figures_of(stamps)
    assert list(found) == [hop.name for hop in HOPS]
    for hop in HOPS:
        check_against_exact(found[hop.name], latencies(stamps, hop.start_column, hop.end_column))


@given(many_stamps())
@settings(max_examples=12)
def test_percentiles_of_many_ticks_are_the_exact_ones_within_a_thousandth(stamps: Stamps) -> None:
    found = figures_of(stamps)
    for hop in HOPS:
        check_against_exact(found[hop.name], latencies(stamps, hop.start_column, hop.end_column))


@given(few_stamps())
@settings(max_examples=50)
def test_the_four_parts_of_every_tick_add_up_to_its_end_to_end_latency(stamps: Stamps) -> None:
    whole = np.all([stamps[name] != MISSING for name in STAMP_NAMES if name != "acked_ns"], axis=0)
    for place in np.flatnonzero(whole).tolist():
        tick = {name: stamps[name][place : place + 1] for name in STAMP_NAMES}
        found = figures_of(tick)
        assert all(found[hop.name].count == 1 for hop in PARTS)
        parts_ns = sum(found[hop.name].max_ns for hop in PARTS)
        assert parts_ns == found["end_to_end"].max_ns
        assert found["service"].max_ns == parts_ns - found["schedule"].max_ns


@given(seeds)
@settings(max_examples=20)
def test_means_of_the_parts_add_up_to_the_mean_of_the_total(seed: int) -> None:
    found = figures_of(make_stamps(500, seed=seed))
    total = sum(found[hop.name].mean_ns for hop in PARTS)
    assert total == pytest.approx(found["end_to_end"].mean_ns, rel=1e-12)


@given(few_stamps(), few_stamps())
@settings(max_examples=50)
def test_ticks_in_two_parts_give_the_figures_of_all_at_once(first: Stamps, second: Stamps) -> None:
    together = {name: np.concatenate((first[name], second[name])) for name in STAMP_NAMES}
    for found, expected in zip(
        figures_of(first, second).values(), figures_of(together).values(), strict=True
    ):
        # sums of squares are floats: their last digits depend on the order
        assert found.stdev_ns == pytest.approx(
            expected.stdev_ns, rel=1e-6, abs=expected.max_ns / 1e6
        )
        for name in ("count", "min_ns", "max_ns", "mean_ns", "percentiles_ns"):
            assert getattr(found, name) == getattr(expected, name)


def test_latencies_below_zero_and_above_a_day_are_counted_apart() -> None:
    stamps = {
        "due_ns": np.array([0, 1000, 0, 0]),
        "sent_ns": np.array([5, 999, HIGHEST_NS, HIGHEST_NS + 1]),
    }
    summary = figures_of(stamps)["schedule"]
    assert (summary.count, summary.negative, summary.out_of_range) == (2, 1, 1)
    assert (summary.min_ns, summary.max_ns) == (5, HIGHEST_NS)


def test_a_hop_whose_columns_are_not_given_is_left_out() -> None:
    stamps = make_stamps(10)
    acks = figures_of({name: stamps[name] for name in ("relay_out_ns", "acked_ns")})
    assert [hop for hop, summary in acks.items() if summary.count] == ["ack"]


def test_without_a_span_there_is_no_rate() -> None:
    histogram = Histogram()
    histogram.record(np.array([5]))
    assert summarise("relay", histogram, 0).rate_hz == 0
    assert summarise("relay", histogram, NS_PER_S // 2).rate_hz == 2


# --- the tail ---------------------------------------------------------------------------------


def tail_of(stamps: Stamps, blocks: int = 1) -> tuple[TailFigures, HopSummary]:
    tail, hops = TailFigures(), HopFigures()
    for places in np.array_split(np.arange(len(stamps["due_ns"])), blocks):
        part = {name: column[places] for name, column in stamps.items()}
        tail.record(part)
        hops.record(part)
    (end_to_end,) = (one for one in hops.summaries(SPAN_NS) if one.hop == "end_to_end")
    return tail, end_to_end


@given(many_stamps(), st.integers(1, 4))
@settings(max_examples=12)
def test_the_tail_is_made_of_the_ticks_from_p99_up(stamps: Stamps, blocks: int) -> None:
    tail, end_to_end = tail_of(stamps, blocks)
    share = tail.summarise(end_to_end)
    p99_ns = end_to_end.percentiles_ns["p99"]
    if p99_ns is None:
        assert share is None
        return
    assert share is not None
    assert share.above_ns == p99_ns
    whole = np.all([stamps[name] >= 0 for name in STAMP_NAMES if name != "acked_ns"], axis=0)
    total = stamps["consumed_ns"] - stamps["due_ns"]
    # ticks that share p99's counter, up to a thousandth below it, belong to the tail
    surely, perhaps = (whole & (total >= limit) for limit in (p99_ns, p99_ns * 0.999))
    assert surely.sum() <= share.count <= perhaps.sum()
    for hop in PARTS:
        values = stamps[hop.end_column] - stamps[hop.start_column]
        least, most = values[surely].sum(), values[perhaps].sum()
        mean_sum = share.mean_ns[hop.name] * share.count
        assert least * (1 - 1e-12) <= mean_sum <= most * (1 + 1e-12)


def test_a_stall_of_a_hundredth_of_the_ticks_is_the_tail_and_shows_in_its_hop() -> None:
    stamps = make_stamps(20_000)
    slow = np.argsort(stamps["consumed_ns"] - stamps["due_ns"])[-201:]  # p99 is rank 19,800
    for name in ("relay_out_ns", "acked_ns", "consumed_ns"):
        stamps[name][slow] += 5_000_000  # nothing else is near their counters
    tail, end_to_end = tail_of(stamps, 3)
    share = tail.summarise(end_to_end)
    assert share is not None
    assert share.count == 201
    for hop in PARTS:
        values = (stamps[hop.end_column] - stamps[hop.start_column])[slow]
        assert share.mean_ns[hop.name] == pytest.approx(values.mean(), rel=1e-12)
    assert share.mean_ns["relay"] > 5_000_000
    total = (stamps["consumed_ns"] - stamps["due_ns"])[slow]
    assert sum(share.mean_ns.values()) == pytest.approx(total.mean(), rel=1e-12)


def test_ticks_that_lack_a_stamp_or_lie_out_of_range_are_not_in_the_tail() -> None:
    stamps = make_stamps(12_000)
    slowest = np.argsort(stamps["consumed_ns"] - stamps["due_ns"])[-50:]
    before, end_to_end = tail_of(stamps)
    expected = before.summarise(end_to_end)
    assert expected is not None
    stamps["relay_in_ns"][slowest[:10]] = MISSING
    stamps["consumed_ns"][slowest[10:20]] = MISSING
    stamps["consumed_ns"][slowest[20:30]] = stamps["due_ns"][slowest[20:30]] - 1
    stamps["consumed_ns"][slowest[30:40]] = stamps["due_ns"][slowest[30:40]] + HIGHEST_NS + 1
    after = TailFigures()
    after.record(stamps)
    share = after.summarise(end_to_end)
    assert share is not None
    assert share.count == expected.count - 40


def test_without_a_p99_or_a_whole_tick_there_is_no_tail() -> None:
    tail, end_to_end = tail_of(make_stamps(9_900))
    assert tail.summarise(end_to_end) is None
    _, known = tail_of(make_stamps(10_000))
    assert TailFigures().summarise(known) is None


# --- rates ------------------------------------------------------------------------------------


def rates_of(due: list[int], sent: list[int], blocks: int = 1) -> RateFigures:
    rate = RateFigures()
    columns = {"due_ns": np.array(due, dtype=np.int64), "sent_ns": np.array(sent, dtype=np.int64)}
    for places in np.array_split(np.arange(len(due)), blocks):
        rate.record({name: column[places] for name, column in columns.items()})
    return rate


@given(
    st.lists(
        st.tuples(st.integers(0, 10**12), st.integers(0, 10**10) | st.just(None)), max_size=20
    ),
    st.integers(1, 5),
)
def test_rates_run_from_the_first_tick_sent_to_the_last(
    ticks: list[tuple[int, int | None]], blocks: int
) -> None:
    ticks.sort(key=lambda tick: tick[0])
    due = [due_ns for due_ns, _ in ticks]
    sent = [MISSING if late is None else due_ns + late for due_ns, late in ticks]
    rate = rates_of(due, sent, blocks)
    known = [(one, other) for one, other in zip(due, sent, strict=True) if other != MISSING]
    assert rate.count == len(known)
    for number, found_hz in enumerate((rate.scheduled_hz, rate.achieved_hz)):
        span = known[-1][number] - known[0][number] if known else 0
        expected = (len(known) - 1) * NS_PER_S / span if span > 0 else 0
        assert found_hz == pytest.approx(expected)
    if len(known) > 1:
        span = known[-1][0] - known[0][0]
        assert rate.span_ns == pytest.approx(span * len(known) / (len(known) - 1), abs=1)
    else:
        assert rate.span_ns == 0


def test_a_constant_schedule_has_its_own_rate_and_span() -> None:
    columns = make_stamps(5000, rate_hz=1000)
    rate = rates_of(columns["due_ns"].tolist(), columns["sent_ns"].tolist(), 7)
    assert rate.scheduled_hz == 1000
    assert rate.achieved_hz == pytest.approx(1000, rel=1e-3)
    assert rate.span_ns == 5 * NS_PER_S


def test_a_generator_that_falls_behind_achieves_less_than_is_scheduled() -> None:
    due = [seq * 1_000_000 for seq in range(1001)]
    rate = rates_of(due, [due_ns * 2 for due_ns in due])
    assert (rate.scheduled_hz, rate.achieved_hz) == (1000, 500)


# --- seconds ----------------------------------------------------------------------------------


def medians_plainly(stamps: Stamps, from_ns: int) -> tuple[int, ...]:
    """The plain twin: the upper median of each second's latencies, the last second left out."""
    by_second: dict[int, list[int]] = {}
    ticks = zip(stamps["due_ns"].tolist(), stamps["consumed_ns"].tolist(), strict=True)
    for due_ns, consumed_ns in ticks:
        if consumed_ns >= 0:
            by_second.setdefault((due_ns - from_ns) // NS_PER_S, []).append(consumed_ns - due_ns)
    medians = [sorted(values)[len(values) // 2] for _, values in sorted(by_second.items())]
    return tuple(medians[:-1])


def in_parts(stamps: Stamps, cuts: list[int]) -> list[dict[str, npt.NDArray[np.int64]]]:
    places = sorted(cuts)
    split = {name: np.split(column, places) for name, column in stamps.items()}
    return [{name: parts[at] for name, parts in split.items()} for at in range(len(places) + 1)]


@given(
    gaps_ms=st.lists(st.sampled_from([0, 1, 200, 999, 1000, 2500]), min_size=1, max_size=60),
    latencies_ns=st.lists(st.integers(0, 2**45) | st.just(-1), min_size=61, max_size=61),
    cuts=st.lists(st.integers(0, 61), max_size=8),
    from_ns=st.integers(0, 2**50),
)
def test_each_seconds_median_is_the_same_however_ticks_are_split_into_tables(
    gaps_ms: list[int], latencies_ns: list[int], cuts: list[int], from_ns: int
) -> None:
    due_ns = from_ns + np.cumsum([0, *gaps_ms]) * 1_000_000
    latency_ns = np.array(latencies_ns[: len(due_ns)], dtype=np.int64)
    consumed_ns = np.where(latency_ns < 0, MISSING, due_ns + latency_ns)
    stamps = {"due_ns": due_ns, "consumed_ns": consumed_ns}
    medians = SecondMedians(from_ns)
    for part in in_parts(stamps, [min(cut, len(due_ns)) for cut in cuts]):
        medians.record(part)
    assert medians.whole_seconds() == medians_plainly(stamps, from_ns)


def test_medians_are_near_numpys_where_there_are_ticks_enough() -> None:
    stamps = make_stamps(10_000)
    from_ns = int(stamps["due_ns"][0])
    medians = SecondMedians(from_ns)
    for part in in_parts(stamps, [1500, 1501, 7000]):
        medians.record(part)
    expected = [
        float(np.median((stamps["consumed_ns"] - stamps["due_ns"])[at : at + 1000]))
        for at in range(0, 9000, 1000)
    ]
    assert medians.whole_seconds() == pytest.approx(expected, rel=0.02)


def test_ticks_that_were_lost_and_seconds_without_any_leave_no_median() -> None:
    due_ns = np.array([0, 1, 1_500, 4_000, 4_001, 5_000]) * 1_000_000
    latency_ns = np.array([10, 20, -1, 30, -1, 40])
    consumed_ns = np.where(latency_ns < 0, MISSING, due_ns + latency_ns)
    medians = SecondMedians(0)
    medians.record({"due_ns": due_ns, "consumed_ns": consumed_ns})
    assert medians.whole_seconds() == (20, 30)


def test_before_a_second_is_over_there_is_no_median() -> None:
    medians = SecondMedians(0)
    assert medians.whole_seconds() == ()
    medians.record({"due_ns": np.array([0, 1]), "consumed_ns": np.array([5, 6])})
    assert medians.whole_seconds() == ()
    medians.record({"due_ns": np.array([NS_PER_S]), "consumed_ns": np.array([NS_PER_S + 1])})
    assert medians.whole_seconds() == (5,)
