"""The relay between a WebSocket message and the producer's queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast
from zlib import crc32

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.plan import RelayPlan
from latbench.recording import RELAY, RelayCounter
from latbench.stages.relay import Forwarder, OnDelivery
from latbench.tick import decode_relayed, sent_suffix_format
from tests.cli import until
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

ADDED = {"latbench", "latency_t1", "latency_t2"}


class FakeProducer:
    """A queue of `room` places; takes no message larger than `largest`."""

    def __init__(self, room: int = 1_000_000, largest: int = 1_000_000) -> None:
        self.room = room
        self.largest = largest
        self.taken: list[tuple[bytes, str | None, int | None]] = []
        self.reports: list[Callable[..., None]] = []

    def produce(
        self,
        topic: str,
        value: bytes,
        key: str | None = None,
        partition: int | None = None,
        *,
        on_delivery: Callable[..., None],
    ) -> None:
        assert topic == "ticks"
        if len(value) > self.largest:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if len(self.taken) >= self.room:
            raise BufferError("Local: Queue full")
        self.taken.append((value, key, partition))
        self.reports.append(on_delivery)

    @property
    def sequence(self) -> list[int]:
        return [decode_relayed(value).latbench.seq for value, _, _ in self.taken]


class FakeServer:
    """Keeps when reading was stopped and taken up again."""

    port = clients = 0

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    async def close(self) -> None:
        raise AssertionError("not the forwarder's to close")


class Bench:
    """A forwarder and all around it."""

    def __init__(self, producer: FakeProducer | None = None, partitions: int | None = None) -> None:
        self.producer = producer or FakeProducer()
        self.ring = TwoEndedRing(RELAY)
        self.server = FakeServer()
        self.supervisor = ListeningSupervisor()
        self.answers: list[tuple[Any, ...]] = []
        plan = RelayPlan(
            run_id=RUN_ID,
            host="127.0.0.1",
            port=0,
            ws_engine="picows",
            topic="ticks",
            producer={},
            partitions=partitions,
        )
        self.forwarder = Forwarder(
            plan,
            cast("Producer", self.producer),
            self.ring.writer,
            cast("OnDelivery", lambda *answer: self.answers.append(answer)),
            self.supervisor.as_supervisor(),
        )
        self.forwarder.attach(self.server)

    def take(self, *numbers: int) -> None:
        for seq in numbers:
            self.forwarder.on_message(sent(seq, {"symbol": "TCS"}))


def sent(seq: int, document: dict[str, Any], sent_ns: int | None = None) -> bytes:
    """What a generator makes of a document, a moment ago."""
    stamp_ns = monotonic_ns() - 50_000 if sent_ns is None else sent_ns
    text = json.dumps(document, ensure_ascii=False).encode()
    suffix = sent_suffix_format(RUN_ID) % (seq, stamp_ns - 20_000, stamp_ns)
    return text[:-1] + (suffix if document else suffix[1:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)
DOCUMENTS = st.builds(
    lambda members, named: {k: v for k, v in members.items() if k not in ADDED} | named,
    st.dictionaries(NAMES.filter(lambda name: name not in {"symbol", "product_id"}), JSON),
    st.fixed_dictionaries({}, optional={"symbol": NAMES, "product_id": NAMES}),
)


@given(DOCUMENTS, st.integers(0, 2**62))
def test_what_is_produced_is_the_document_with_the_relays_stamps(
    document: dict[str, Any], seq: int
) -> None:
    bench = BENCH
    before = len(bench.producer.taken)
    bench.forwarder.on_message(sent(seq, document))
    ((value, key, partition),) = bench.producer.taken[before:]
    (row,) = bench.ring.rows()
    stamps = decode_relayed(value).latbench
    assert (stamps.run, stamps.seq) == (RUN_ID, seq)
    assert stamps.due_ns < stamps.sent_ns < stamps.relay_in_ns <= stamps.relay_out_ns
    assert row == {
        "seq": seq,
        "relay_in_ns": stamps.relay_in_ns,
        "relay_out_ns": stamps.relay_out_ns,
    }
    carried = json.loads(value)
    assert carried["latency_t1"] == pytest.approx((stamps.relay_in_ns - stamps.sent_ns) / 1e6)
    assert carried["latency_t2"] == pytest.approx((stamps.relay_out_ns - stamps.relay_in_ns) / 1e6)
    assert {name: member for name, member in carried.items() if name not in ADDED} == document
    assert key == (document.get("symbol") or document.get("product_id") or None)
    assert partition is None


BENCH = Bench()
"""One for all examples: its memory takes 10 ms to map."""


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"symbol": "TCS"}, "TCS"),
        ({"product_id": "SKL-GBP"}, "SKL-GBP"),
        ({"product_id": "SKL-GBP", "symbol": "TCS"}, "TCS"),
        ({"symbol": "", "product_id": "SKL-GBP"}, "SKL-GBP"),
        ({"symbol": "₹"}, "₹"),
        ({"price": 1}, None),
    ],
)
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_spread_over_partitions_goes_by_the_keys_crc32(
    document: dict[str, Any], key: str | None, partitions: int
) -> None:
    bench = Bench(partitions=partitions)
    bench.forwarder.on_message(sent(0, document))
    ((_, produced_key, partition),) = bench.producer.taken
    assert produced_key == key
    assert partition == crc32((key or "").encode()) % partitions


def test_with_a_full_queue_ticks_wait_in_order_and_reading_stops() -> None:
    bench = Bench(FakeProducer(room=5))

    async def fill_then_free() -> None:
        bench.take(*range(12))
        assert bench.producer.sequence == [0, 1, 2, 3, 4]
        assert bench.server.calls == ["pause"]
        full_ns = monotonic_ns()
        bench.producer.room = 8
        await until(lambda: len(bench.producer.taken) == 8)
        await until(lambda: monotonic_ns() > full_ns + 5 * NS_PER_MS)
        bench.producer.room = 100
        bench.take(12)  # one that was on its way: there is room again, but others come first
        assert len(bench.producer.taken) == 8
        assert bench.server.calls == ["pause"]
        await until(lambda: bench.server.calls == ["pause", "resume"])

    asyncio.run(fill_then_free())
    assert bench.producer.sequence == list(range(13))
    assert bench.ring.count(RelayCounter.BACKPRESSURE) == 1
    assert bench.ring.count(RelayCounter.BACKPRESSURE_NS) >= 5 * NS_PER_MS
    rows = bench.ring.rows()
    assert [row["seq"] for row in rows] == list(range(13))
    # the wait is the relay's own time: it came in long before it went out
    assert rows[8]["relay_out_ns"] - rows[8]["relay_in_ns"] >= 5 * NS_PER_MS
    for row, (value, _, _) in zip(rows, bench.producer.taken, strict=True):
        assert decode_relayed(value).latbench.relay_out_ns == row["relay_out_ns"]


def test_each_time_the_queue_is_full_counts() -> None:
    bench = Bench(FakeProducer(room=2))

    async def fill_twice() -> None:
        for spell in (1, 2):
            bench.take(*range(4 * spell, 4 * spell + 4))
            bench.producer.room += 4
            await until(lambda spell=spell: bench.server.calls == ["pause", "resume"] * spell)

    asyncio.run(fill_twice())
    assert bench.producer.sequence == list(range(4, 12))
    assert bench.ring.count(RelayCounter.BACKPRESSURE) == 2


def test_a_refused_tick_is_counted_and_named_and_the_next_one_goes_on() -> None:
    bench = Bench(FakeProducer(largest=400))
    for seq in range(10):
        bench.forwarder.on_message(sent(seq, {"symbol": "TCS", "note": "x" * (seq % 2 * 500)}))
    assert bench.producer.sequence == [0, 2, 4, 6, 8]
    assert bench.ring.count(RelayCounter.REFUSED) == 5
    assert [row["seq"] for row in bench.ring.rows()] == list(range(10))
    assert len(bench.supervisor.said) == 3
    assert "tick 1" in bench.supervisor.said[0]
    assert "too large" in bench.supervisor.said[0]


def test_a_tick_refused_after_it_had_to_wait_does_not_hold_up_the_rest() -> None:
    bench = Bench(FakeProducer(room=1))

    async def wait_and_refuse() -> None:
        bench.take(0, 1)
        bench.forwarder.on_message(sent(2, {"note": "x" * 500}))
        bench.take(3)
        bench.producer.largest = 400
        bench.producer.room = 10
        await until(lambda: bench.server.calls == ["pause", "resume"])

    asyncio.run(wait_and_refuse())
    assert bench.producer.sequence == [0, 1, 3]
    assert bench.ring.count(RelayCounter.REFUSED) == 1


STAMPS = '"latbench":{"run":"5f1c09ab","seq":1,"due_ns":1,"sent_ns":2}'
NO_TICKS = {
    "nothing": b"",
    "another type": b"[]",
    "no stamps": b'{"symbol":"TCS"}',
    "stamps of another type": b'{"latbench":7}',
    "a stamp missing": b'{"latbench":{"run":"5f1c09ab","seq":1,"due_ns":1}}',
    "a text for a number": STAMPS.replace("1,", '"1",').join("{}").encode(),
    "a symbol that is a number": f'{{"symbol":1,{STAMPS}}}'.encode(),
    "cut off": f"{{{STAMPS}".encode(),
    "something after it": f"{{{STAMPS}}}{{}}".encode(),
    "no UTF-8": b'{"symbol":"\xff",' + STAMPS.encode() + b"}",
    "half a character": b'{"symbol":"\xed\xa0\x80",' + STAMPS.encode() + b"}",
    "too deep": b'{"a":' * 100_000,
    "a number that no ring holds": STAMPS.replace('"seq":1', f'"seq":{2**63}').join("{}").encode(),
    "a number below zero": STAMPS.replace('"seq":1', '"seq":-1').join("{}").encode(),
}


@pytest.mark.parametrize("name", NO_TICKS)
def test_a_message_that_is_no_tick_is_counted_and_goes_nowhere(name: str) -> None:
    bench = Bench()
    bench.forwarder.on_message(NO_TICKS[name])
    assert bench.ring.count(RelayCounter.MALFORMED) == 1
    assert not bench.producer.taken
    assert not bench.ring.rows()
    bench.take(7)
    assert bench.producer.sequence == [7]


def test_another_runs_tick_is_relayed_and_in_no_record_of_this_one() -> None:
    bench = Bench()
    bench.forwarder.on_message(sent(7, {"symbol": "TCS"}).replace(RUN_ID.encode(), b"0badcafe"))
    bench.take(7)
    assert bench.producer.sequence == [7, 7]
    (row,) = bench.ring.rows()
    ours = decode_relayed(bench.producer.taken[1][0]).latbench
    assert (row["relay_in_ns"], row["relay_out_ns"]) == (ours.relay_in_ns, ours.relay_out_ns)
    theirs, mine = bench.producer.reports
    assert theirs is None
    mine(None, "record")
    assert bench.answers == [(7, row["relay_out_ns"], None, "record")]


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: sent(1, {})[:-1] + junk))
def test_no_junk_ends_the_relay(junk: bytes) -> None:
    counted, taken = BENCH.ring.count(RelayCounter.MALFORMED), len(BENCH.producer.taken)
    BENCH.forwarder.on_message(junk)
    assert (
        BENCH.ring.count(RelayCounter.MALFORMED) - counted + len(BENCH.producer.taken) - taken == 1
    )
    BENCH.ring.rows()


def test_each_tick_hears_of_its_own_delivery() -> None:
    bench = Bench()
    bench.take(3, 4)
    rows = {row["seq"]: row["relay_out_ns"] for row in bench.ring.rows()}
    for report in reversed(bench.producer.reports):
        report(None, "record")
    assert bench.answers == [(4, rows[4], None, "record"), (3, rows[3], None, "record")]
