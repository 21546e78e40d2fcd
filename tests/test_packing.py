"""Packed rows: whatever goes in comes out, and what grows evenly or repeats takes few bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.packing import FRAME_HEADER, pack, unpack
from latbench.recording import COLUMNS, TICK_RINGS
from latbench.ring import Rows

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
EDGES = st.sampled_from([-(1 << 63), -(1 << 63) + 1, -1, 0, 1, 255, 256, (1 << 63) - 1])


def rows_of(*columns: list[int]) -> Rows:
    return np.array(columns, dtype=np.int64).T.copy()


def check(rows: Rows) -> int:
    """Packs and unpacks; the frame's size."""
    frame = pack(rows)
    assert FRAME_HEADER.unpack_from(frame) == (len(frame), len(rows))
    found = unpack(frame, rows.shape[1])
    assert found.dtype == np.int64
    assert np.array_equal(found, rows)
    return len(frame)


@st.composite
def columns(draw: st.DrawFn, count: int) -> list[int]:
    """Anything, few different numbers, a small range, or a line."""
    kind = draw(st.integers(0, 3))
    if kind == 3:
        first, step = draw(st.integers(-(10**9), 10**9)), draw(st.integers(-(10**6), 10**6))
        return [first + step * i for i in range(count)]
    numbers = (INT64 | EDGES, st.integers(0, 3), st.integers(0, 70_000))[kind]
    return draw(st.lists(numbers, min_size=count, max_size=count))


@given(st.data(), st.integers(1, 60), st.integers(1, 4))
def test_any_rows_come_out_as_they_went_in(data: st.DataObject, count: int, width: int) -> None:
    check(rows_of(*(data.draw(columns(count)) for _ in range(width))))


@given(st.lists(st.tuples(INT64, st.integers(1, 60)), min_size=1, max_size=20))
def test_runs_of_any_length_come_out_as_they_went_in(runs: list[tuple[int, int]]) -> None:
    numbers = [number for number, length in runs for _ in range(length)]
    check(rows_of(numbers, numbers[::-1]))


@pytest.mark.parametrize("count", [1, 2, 16_383, 16_384, 16_385, 40_000])
def test_as_many_rows_as_there_may_be(count: int) -> None:
    random = np.random.default_rng(count)
    check(random.integers(-(1 << 40), 1 << 40, (count, 3)))
    assert check(rows_of(list(range(7, 7 + count)))) == 32


@pytest.mark.parametrize(
    ("spread", "width"),
    [
        (0, 0),
        (1, 1),
        (255, 1),
        (256, 2),
        (65_535, 2),
        (65_536, 4),
        ((1 << 32) - 1, 4),
        (1 << 32, 8),
    ],
)
def test_a_rest_takes_as_many_bytes_as_its_range_needs(spread: int, width: int) -> None:
    numbers = [10**15, 10**15 + spread] * 20 + [10**15]
    assert check(rows_of(numbers)) == 32 + width * len(numbers)


def test_rows_that_lie_column_by_column_are_packed_alike() -> None:
    rows = rows_of(list(range(100)), [5] * 100)
    assert pack(np.asfortranarray(rows)) == pack(rows)


def test_ticks_that_came_together_take_a_tenth() -> None:
    """Every 5 µs one is due, 400 a batch: 200,000 ticks/s."""
    count = 10_000
    i = np.arange(count)
    batch = i // 400
    stamps = {"due_ns": i * 5_000 + 10**15}
    for far, name in enumerate(
        ("sent_ns", "relay_in_ns", "relay_out_ns", "acked_ns", "consumed_ns")
    ):
        jitter = np.random.default_rng(far).integers(0, 10**6, count // 400)
        stamps[name] = (batch + 1) * 2_000_000 + jitter[batch] + far * 10**6 + 10**15
    columns = {"seq": i, "offset": i + 77, "partition": i * 0, "symbol_id": i * 7 % 10, **stamps}
    sizes = {
        ring: check(np.column_stack([columns[name] for name in COLUMNS[ring]]))
        for ring in TICK_RINGS
    }
    assert sum(sizes.values()) < 10 * count
