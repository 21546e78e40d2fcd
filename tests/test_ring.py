from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import ring
from latbench.ring import COUNTERS, MAX_ROWS, MIN_ROWS, RingReader, RingWriter, create_memory

COLUMNS = 3
CAPACITY = 8
int64s = st.integers(-(2**63), 2**63 - 1)


@contextlib.contextmanager
def memory(columns: int = COLUMNS, rows: int = CAPACITY) -> Iterator[int]:
    descriptor = create_memory(columns, rows)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def both_ends(
    columns: int = COLUMNS, rows: int = CAPACITY
) -> Iterator[tuple[RingWriter, RingReader]]:
    with memory(columns, rows) as descriptor:
        yield RingWriter(descriptor, columns), RingReader(descriptor, columns)


def row(seq: int) -> tuple[int, ...]:
    return seq, -seq, seq * 10**15


# how many rows are pushed before each drain
bursts = st.lists(st.integers(0, CAPACITY + 3), max_size=40)


@given(bursts)
def test_rows_come_out_once_and_in_order_whatever_the_interleaving(pushes: list[int]) -> None:
    # the model: a list of what is in the ring, and how much of it the last drain saw
    held: list[int] = []
    seen = pushed = overruns = 0
    with both_ends() as (writer, reader):
        for burst in pushes:
            for _ in range(burst):
                writer.push(*row(pushed))
                if len(held) < CAPACITY:
                    held.append(pushed)
                else:
                    overruns += 1
                pushed += 1
            expected, held = held[:seen], held[seen:]
            seen = len(held)
            assert reader.drain().tolist() == [list(row(seq)) for seq in expected]
            assert (reader.overruns, reader.written) == (overruns, pushed - overruns)
        assert reader.drain(last=True).tolist() == [list(row(seq)) for seq in held]
        assert reader.drain(last=True).shape == (0, COLUMNS)
        assert reader.overruns == overruns


def push_each(writer: RingWriter, rows: list[tuple[int, ...]]) -> None:
    for each in rows:
        writer.push(*each)


def push_rows(writer: RingWriter, rows: list[tuple[int, ...]]) -> None:
    writer.push_rows(np.array(rows, dtype=np.int64).reshape(-1, COLUMNS))


def push_packed(writer: RingWriter, rows: list[tuple[int, ...]]) -> None:
    # behind them stands what the memory had from an earlier call
    numbers = [number for each in rows for number in each] + [-1] * 5 * COLUMNS
    writer.push_packed(memoryview(array("q", numbers)).cast("B"), len(rows))


WAYS = (push_each, push_rows, push_packed)


@given(st.lists(st.tuples(st.integers(0, 3 * CAPACITY), st.sampled_from(WAYS), st.booleans())))
def test_rows_pushed_at_once_are_as_rows_pushed_one_by_one(
    bursts_: list[tuple[int, Callable[[RingWriter, list[tuple[int, ...]]], None], bool]],
) -> None:
    # a burst: how many rows, how the ring under test takes them, whether a drain comes
    pushed = 0
    with both_ends() as (writer, reader), both_ends() as (plain, plain_reader):
        for burst, way, drains in bursts_:
            rows = [row(pushed + i) for i in range(burst)]
            pushed += burst
            push_each(plain, rows)
            way(writer, rows)
            assert list(writer.header) == list(plain.header)
            assert bytes(writer.body) == bytes(plain.body)
            if drains:
                assert reader.drain().tolist() == plain_reader.drain().tolist()
        assert reader.drain(last=True).tolist() == plain_reader.drain(last=True).tolist()
        assert (reader.overruns, reader.written) == (plain_reader.overruns, plain_reader.written)


@pytest.mark.parametrize("first", range(CAPACITY + 1))
@pytest.mark.parametrize("way", [push_rows, push_packed])
def test_rows_pushed_at_once_go_on_at_the_beginning_behind_the_end(
    way: Callable[[RingWriter, list[tuple[int, ...]]], None], first: int
) -> None:
    with both_ends() as (writer, reader):
        push_each(writer, [row(seq) for seq in range(first)])
        reader.drain(last=True)
        way(writer, [row(100 + seq) for seq in range(CAPACITY + 3)])
        assert (reader.overruns, reader.written) == (3, first + CAPACITY)
        assert reader.drain(last=True)[:, 0].tolist() == list(range(100, 100 + CAPACITY))


@given(st.lists(st.tuples(int64s, int64s, int64s), max_size=CAPACITY))
def test_packed_rows_are_what_was_pushed_over_all_of_int64(
    rows: list[tuple[int, int, int]],
) -> None:
    with both_ends() as (writer, reader):
        push_packed(writer, list(rows))
        assert [tuple(found) for found in reader.drain(last=True).tolist()] == rows


@given(st.lists(st.tuples(int64s, int64s, int64s), min_size=1, max_size=2 * CAPACITY))
def test_columns_of_a_larger_table_are_pushed_as_they_are(rows: list[tuple[int, int, int]]) -> None:
    # what a stage hands over need not lie together in memory
    table = np.zeros((2 * len(rows), COLUMNS + 2), dtype=np.int64)
    table[::2, 1:-1] = rows
    with both_ends() as (writer, reader):
        writer.push_rows(table[::2, 1:-1])
        kept = min(len(rows), CAPACITY)
        drained = [tuple(found) for found in reader.drain(last=True).tolist()]
        assert drained == rows[:kept]
        assert (reader.overruns, reader.written) == (len(rows) - kept, kept)


@given(st.lists(st.tuples(int64s, int64s, int64s), max_size=CAPACITY))
def test_rows_are_what_was_pushed_over_all_of_int64(rows: list[tuple[int, int, int]]) -> None:
    with both_ends() as (writer, reader):
        for pushed in rows:
            writer.push(*pushed)
        drained = reader.drain(last=True)
    assert drained.dtype == np.int64
    assert [tuple(found) for found in drained.tolist()] == rows


def test_a_full_ring_refuses_rows_and_overwrites_none() -> None:
    with both_ends() as (writer, reader):
        for seq in range(CAPACITY + 5):
            writer.push(*row(seq))
        assert (reader.overruns, reader.written) == (5, CAPACITY)
        assert reader.drain(last=True)[:, 0].tolist() == list(range(CAPACITY))
        writer.push(*row(99))
        assert reader.drain(last=True)[:, 0].tolist() == [99]


def test_a_row_is_held_back_for_one_drain_and_no_longer() -> None:
    with both_ends() as (writer, reader):
        writer.push(*row(1))
        assert len(reader.drain()) == 0
        writer.push(*row(2))
        assert reader.drain()[:, 0].tolist() == [1]
        assert reader.drain()[:, 0].tolist() == [2]
        assert len(reader.drain()) == 0


def test_the_last_drain_holds_nothing_back() -> None:
    with both_ends() as (writer, reader):
        writer.push(*row(1))
        reader.drain()
        writer.push(*row(2))
        assert reader.drain(last=True)[:, 0].tolist() == [1, 2]


def test_drained_rows_are_copies() -> None:
    with both_ends() as (writer, reader):
        for seq in range(CAPACITY):
            writer.push(*row(seq))
        drained = reader.drain(last=True)
        for seq in range(CAPACITY):
            writer.push(*row(100 + seq))
        assert drained[:, 0].tolist() == list(range(CAPACITY))


def test_counters_are_seen_by_the_reader_and_touch_no_row() -> None:
    with both_ends() as (writer, reader):
        assert len(writer.counters) == COUNTERS
        assert reader.counters.tolist() == [0] * COUNTERS
        for number in range(COUNTERS):
            writer.counters[number] = 1000 + number
        writer.push(*row(7))
        assert reader.counters.tolist() == [1000 + number for number in range(COUNTERS)]
        assert reader.drain(last=True).tolist() == [list(row(7))]
        assert (reader.overruns, reader.written) == (0, 1)


def test_two_rings_do_not_share_memory() -> None:
    with both_ends() as (writer, reader), both_ends() as (other, other_reader):
        writer.push(*row(1))
        other.counters[0] = 5
        assert reader.drain(last=True)[:, 0].tolist() == [1]
        assert other_reader.drain(last=True).size == 0
        assert reader.counters[0] == 0


def test_memory_has_no_name_and_no_child_inherits_it_unasked() -> None:
    with memory() as descriptor:
        assert not os.get_inheritable(descriptor)
        assert Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("(deleted)")


def test_without_memfd_a_file_without_a_name_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with both_ends() as (writer, reader):
        writer.push(*row(1))
        assert reader.drain(last=True).tolist() == [list(row(1))]
        assert writer.capacity == CAPACITY


@pytest.mark.parametrize(
    ("rate_hz", "rows"),
    [
        (0, MIN_ROWS),
        (1000, MIN_ROWS),
        (4096, 1 << 14),
        (4097, 1 << 15),
        (100_000, 1 << 19),
        (10_000_000, MAX_ROWS),
    ],
)
def test_a_ring_holds_seconds_of_a_run_within_bounds(rate_hz: float, rows: int) -> None:
    assert ring.ring_rows(rate_hz) == rows


@given(st.floats(0, 1e7))
def test_every_ring_size_is_a_power_of_two_with_room_for_the_seconds(rate_hz: float) -> None:
    rows = ring.ring_rows(rate_hz)
    assert rows & (rows - 1) == 0
    assert rows >= min(int(rate_hz * ring.RING_SECONDS), MAX_ROWS)


PACKED_WRITER = textwrap.dedent("""
    import sys, time
    from array import array
    from latbench.ring import RingWriter

    writer = RingWriter(int(sys.argv[1]), 3)
    push_packed, header = writer.push_packed, writer.header
    numbers = array("q", (n for seq in range(200_000) for n in (seq, seq * 7, seq ^ 12345)))
    table = memoryview(numbers).cast("B")
    burst = 0
    while (seq := header[0]) < 200_000:  # those that were refused come again
        burst = burst % 700 + 1
        push_packed(table[seq * 24 :], min(burst, 200_000 - seq))
        if header[0] < min(seq + burst, 200_000):
            time.sleep(0.0005)
    writer.counters[5] = header[0]
""")

BULK_WRITER = textwrap.dedent("""
    import sys, time
    import numpy as np
    from latbench.ring import RingWriter

    writer = RingWriter(int(sys.argv[1]), 3)
    push_rows, header = writer.push_rows, writer.header
    seqs = np.arange(200_000)
    table = np.column_stack((seqs, seqs * 7, seqs ^ 12345))
    burst = 0
    while (seq := header[0]) < 200_000:  # those that were refused come again
        burst = burst % 700 + 1
        push_rows(table[seq : seq + burst])
        if header[0] < min(seq + burst, 200_000):
            time.sleep(0.0005)
    writer.counters[5] = header[0]
""")

WRITER = textwrap.dedent("""
    import sys, time
    from latbench.ring import RingWriter

    writer = RingWriter(int(sys.argv[1]), 3)
    push, header = writer.push, writer.header
    refused = seq = 0
    while seq < 200_000:
        push(seq, seq * 7, seq ^ 12345)
        if header[1] == refused:
            seq += 1
        else:  # full: the same row again
            refused += 1
            time.sleep(0.0005)
    writer.counters[5] = seq
""")


@pytest.mark.parametrize(
    "program", [WRITER, BULK_WRITER, PACKED_WRITER], ids=["one by one", "at once", "packed"]
)
def test_two_hundred_thousand_rows_of_another_process_arrive_in_order(program: str) -> None:
    with memory(3, 1 << 12) as descriptor:
        reader = RingReader(descriptor, 3)
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(descriptor)], pass_fds=(descriptor,)
        )
        parts = []
        code = None
        while code is None:
            parts.append(reader.drain())
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(0.001)
        parts.append(reader.drain(last=True))
    rows = np.concatenate(parts)
    seq = np.arange(200_000)
    assert code == 0
    assert (rows == np.column_stack((seq, seq * 7, seq ^ 12345))).all()
    assert (reader.written, reader.counters[5]) == (200_000, 200_000)
