"""The consumer's recorder: which messages of a topic are ticks of this run, each counted once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.recording import CONSUMER, ConsumerCounter
from latbench.stages import consumer
from latbench.stages.consumer import Recorder
from latbench.stages.kafka import Batch
from latbench.tick import sent_suffix_format, splice_relayed
from latbench.tickmatrix import Chars
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

ROUND = consumer._SEEN_TICKS


class Record(NamedTuple):
    """A record of a topic, or an error of the client."""

    value: bytes | None
    partition: int = 0
    offset: int = 0
    error: str | None = None


def batch_of(records: Sequence[Record]) -> Batch:
    """Records that come together."""
    return Batch(
        [record.partition for record in records],
        [record.offset for record in records],
        texts=[record.value for record in records],
        errors=[record.error for record in records if record.error is not None],
    )


def tick(seq: int, **stamps: Any) -> bytes:
    """A relay's message."""
    member = {
        "run": RUN_ID,
        "seq": seq,
        "due_ns": 100,
        "sent_ns": 110,
        "relay_in_ns": 130,
        "relay_out_ns": 135,
    }
    return json.dumps({"symbol": "TCS", "latbench": member | stamps, "latency_t1": 0.1}).encode()


class Bench:
    """A recorder and all around it."""

    def __init__(self, rows: int = 1 << 14) -> None:
        self.ring = TwoEndedRing(CONSUMER, rows)
        self.supervisor = ListeningSupervisor()
        self.recorder = Recorder(RUN_ID, self.ring.writer, self.supervisor.as_supervisor())

    def take(self, *records: Record) -> None:
        """One by one."""
        for record in records:
            self.recorder.take(batch_of([record]), 150)

    def take_ticks(self, *numbers: int, partition: int = 0) -> None:
        self.take(*(Record(tick(seq), partition) for seq in numbers))

    def recorded(self) -> list[int]:
        return [row["seq"] for row in self.ring.rows()]

    def counted(self) -> dict[str, int]:
        """The counters that are not zero."""
        counts = {counter.name: self.ring.count(counter) for counter in ConsumerCounter}
        return {name: count for name, count in counts.items() if count}


def test_a_tick_is_one_row_of_its_stamps_and_its_place() -> None:
    bench = Bench()
    bench.take(Record(tick(5), 3, 41))
    assert bench.ring.rows() == [
        {
            "seq": 5,
            "due_ns": 100,
            "sent_ns": 110,
            "relay_in_ns": 130,
            "relay_out_ns": 135,
            "consumed_ns": 150,
            "partition": 3,
            "offset": 41,
        }
    ]
    assert not bench.counted()


def test_a_tick_that_comes_again_is_a_duplicate_and_no_second_row() -> None:
    bench = Bench()
    bench.take_ticks(0, 1, 1, 2, 0, 1)
    assert bench.recorded() == [0, 1, 2]
    assert bench.counted() == {"DUPLICATES": 3}


@pytest.mark.parametrize("later", [1, 1000, ROUND // 2, ROUND - 1])
def test_a_duplicate_is_known_as_one_millions_of_ticks_later(later: int) -> None:
    bench = Bench()
    bench.take_ticks(0, later, 0, later)
    assert bench.recorded() == [0, later]
    assert bench.counted() == {"DUPLICATES": 2}


@pytest.mark.parametrize("earlier", [ROUND, 3 * ROUND, 254 * ROUND])
def test_a_tick_that_is_millions_of_ticks_late_is_no_duplicate(earlier: int) -> None:
    """Its partition stood still, for one: at 200,000/s that is 20 s."""
    bench = Bench()
    bench.take_ticks(earlier + 5, 5)
    assert bench.recorded() == [earlier + 5, 5]
    assert bench.counted() == {"REORDERED": 1}


def test_no_tick_of_a_billion_is_taken_for_one_that_shares_its_place() -> None:
    bench = Bench()
    numbers = [17 + turn * ROUND for turn in range(600)]
    bench.take_ticks(*numbers)
    assert bench.recorded() == numbers
    assert not bench.counted()


@given(st.permutations(range(24)), st.lists(st.integers(0, 2), min_size=24, max_size=24))
def test_a_tick_after_a_later_one_of_its_partition_is_reordered(
    order: list[int], partitions: list[int]
) -> None:
    bench = BENCH
    already = bench.ring.count(ConsumerCounter.REORDERED)
    base = next(BASES)  # each example goes on where the last ended
    latest = [-1, -1, -1]
    expected = 0
    for place in order:
        partition = partitions[place]
        expected += place < latest[partition]
        latest[partition] = max(latest[partition], place)
        bench.take_ticks(base + place, partition=partition)
    assert bench.recorded() == [base + place for place in order]
    assert bench.ring.count(ConsumerCounter.REORDERED) - already == expected


BENCH = Bench()
"""One for all examples: its memory takes 10 ms to map."""
BASES = itertools.count(0, 24)


def test_a_duplicate_is_not_reordered_besides() -> None:
    bench = Bench()
    bench.take_ticks(4, 5, 4)
    assert bench.counted() == {"DUPLICATES": 1}


NO_TICKS = {
    "a tombstone": None,
    "nothing": b"",
    "no JSON": b"hello",
    "another type": b"[1]",
    "no stamps": b'{"symbol":"TCS"}',
    "another run": tick(1, run="0badcafe"),
    "not relayed": b'{"latbench":{"run":"5f1c09ab","seq":1,"due_ns":1,"sent_ns":2}}',
    "a stamp below zero": tick(1, relay_out_ns=-1),
    "below zero": tick(-1),
    "no whole number": tick(1, due_ns=1.5),
    "a number that no ring holds": tick(2**63),
    "a stamp that no ring holds": tick(1, due_ns=-(2**63) - 1),
    "no UTF-8": tick(1).replace(RUN_ID.encode(), b"\xff\xfe"),
    "too deep": b'{"a":' * 100_000,
    "cut off": tick(1)[:-1],
}


@pytest.mark.parametrize("name", NO_TICKS)
def test_a_message_that_is_no_tick_of_this_run_is_counted_as_unknown(name: str) -> None:
    bench = Bench()
    bench.take(Record(NO_TICKS[name]))
    assert bench.counted() == {"UNKNOWN": 1}
    assert bench.recorded() == []
    bench.take_ticks(0, 1)
    assert bench.recorded() == [0, 1]


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: tick(1)[:-1] + junk))
def test_no_junk_ends_the_consumer(junk: bytes) -> None:
    BENCH.take(Record(junk))
    BENCH.ring.rows()


DOWN = "1/1 brokers are down"


def test_errors_of_the_client_are_counted_and_the_first_are_told() -> None:
    bench = Bench()
    bench.take(*[Record(None, error=DOWN)] * 5)
    bench.take_ticks(0)
    assert bench.counted() == {"ERRORS": 5}
    assert bench.recorded() == [0]
    assert bench.supervisor.said == [f"the consumer reports: {DOWN}"] * 3


# --- many at once -----------------------------------------------------------------------------


def relayed(seq: int, run: str = RUN_ID, document: bytes = b'{"symbol":"TCS"') -> bytes:
    """A relay's message, whose numbers have their places."""
    message = document + sent_suffix_format(run) % (seq, 100, 110)
    return splice_relayed(message, 110, 130, 135)


def with_rows(records: Sequence[Record]) -> Batch:
    """The same with its values as a matrix."""
    values = [record.value or b"" for record in records]
    rows: Chars = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), -1)
    return Batch(
        np.array([record.partition for record in records], dtype=np.int32),
        np.array([record.offset for record in records], dtype=np.int64),
        rows=rows,
    )


TURN = 32
"""So many ticks a duplicate is known for, in the tests below."""
STRANGERS: tuple[Record, ...] = (
    Record(None),
    Record(None, error=DOWN),
    Record(b""),
    Record(b"hello"),
    Record(relayed(1, run="0badcafe")),
    Record(relayed(1)[:-1]),
    Record(relayed(1).replace(b'"seq": ', b'"seq":-')),
    Record(relayed(1).replace(b'"seq": ', b'"seq":x')),
)
NUMBERS = st.integers(0, 40) | st.sampled_from(
    [TURN * k + i for k in (2, 254, 255, 256) for i in (0, 5)]
)
TICKS = st.builds(
    lambda seq, partition, value: Record(value(seq), partition),
    NUMBERS,
    st.integers(0, 2),
    st.sampled_from(
        [
            relayed,
            tick,
            lambda seq: relayed(seq, document=b'{"symbol":"NIFTY"'),
            lambda seq: relayed(seq, document=b'{"no JSON'),
        ]
    ),
)
RISING = st.builds(
    lambda first, partitions: [
        Record(relayed(first + i), partition) for i, partition in enumerate(partitions)
    ],
    st.integers(0, 2 * TURN),
    st.lists(st.integers(0, 2), min_size=1, max_size=20),
)
"""As nearly always: new ticks, each partition's in order."""


@given(st.lists(RISING | st.lists(TICKS | st.sampled_from(STRANGERS), min_size=1), max_size=6))
@settings(max_examples=250)
def test_many_messages_at_once_give_what_they_give_one_by_one(parts: list[list[Record]]) -> None:
    together, one_by_one = Bench(128), Bench(128)
    place = itertools.count()
    with (
        mock.patch.object(consumer, "_SEEN_TICKS", TURN),
        mock.patch.object(consumer, "BULK_FROM", 2),
    ):
        for part in parts:
            placed = [record._replace(offset=next(place)) for record in part]
            is_matrix = len({len(record.value or b"") for record in placed}) == 1
            whole = is_matrix and all(record.value for record in placed)
            together.recorder.take(with_rows(placed) if whole else batch_of(placed), 150)
            one_by_one.take(*placed)
            assert together.ring.rows() == one_by_one.ring.rows()
            assert together.counted() == one_by_one.counted()
            assert together.supervisor.said == one_by_one.supervisor.said
            assert np.array_equal(together.recorder._seen[:TURN], one_by_one.recorder._seen[:TURN])


@pytest.mark.parametrize("make", [batch_of, with_rows])
def test_ticks_in_order_do_go_together(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Recorder, "_take_one")
    bench = Bench()
    for first in (0, 100, 200):
        records = [Record(relayed(seq), seq % 4, seq // 4) for seq in range(first, first + 100)]
        bench.recorder.take(make(records), 150)
    rows = bench.ring.rows()
    assert [row["seq"] for row in rows] == list(range(300))
    assert all(row["partition"] == row["seq"] % 4 for row in rows)
    assert all(row["offset"] == row["seq"] // 4 for row in rows)
    assert all(row["consumed_ns"] == 150 and row["relay_out_ns"] == 135 for row in rows)
    assert not bench.counted()


def test_a_batch_that_comes_again_is_all_duplicates() -> None:
    bench = Bench()
    batch = batch_of([Record(relayed(seq)) for seq in range(100)])
    bench.recorder.take(batch, 150)
    bench.recorder.take(batch, 160)
    assert bench.recorded() == list(range(100))
    assert bench.counted() == {"DUPLICATES": 100}


@pytest.mark.parametrize("make", [batch_of, with_rows])
def test_a_tick_that_is_in_two_partitions_of_one_batch_counts_once(make: Any) -> None:
    bench = Bench()
    # produced again after a broker's silence, say, to a topic that has got more partitions
    bench.recorder.take(make([Record(relayed(i // 2), i % 2, i // 2) for i in range(100)]), 150)
    assert bench.recorded() == list(range(50))
    assert bench.counted() == {"DUPLICATES": 50}
