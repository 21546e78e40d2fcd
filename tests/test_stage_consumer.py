"""The consumer's recorder: which messages of a topic are ticks of this run, each counted once."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.batch.ticks import MOST, PARTITIONS, SEEN, ConsumerBatch
from latbench.plan import ConsumerPlan
from latbench.recording import CONSUMER, ConsumerCounter
from latbench.stages import consumer
from latbench.stages.consumer import Recorder
from latbench.stages.kafka import Batch
from latbench.tick import sent_suffix_format, splice_relayed
from tests.messages import Content, MadeMessages
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
ERROR_CODE = -187
"""`RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN`"""


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
        [record.value for record in records],
        [record.error for record in records if record.error is not None],
    )


def messages_of(records: Sequence[Record]) -> MadeMessages:
    """The same as librdkafka has them; an error's words are its value."""
    return MadeMessages(
        [
            Content(record.value, None, record.partition, record.offset)
            if record.error is None
            else Content(record.error.encode(), error=ERROR_CODE)
            for record in records
        ]
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


def relayed(seq: int, run: str = RUN_ID, document: bytes = b'{"symbol":"TCS"') -> bytes:
    """A relay's message, whose numbers have their places."""
    message = document + sent_suffix_format(run) % (seq, 100, 110)
    return splice_relayed(message, 110, 130, 135)


class Bench:
    """A recorder and all around it."""

    def __init__(self, rows: int = 1 << 14, *, compiled: bool = False) -> None:
        self.ring = TwoEndedRing(CONSUMER, rows)
        self.supervisor = ListeningSupervisor()
        self.batch = ConsumerBatch(RUN_ID) if compiled else None
        self.recorder = Recorder(
            RUN_ID, self.ring.writer, self.supervisor.as_supervisor(), self.batch
        )

    def take_together(self, records: Sequence[Record], consumed_ns: int = 150) -> None:
        """All of them at once: in librdkafka's memory where there is a batch."""
        if self.batch is None:
            self.recorder.take(batch_of(records), consumed_ns)
        else:
            made = messages_of(records)
            self.recorder.take(made.held(), consumed_ns)

    def take(self, *records: Record) -> None:
        """One by one."""
        for record in records:
            self.take_together([record])

    def take_ticks(self, *numbers: int, partition: int = 0) -> None:
        value = tick if self.batch is None else relayed
        self.take(*(Record(value(seq), partition) for seq in numbers))

    def recorded(self) -> list[int]:
        return [row["seq"] for row in self.ring.rows()]

    def counted(self) -> dict[str, int]:
        """The counters that are not zero."""
        counts = {counter.name: self.ring.count(counter) for counter in ConsumerCounter}
        return {name: count for name, count in counts.items() if count}


@both_ways
def test_a_tick_is_one_row_of_its_stamps_and_its_place(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
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


@both_ways
def test_a_tick_that_comes_again_is_a_duplicate_and_no_second_row(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.take_ticks(0, 1, 1, 2, 0, 1)
    assert bench.recorded() == [0, 1, 2]
    assert bench.counted() == {"DUPLICATES": 3}


@pytest.mark.parametrize("later", [1, 1000, SEEN // 2, SEEN - 1])
@both_ways
def test_a_duplicate_is_known_as_one_millions_of_ticks_later(later: int, compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.take_ticks(0, later, 0, later)
    assert bench.recorded() == [0, later]
    assert bench.counted() == {"DUPLICATES": 2}


@pytest.mark.parametrize("earlier", [SEEN, 3 * SEEN, 254 * SEEN])
@both_ways
def test_a_tick_that_is_millions_of_ticks_late_is_no_duplicate(
    earlier: int, compiled: bool
) -> None:
    """Its partition stood still, for one: at 200,000/s that is 20 s."""
    bench = Bench(compiled=compiled)
    bench.take_ticks(earlier + 5, 5)
    assert bench.recorded() == [earlier + 5, 5]
    assert bench.counted() == {"REORDERED": 1}


@both_ways
def test_no_tick_of_a_billion_is_taken_for_one_that_shares_its_place(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    numbers = [17 + turn * SEEN for turn in range(600)]
    bench.take_ticks(*numbers)
    assert bench.recorded() == numbers
    assert not bench.counted()


@given(
    st.permutations(range(24)), st.lists(st.integers(0, 2), min_size=24, max_size=24), st.booleans()
)
def test_a_tick_after_a_later_one_of_its_partition_is_reordered(
    order: list[int], partitions: list[int], compiled: bool
) -> None:
    bench = BENCHES[compiled]
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


BENCHES = {compiled: Bench(compiled=compiled) for compiled in (False, True)}
"""For all examples: their memory takes 10 ms to map."""
BASES = itertools.count(0, 24)


@both_ways
def test_a_duplicate_is_not_reordered_besides(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
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
@both_ways
def test_a_message_that_is_no_tick_of_this_run_is_counted_as_unknown(
    name: str, compiled: bool
) -> None:
    bench = Bench(compiled=compiled)
    bench.take(Record(NO_TICKS[name]))
    assert bench.counted() == {"UNKNOWN": 1}
    assert bench.recorded() == []
    bench.take_ticks(0, 1)
    assert bench.recorded() == [0, 1]


@given(
    st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: tick(1)[:-1] + junk),
    st.booleans(),
)
def test_no_junk_ends_the_consumer(junk: bytes, compiled: bool) -> None:
    BENCHES[compiled].take(Record(junk))
    BENCHES[compiled].ring.rows()


DOWN = "1/1 brokers are down"


@both_ways
def test_errors_of_the_client_are_counted_and_the_first_are_told(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.take(*[Record(None, error=DOWN)] * 5)
    bench.take_ticks(0)
    assert bench.counted() == {"ERRORS": 5}
    assert bench.recorded() == [0]
    assert bench.supervisor.said == [f"the consumer reports: {DOWN}"] * 3


# --- many at once -----------------------------------------------------------------------------


STRANGERS: tuple[Record, ...] = (
    Record(None),
    Record(None, error=DOWN),
    Record(b""),
    Record(b"hello"),
    Record(b"x" * 400),
    Record(relayed(1, run="0badcafe")),
    Record(relayed(1)[:-1]),
    Record(relayed(1)[-100:]),
    Record(relayed(1).replace(b'"seq": ', b'"seq":-')),
    Record(relayed(1).replace(b'"seq": ', b'"seq":x')),
    Record(relayed(1).replace(b'"sent_ns":          ', b'"sent_ns":9999999999')),
)
NUMBERS = st.integers(0, 40) | st.sampled_from(
    [SEEN * k + i for k in (1, 2, 254, 255, 256) for i in (0, 5)]
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
            lambda seq: relayed(seq).replace(b'"seq": ', b'"seq":0'),
            lambda seq: relayed(seq)[: -len("0.000005}")] + b"whatever}",
            lambda seq: relayed(seq, document=b'{"a":' + b"9" * 700),
        ]
    ),
)
RISING = st.builds(
    lambda first, partitions: [
        Record(relayed(first + i), partition) for i, partition in enumerate(partitions)
    ],
    st.integers(0, 64),
    st.lists(st.integers(0, 2), min_size=1, max_size=20),
)
"""As nearly always: new ticks, each partition's in order."""
PARTS = st.lists(RISING | st.lists(TICKS | st.sampled_from(STRANGERS), min_size=1), max_size=6)


@given(PARTS, st.sampled_from([128, 16]))
@settings(max_examples=150)
def test_many_messages_at_once_give_what_they_give_one_by_one(
    parts: list[list[Record]], ring_rows: int
) -> None:
    together, one_by_one = Bench(ring_rows, compiled=True), Bench(ring_rows)
    told, expected = io.StringIO(), io.StringIO()
    place = itertools.count()
    for part in parts:
        placed = [record._replace(offset=next(place)) for record in part]
        with contextlib.redirect_stderr(told):
            together.take_together(placed)
        with contextlib.redirect_stderr(expected):
            one_by_one.take(*placed)
        assert together.ring.rows() == one_by_one.ring.rows()
        assert together.counted() == one_by_one.counted()
        assert together.ring.writer.header[1] == one_by_one.ring.writer.header[1]
        assert together.supervisor.said == one_by_one.supervisor.said
        assert told.getvalue() == expected.getvalue()
    for name in ("_seen", "_last_of_partition"):
        first, second = getattr(together.recorder, name), getattr(one_by_one.recorder, name)
        assert first[:64] == second[:64]


def test_ticks_in_order_do_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Recorder, "_take_one")
    bench = Bench(compiled=True)
    for first in range(0, 3 * MOST, MOST):
        together = range(first, first + MOST)
        bench.take_together([Record(relayed(seq), seq % 4, seq // 4) for seq in together])
    rows = bench.ring.rows()
    assert [row["seq"] for row in rows] == list(range(3 * MOST))
    assert all(row["partition"] == row["seq"] % 4 for row in rows)
    assert all(row["offset"] == row["seq"] // 4 for row in rows)
    assert all(row["consumed_ns"] == 150 and row["relay_out_ns"] == 135 for row in rows)
    assert not bench.counted()


def test_ticks_of_another_layout_of_another_run_or_out_of_order_part_a_batch_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(compiled=True)
    alone: list[int] = []
    take_one = Recorder._take_one

    def count(recorder: Recorder, arrived: Batch, i: int, consumed_ns: int) -> None:
        alone.append(i)
        take_one(recorder, arrived, i, consumed_ns)

    monkeypatch.setattr(Recorder, "_take_one", count)
    records = [Record(relayed(seq)) for seq in range(100)]
    records[10] = Record(tick(10) + b" " * 250)
    records[20] = Record(relayed(20, run="0badcafe"))
    records[30], records[31] = records[31], records[30]
    records[41] = records[40]
    bench.take_together(records)
    assert alone == [10, 20]
    assert bench.counted() == {"UNKNOWN": 1, "REORDERED": 1, "DUPLICATES": 1}
    assert sorted(bench.recorded()) == [seq for seq in range(100) if seq not in {20, 41}]


def test_where_messages_lie_is_read_once_and_not_for_each_of_them() -> None:
    made = messages_of([Record(tick(seq), seq % 4, seq) for seq in range(MOST)])
    arrived = made.held()
    # 8 to 20 µs for a list of 512: as much for each of them is what ten of them take
    assert arrived.partitions is arrived.partitions
    assert arrived.offsets is arrived.offsets


@both_ways
@pytest.mark.parametrize("stranger", [Record(None), Record(b"short"), Record(None, error=DOWN)])
@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_record_without_an_end_keeps_none_from_being_recorded(
    stranger: Record, place: int, compiled: bool
) -> None:
    bench = Bench(compiled=compiled)
    records = [Record(relayed(seq), seq % 4, seq) for seq in range(100)]
    records[place] = stranger
    bench.take_together(records)
    rows = bench.ring.rows()
    assert [row["seq"] for row in rows] == [seq for seq in range(100) if seq != place]
    assert all((row["partition"], row["offset"]) == (row["seq"] % 4, row["seq"]) for row in rows)
    assert bench.counted() == {"ERRORS" if stranger.error else "UNKNOWN": 1}


@both_ways
def test_a_batch_that_comes_again_is_all_duplicates(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    records = [Record(relayed(seq)) for seq in range(100)]
    bench.take_together(records)
    bench.take_together(records, 160)
    assert bench.recorded() == list(range(100))
    assert bench.counted() == {"DUPLICATES": 100}


@both_ways
def test_a_tick_that_is_in_two_partitions_of_one_batch_counts_once(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    # produced again after a broker's silence, say, to a topic that has got more partitions
    bench.take_together([Record(relayed(i // 2), i % 2, i // 2) for i in range(100)])
    assert bench.recorded() == list(range(50))
    assert bench.counted() == {"DUPLICATES": 50}


@both_ways
@pytest.mark.parametrize("partition", [PARTITIONS - 1, PARTITIONS, 100_000])
def test_any_partition_that_kafka_has_is_recorded(partition: int, compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.take_together([Record(relayed(seq), partition) for seq in (1, 0, 2, 2)])
    assert bench.recorded() == [1, 0, 2]
    assert bench.counted() == {"REORDERED": 1, "DUPLICATES": 1}


@pytest.mark.parametrize(
    ("changes", "compiled"),
    [({}, True), ({"compiled": False}, False), ({"kafka_client": "confluent-kafka"}, False)],
)
def test_the_compiled_way_is_taken_where_the_client_hands_over_many(
    changes: dict[str, Any], compiled: bool
) -> None:
    plan = ConsumerPlan(
        run_id=RUN_ID, kafka_client="librdkafka", topic="ticks", partitions=1, consumer={},
        compiled=True,
    )  # fmt: skip
    batch = consumer._open_batch(msgspec.structs.replace(plan, **changes))
    assert (batch is not None) == compiled
