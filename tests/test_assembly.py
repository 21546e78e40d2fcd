from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import assembly
from latbench.assembly import BLOCK_TICKS, MISSING, TABLE_COLUMNS, Assembly
from latbench.recording import ACKS, COLUMNS, CONSUMER, GENERATOR, RELAY, TICK_RINGS
from latbench.ring import Rows
from tests.rows import make_rows, make_stamps, without

Tick = tuple[int, ...]


def join_plainly(rows: Mapping[str, Rows]) -> list[Tick]:
    """The plain twin: a dictionary a tick, each ring's stamps over those of the one before."""
    ticks: dict[int, dict[str, int]] = {}
    for ring in (CONSUMER, ACKS, RELAY, GENERATOR):
        for row in rows[ring].tolist():
            tick = ticks.setdefault(row[0], dict.fromkeys(TABLE_COLUMNS, MISSING))
            tick.update(zip(COLUMNS[ring], row, strict=True))
    return [tuple(ticks[seq][name] for name in TABLE_COLUMNS) for seq in sorted(ticks)]


def joined(rows: Mapping[str, Rows], block: int = 1 << 16, chunk: int = 1 << 15) -> list[Tick]:
    ticks: list[Tick] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(assembly, "BLOCK_TICKS", block)
        patched.setattr(assembly, "_CHUNK_ROWS", chunk)
        for table in Assembly(rows).tables():
            assert tuple(table.columns) == TABLE_COLUMNS
            assert 0 < len(table) <= block
            assert {len(column) for column in table.columns.values()} == {len(table)}
            ticks += zip(*(column.tolist() for column in table.columns.values()), strict=True)
    return ticks


seqs = st.lists(st.integers(0, 60), unique=True, max_size=40)
sizes = st.integers(1, 12)


@st.composite
def ring_rows(draw: st.DrawFn) -> dict[str, Rows]:
    """Rows in any order, each tick at most once a ring, every stamp different from any other."""
    rows, stamp = {}, 1
    for ring, columns in COLUMNS.items():
        table = []
        for seq in draw(seqs):
            table.append([seq, *range(stamp, stamp + len(columns) - 1)])
            stamp += len(columns) - 1
        rows[ring] = np.array(table, dtype=np.int64).reshape(-1, len(columns))
    return rows


@given(ring_rows(), sizes, sizes)
def test_any_disorder_is_joined_as_by_a_dictionary(
    rows: dict[str, Rows], block: int, chunk: int
) -> None:
    assert joined(rows, block, chunk) == join_plainly(rows)


@given(st.integers(0, 2**32 - 1), st.integers(50, 400), st.integers(20, 200))
@settings(max_examples=25)
def test_nearly_ordered_rings_of_many_chunks_are_joined_rightly(
    seed: int, block: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = make_rows(make_stamps(1000))
    for ring in TICK_RINGS:  # as retries and partitions shuffle them
        order = np.argsort(np.arange(1000) + rng.uniform(0, 30, 1000))
        rows[ring] = rows[ring][order][rng.random(1000) > 0.05]
    assert joined(rows, block, chunk) == join_plainly(rows)


def test_the_sizes_that_are_built_in_join_several_blocks() -> None:
    columns = make_stamps((1 << 16) * 2 + 5)
    tables = list(Assembly(make_rows(columns)).tables())
    assert [len(table) for table in tables] == [1 << 16, 1 << 16, 5]
    for name in TABLE_COLUMNS:
        assert (np.concatenate([table.columns[name] for table in tables]) == columns[name]).all()


def test_a_tick_that_was_lost_stands_with_what_is_known_of_it() -> None:
    rows = without(without(make_rows(make_stamps(3)), CONSUMER, [1]), ACKS, [1])
    (table,) = Assembly(rows).tables()
    for name in ("acked_ns", "consumed_ns", "partition", "offset"):
        assert (table.columns[name] == MISSING).tolist() == [False, True, False]
    for name in ("due_ns", "sent_ns", "relay_in_ns", "relay_out_ns", "symbol_id"):
        assert (table.columns[name] >= 0).all()


def test_the_copy_in_the_message_serves_where_a_ring_overran() -> None:
    columns = make_stamps(4)
    rows = without(without(make_rows(columns), GENERATOR, [2]), RELAY, [2])
    (table,) = Assembly(rows).tables()
    for name in TABLE_COLUMNS:
        if name != "symbol_id":  # no message carries it
            assert (table.columns[name] == columns[name]).all()
    assert table.columns["symbol_id"].tolist() == [0, 1, MISSING, 0]


def test_a_tick_that_no_ring_knows_has_no_row() -> None:
    rows = make_rows(make_stamps(10))
    for ring in COLUMNS:
        rows = without(rows, ring, [0, 4, 5, 9])
    (table,) = Assembly(rows).tables()
    assert table.columns["seq"].tolist() == [1, 2, 3, 6, 7, 8]


def test_a_gap_of_a_whole_block_gives_no_table() -> None:
    rows = make_rows(make_stamps(30))
    for ring in COLUMNS:
        rows = without(rows, ring, range(10, 20))
    assert [tick[0] for tick in joined(rows, block=10)] == [*range(10), *range(20, 30)]


def test_no_rows_give_no_table() -> None:
    assert not list(Assembly(make_rows(make_stamps(0))).tables())


WILD = (2**62, 2**63 - 1, 9 * BLOCK_TICKS)


def forged(rows: Mapping[str, Rows], seqs: Sequence[int]) -> dict[str, Rows]:
    """With ticks that the generator never sent, recorded early by all other rings."""
    more = dict(rows)
    for ring in (RELAY, ACKS, CONSUMER):
        added = np.array([[seq, *[7] * (len(COLUMNS[ring]) - 1)] for seq in seqs], dtype=np.int64)
        more[ring] = np.concatenate((more[ring][:3], added, more[ring][3:]))
    return more


def test_a_forged_seq_beyond_all_measure_costs_a_block_and_not_all_between() -> None:
    rows = forged(make_rows(make_stamps(10)), WILD)
    tables = [table.columns["seq"].tolist() for table in Assembly(rows).tables()]
    assert tables == [list(range(10)), *([seq] for seq in sorted(WILD))]
    assert joined(rows, block=4, chunk=5) == join_plainly(rows)


@pytest.mark.parametrize("chunk", [3, 1 << 15])
def test_a_seq_that_was_never_sent_is_a_strangers_and_no_tick(chunk: int) -> None:
    rows = make_rows(make_stamps(1000))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(assembly, "_CHUNK_ROWS", chunk)
        join = Assembly(forged(rows, (*WILD, 1000)), sent=1000)
        (table,) = join.tables()
    (plain,) = Assembly(rows).tables()
    assert join.strangers == 4
    for name in TABLE_COLUMNS:
        assert (table.columns[name] == plain.columns[name]).all()


def test_ticks_that_found_the_generators_ring_full_are_no_strangers() -> None:
    rows = without(make_rows(make_stamps(10)), GENERATOR, [4, 8, 9])
    join = Assembly(forged(rows, WILD), sent=10)
    (table,) = join.tables()
    assert table.columns["seq"].tolist() == list(range(10))
    assert join.strangers == len(WILD)


def test_nothing_but_strangers_give_no_table() -> None:
    join = Assembly(forged(make_rows(make_stamps(0)), WILD), sent=0)
    assert not list(join.tables())
    assert join.strangers == len(WILD)
