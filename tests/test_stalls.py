from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import stalls
from latbench.analysis import HopFigures, TailFigures
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.histogram import Histogram
from latbench.recording import HICCUPS, PROCESSES
from latbench.result import TailShare
from latbench.ring import Rows
from latbench.stalls import (
    IN_HANDS_OF,
    STALL_NS,
    Spans,
    Stalls,
    StallTally,
    hiccup_histogram,
    worst_wake_ups,
)
from tests.rows import START_NS, empty_rows, make_stamps, make_wake_ups

Column = npt.NDArray[np.int64]

moments = st.integers(0, 60)
pairs = st.lists(st.tuples(moments, st.integers(1, 25)), max_size=12)


def column(values: list[int]) -> Column:
    return np.array(values, dtype=np.int64)


def make_spans(*spans: tuple[int, int]) -> Spans:
    return Spans(column([begin for begin, _ in spans]), column([end for _, end in spans]))


def as_list(spans: Spans) -> list[tuple[int, int]]:
    return list(zip(spans.begins.tolist(), spans.ends.tolist(), strict=True))


# --- spans ------------------------------------------------------------------------------------


@given(pairs, pairs, st.sampled_from([0, 1, 8]))
def test_what_overlaps_is_what_overlaps_any_span(
    stalled: list[tuple[int, int]], asked: list[tuple[int, int]], few: int
) -> None:
    spans = [(begin, begin + length) for begin, length in stalled]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stalls, "_FEW", few)  # beyond it, places are searched for
        found = make_spans(*spans).overlap(
            column([begin for begin, _ in asked]),
            column([begin + length for begin, length in asked]),
        )
    assert found.dtype == np.bool_
    assert found.tolist() == [
        any(first < end and last > begin for first, last in spans)
        for begin, end in ((begin, begin + length) for begin, length in asked)
    ]


@given(pairs)
def test_spans_are_disjoint_in_order_and_cover_the_same_time(spans: list[tuple[int, int]]) -> None:
    made = as_list(make_spans(*[(begin, begin + length) for begin, length in spans]))
    flat = [moment for span in made for moment in span]
    assert flat == sorted(set(flat))  # none touches the next
    covered = {moment for begin, length in spans for moment in range(begin, begin + length)}
    assert {moment for begin, end in made for moment in range(begin, end)} == covered


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        ([(5, 9)], [(5, 9)]),
        ([(5, 9), (20, 30)], [(5, 9), (20, 30)]),
        ([(20, 30), (5, 9)], [(5, 9), (20, 30)]),
        ([(5, 9), (9, 12)], [(5, 12)]),  # touching
        ([(5, 9), (10, 12)], [(5, 9), (10, 12)]),
        ([(5, 30), (6, 7), (29, 31)], [(5, 31)]),  # nested, overlapping
        ([(5, 30), (6, 7), (8, 9), (31, 40)], [(5, 30), (31, 40)]),
        ([(5, 9), (5, 7), (5, 9)], [(5, 9)]),
    ],
)
def test_spans_that_touch_or_overlap_become_one(
    spans: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    made = make_spans(*spans)
    assert as_list(made) == expected
    assert len(made) == len(expected)


@pytest.mark.parametrize(
    ("begin", "end", "overlaps"),
    [
        (0, 10, False),  # ends as the span begins
        (0, 11, True),
        (12, 13, True),
        (0, 90, True),
        (19, 25, True),
        (20, 25, False),  # begins as the span ends
        (20, 30, False),  # between the two
        (20, 31, True),
        (40, 41, False),
    ],
)
def test_a_tick_that_only_touches_a_stall_is_not_held_up_by_it(
    begin: int, end: int, overlaps: bool
) -> None:
    spans = make_spans((10, 20), (30, 40))
    assert spans.overlap(column([begin]), column([end])).tolist() == [overlaps]


# --- of a run ---------------------------------------------------------------------------------


def make_meters(**meters: Rows) -> dict[str, Rows]:
    """Rows by ring; of the processes that are not given there are none."""
    return {ring: meters.get(process, empty_rows(ring)) for process, ring in HICCUPS.items()}


def stall_at(at_ns: int, for_ns: int) -> Rows:
    """What a meter records of a stall: each deadline in it, the last ones below the threshold."""
    late = {missed: for_ns - missed * NS_PER_MS for missed in range(-(-for_ns // NS_PER_MS))}
    return make_wake_ups(len(late) + 10, start_ns=at_ns, late_ns=late)


TICK: dict[str, int] = {
    "due_ns": 100, "sent_ns": 200, "relay_in_ns": 300, "relay_out_ns": 400, "acked_ns": 550,
    "consumed_ns": 500,
}  # fmt: skip


def stamps_of(*ticks: dict[str, int], unit_ns: int = NS_PER_MS) -> dict[str, Column]:
    return {
        name: column([tick[name] * unit_ns if tick[name] >= 0 else -1 for tick in ticks])
        for name in TICK
    }


@pytest.mark.parametrize("process", PROCESSES)
def test_a_stall_marks_a_tick_only_while_its_process_has_it_or_is_waited_for(
    process: str,
) -> None:
    first, last = IN_HANDS_OF[process]
    begin_ms, end_ms = TICK[first], TICK[last]
    for at_ms in range(50, 620, 10):
        rows = make_meters(**{process: stall_at(at_ms * NS_PER_MS, 5 * NS_PER_MS)})
        expected = begin_ms < at_ms + 5 and end_ms > at_ms
        assert Stalls(rows).overlap(stamps_of(TICK)).tolist() == [expected]


def test_who_holds_a_tick_when() -> None:
    held = {
        process: {at for at in range(100, 500, 100) if TICK[first] <= at < TICK[last]}
        for process, (first, last) in IN_HANDS_OF.items()
    }
    assert held == {
        "generator": {100},
        "relay": {200, 300, 400},
        "broker": {400},
        "consumer": {400},
        "supervisor": {100, 200, 300, 400},
        "subscriber": {100, 200, 300, 400},
    }


def test_a_tick_that_was_never_consumed_is_not_marked() -> None:
    lost = [{**TICK, "consumed_ns": -1}, {**TICK, **dict.fromkeys(list(TICK)[2:], -1)}, TICK]
    for process in PROCESSES:
        rows = make_meters(**{process: stall_at(0, 900 * NS_PER_MS)})
        assert Stalls(rows).overlap(stamps_of(*lost)).tolist() == [False, False, True]


def test_any_process_is_enough() -> None:
    ticks = [{name: at + 1000 * number for name, at in TICK.items()} for number in range(4)]
    rows = make_meters(
        generator=stall_at(150 * NS_PER_MS, 5 * NS_PER_MS),
        consumer=stall_at(2450 * NS_PER_MS, 5 * NS_PER_MS),
    )
    assert Stalls(rows).overlap(stamps_of(*ticks)).tolist() == [True, False, True, False]


@pytest.mark.parametrize(("late_ns", "is_stall"), [(STALL_NS - 1, False), (STALL_NS, True)])
def test_a_wake_up_late_by_the_threshold_is_a_stall(late_ns: int, is_stall: bool) -> None:
    rows = make_meters(relay=make_wake_ups(10, start_ns=0, late_ns={4: late_ns}))
    found = Stalls(rows)
    assert as_list(found.spans["relay"]) == ([(4_000_000, 5_000_000)] if is_stall else [])


@given(chunk=st.integers(1, 40), stalls_ms=st.lists(st.integers(0, 30), min_size=1, max_size=12))
@settings(max_examples=40)
def test_a_long_stall_is_one_wherever_its_rows_are_cut_into_chunks(
    chunk: int, stalls_ms: list[int]
) -> None:
    late: dict[int, int] = {}
    expected, at = [], 0
    for length in stalls_ms:
        late |= {at + missed: (length - missed) * NS_PER_MS for missed in range(length)}
        if length:
            expected.append((at * NS_PER_MS, (at + length) * NS_PER_MS))
        at += length + 2
    rows = make_meters(consumer=make_wake_ups(at + 1, start_ns=0, late_ns=late))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stalls, "_CHUNK_ROWS", chunk)
        assert as_list(Stalls(rows).spans["consumer"]) == expected


def test_stalls_are_counted_that_reach_into_the_span_of_any_process() -> None:
    ten_ms = 10 * NS_PER_MS
    found = Stalls(
        make_meters(
            relay=np.concatenate([stall_at(at * NS_PER_S, ten_ms) for at in range(1, 6)]),
            broker=stall_at(3 * NS_PER_S, ten_ms),
        )
    )
    assert found.between(0, 9 * NS_PER_S) == 6
    assert found.between(3 * NS_PER_S, 4 * NS_PER_S) == 2
    assert found.between(3 * NS_PER_S + ten_ms - 1, 4 * NS_PER_S + 1) == 3
    assert found.between(3 * NS_PER_S + ten_ms, 4 * NS_PER_S) == 0
    assert Stalls(make_meters()).between(0, 9 * NS_PER_S) == 0


# --- figures ----------------------------------------------------------------------------------


def whole_figures(stamps: dict[str, Any], span_ns: int) -> tuple[Any, TailShare | None]:
    hops, tail = HopFigures(), TailFigures()
    hops.record(stamps)
    tail.record(stamps)
    (total,) = [hop for hop in hops.summaries(span_ns) if hop.hop == "end_to_end"]
    return total, tail.summarise(total)


@given(parts=st.integers(1, 7), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.2, 1.0]))
@settings(max_examples=30)
def test_ticks_are_told_apart_by_whether_they_overlap_a_stall(
    parts: int, seed: int, share: float
) -> None:
    count, span_ns = 12_000, 12 * NS_PER_S
    rng, stamps = np.random.default_rng(seed), make_stamps(12_000, seed=seed)
    stamps["consumed_ns"][rng.random(count) < 0.01] = -1
    whole = stamps["consumed_ns"] >= 0
    stalled = (rng.random(count) < share) & whole
    tally = StallTally()
    for places in np.array_split(np.arange(count), parts):
        tally.record({name: each[places] for name, each in stamps.items()}, stalled[places])
    _, tail = whole_figures(stamps, span_ns)
    assert tail is not None
    figures = tally.summarise(span_ns, 7, tail)
    without, _ = whole_figures({name: each[~stalled] for name, each in stamps.items()}, span_ns)
    assert (figures.threshold_ns, figures.count) == (STALL_NS, 7)
    assert figures.ticks == int(stalled.sum())
    # sums of squares are floats: their last digits depend on the order
    assert figures.without.stdev_ns == pytest.approx(without.stdev_ns, rel=1e-9)
    assert {**as_dict(figures.without), "stdev_ns": 0} == {**as_dict(without), "stdev_ns": 0}
    if share == 1:
        assert figures.tail_ticks == tail.count
    _, expected = whole_figures(stamps, span_ns)
    assert expected is not None
    latency = (stamps["consumed_ns"] - stamps["due_ns"])[stalled]
    # those in p99's own counter, a thousandth wide, are of the tail as well
    surely = int((latency >= tail.above_ns).sum())
    assert surely <= figures.tail_ticks <= int((latency >= tail.above_ns * 0.999).sum())


def as_dict(summary: Any) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in summary.__struct_fields__}


def test_without_a_p99_no_tick_is_of_the_tail() -> None:
    stamps, tally = make_stamps(100), StallTally()
    tally.record(stamps, np.ones(100, dtype=np.bool_))
    figures = tally.summarise(NS_PER_S, 1, None)
    assert (figures.ticks, figures.tail_ticks, figures.without.count) == (100, 0, 0)


def test_wake_ups_count_whose_deadline_falls_into_the_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stalls, "_CHUNK_ROWS", 7)
    rows = make_wake_ups(100, late_ns={number: number + 1 for number in range(100)})
    histogram = hiccup_histogram(rows, START_NS + 20 * NS_PER_MS, START_NS + 50 * NS_PER_MS)
    expected = Histogram()
    expected.record(np.arange(21, 51))
    assert (histogram.counts == expected.counts).all()
    assert (histogram.count, histogram.min_ns, histogram.max_ns) == (30, 21, 50)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=60),
    st.integers(1, 100),
    st.integers(1, 20),
)
def test_the_worst_wake_up_of_each_span_is_kept_with_its_deadline(
    wake_ups: list[tuple[int, int]], every_ns: int, chunk: int
) -> None:
    gaps, late = np.array(wake_ups, dtype=np.int64).reshape(-1, 2).T
    rows = np.column_stack([np.cumsum(gaps), late])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stalls, "_CHUNK_ROWS", chunk)
        found = worst_wake_ups(rows, every_ns).tolist()
    expected: dict[int, list[int]] = {}
    for deadline_ns, late_ns in rows.tolist():
        worst = expected.setdefault(deadline_ns // every_ns, [deadline_ns, late_ns])
        if late_ns > worst[1]:
            worst[:] = deadline_ns, late_ns
    assert found == list(expected.values())
