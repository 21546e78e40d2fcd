"""The relay between a WebSocket message and the producer's queue."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.recording import ACKS, RELAY, RelayCounter
from latbench.stages import relay
from latbench.stages.kafka import NO_SEQ, Delivery, QueueFullError, RefusedError
from latbench.stages.relay import Acknowledgements, Forwarder
from latbench.tick import decode_relayed, sent_suffix_format
from latbench.tickmatrix import Chars, Ints
from tests.cli import until
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

ADDED = {"latbench", "latency_t1", "latency_t2"}


class FakeProducer:
    """A queue of `room` places; takes no message larger than `largest`, nor those `unwanted`."""

    def __init__(
        self, room: int = 1_000_000, largest: int = 1_000_000, unwanted: Sequence[int] = ()
    ) -> None:
        self.room = room
        self.largest = largest
        self.unwanted = unwanted
        self.taken: list[tuple[bytes, str]] = []
        self.seqs: list[int] = []
        self.bulks = 0

    def produce(self, value: bytes, key: str, seq: int) -> None:
        if len(self.taken) >= self.room:
            raise QueueFullError
        if len(value) > self.largest or seq in self.unwanted:
            raise RefusedError("Message size too large")
        self.taken.append((value, key))
        self.seqs.append(seq)

    def produce_rows(
        self, values: Chars, keys: Sequence[str], seqs: Ints
    ) -> tuple[int, list[tuple[int, str]]]:
        self.bulks += 1
        assert "" not in keys
        refused: list[tuple[int, str]] = []
        for i, (value, key, seq) in enumerate(zip(values, keys, seqs.tolist(), strict=True)):
            try:
                self.produce(value.tobytes(), key, seq)
            except QueueFullError:
                return i, refused
            except RefusedError as error:
                refused.append((i, str(error)))
        return len(values), refused

    async def close(self) -> None:
        raise AssertionError("not the forwarder's to close")

    @property
    def sequence(self) -> list[int]:
        return [decode_relayed(value).latbench.seq for value, _ in self.taken]


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

    def __init__(self, producer: FakeProducer | None = None, rows: int = 1 << 14) -> None:
        self.producer = producer or FakeProducer()
        self.ring = TwoEndedRing(RELAY, rows)
        self.acks_ring = TwoEndedRing(ACKS, rows)
        self.server = FakeServer()
        self.supervisor = ListeningSupervisor()
        supervisor = self.supervisor.as_supervisor()
        self.acks = Acknowledgements(self.acks_ring.writer, supervisor, queue_messages=1024)
        self.forwarder = Forwarder(RUN_ID, self.producer, self.ring.writer, self.acks, supervisor)
        self.forwarder.attach(self.server)

    def receive(self, *messages: bytes) -> None:
        """Each of them by itself."""
        for message in messages:
            self.forwarder.on_messages(monotonic_ns(), [message])

    def take(self, *numbers: int) -> None:
        self.receive(*(sent(seq, {"symbol": "TCS"}) for seq in numbers))

    def answer(self, *numbers: int) -> None:
        """The broker acknowledges some ticks."""
        seqs = np.array(numbers)
        self.acks.on_delivery(Delivery(seqs, (), np.zeros_like(seqs), seqs * 10))


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
    bench.receive(sent(seq, document))
    ((value, key),) = bench.producer.taken[before:]
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
    assert key == (document.get("symbol") or document.get("product_id") or "")


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
        ({"price": 1}, ""),
    ],
)
def test_a_ticks_key_is_its_symbol(document: dict[str, Any], key: str) -> None:
    bench = Bench()
    bench.receive(sent(0, document))
    ((_, produced_key),) = bench.producer.taken
    assert produced_key == key


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
    for row, (value, _) in zip(rows, bench.producer.taken, strict=True):
        assert decode_relayed(value).latbench.relay_out_ns == row["relay_out_ns"]


def test_each_time_the_queue_is_full_counts() -> None:
    bench = Bench(FakeProducer(room=2))

    async def fill_twice() -> None:
        for spell in (1, 2):
            bench.take(*range(4 * spell, 4 * spell + 4))
            bench.producer.room += 4
            await until(lambda: not bench.forwarder._waiting)
            assert bench.server.calls == ["pause", "resume"] * spell

    asyncio.run(fill_twice())
    assert bench.producer.sequence == list(range(4, 12))
    assert bench.ring.count(RelayCounter.BACKPRESSURE) == 2


def test_a_refused_tick_is_counted_and_named_and_the_next_one_goes_on() -> None:
    bench = Bench(FakeProducer(largest=400))
    for seq in range(10):
        bench.receive(sent(seq, {"symbol": "TCS", "note": "x" * (seq % 2 * 500)}))
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
        bench.receive(sent(2, {"note": "x" * 500}))
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
    bench.receive(NO_TICKS[name])
    assert bench.ring.count(RelayCounter.MALFORMED) == 1
    assert not bench.producer.taken
    assert not bench.ring.rows()
    bench.take(7)
    assert bench.producer.sequence == [7]


def test_another_runs_tick_is_relayed_and_in_no_record_of_this_one() -> None:
    bench = Bench()
    bench.receive(sent(7, {"symbol": "TCS"}).replace(RUN_ID.encode(), b"0badcafe"))
    bench.take(7)
    assert bench.producer.sequence == [7, 7]
    (row,) = bench.ring.rows()
    ours = decode_relayed(bench.producer.taken[1][0]).latbench
    assert (row["relay_in_ns"], row["relay_out_ns"]) == (ours.relay_in_ns, ours.relay_out_ns)
    assert bench.producer.seqs == [NO_SEQ, 7]  # nobody waits for the answer to theirs
    bench.answer(7)
    (answered,) = bench.acks_ring.rows()
    assert (answered["seq"], answered["relay_out_ns"]) == (7, row["relay_out_ns"])


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: sent(1, {})[:-1] + junk))
def test_no_junk_ends_the_relay(junk: bytes) -> None:
    counted, taken = BENCH.ring.count(RelayCounter.MALFORMED), len(BENCH.producer.taken)
    BENCH.receive(junk)
    assert (
        BENCH.ring.count(RelayCounter.MALFORMED) - counted + len(BENCH.producer.taken) - taken == 1
    )
    BENCH.ring.rows()


def test_each_tick_hears_of_its_own_delivery() -> None:
    bench = Bench()
    bench.take(3, 4)
    bench.forwarder.on_messages(monotonic_ns(), alike_now(range(5, 105)))
    assert bench.producer.bulks == 1
    rows = {row["seq"]: row["relay_out_ns"] for row in bench.ring.rows()}
    bench.answer(*range(104, 2, -1))
    answered = bench.acks_ring.rows()
    assert [row["seq"] for row in answered] == list(range(104, 2, -1))
    assert {row["seq"]: row["relay_out_ns"] for row in answered} == rows


# --- many at once -----------------------------------------------------------------------------

NOW_NS = 3_000_000 * NS_PER_S
"""What the clock says throughout, so that both ways write the same stamps."""


def alike(seq: int, symbol: str = "TCS", sent_ns: int = NOW_NS - 50_000, more: str = "") -> bytes:
    """A message as a simulated market's ticks are: of one length where the symbol is."""
    document = f'{{"timestamp":1732470000.{seq % 10**6:06d},"symbol":"{symbol}","price":1.5{more}'
    return document.encode() + sent_suffix_format(RUN_ID) % (seq, sent_ns - 20_000, sent_ns)


def alike_now(numbers: Iterable[int]) -> list[bytes]:
    """Such messages, sent a moment ago."""
    sent_ns = monotonic_ns() - 50_000
    return [alike(seq, sent_ns=sent_ns) for seq in numbers]


UNLIKE: dict[str, Callable[[int], bytes]] = {
    "another symbol": lambda seq: alike(seq, "NIFTY"),
    "another symbol of that length": lambda seq: alike(seq, ("INF", "€")[seq % 2]),
    "longer": lambda seq: alike(seq, more=',"note":"}}"'),
    "of another layout": lambda seq: sent(seq, {"product_id": "TCS"}, NOW_NS - 70_000),
    "another run": lambda seq: alike(seq).replace(RUN_ID.encode(), b"0badcafe"),
    "no JSON": lambda seq: alike(seq).replace(b"1.5", b"..."),
    "no UTF-8": lambda seq: alike(seq).replace(b"1.5", b"\xff\xfe\xfd"),
    "no UTF-8 in the symbol": lambda seq: alike(seq).replace(b"TCS", b"\xff\xfe\xfd"),
    "cut off": lambda seq: alike(seq)[:-1],
    "something else at the end": lambda seq: alike(seq)[:-1] + b"x",
    "a letter for a digit": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":x'),
    "zeros for blanks": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":0'),
    "sent a moment later": lambda seq: alike(seq, sent_ns=NOW_NS - 49_999),
    "sent long ago": lambda seq: alike(seq, sent_ns=NOW_NS - 11 * NS_PER_S),
    "sent by a clock ahead": lambda seq: alike(seq, sent_ns=NOW_NS + 7),
}
"""Messages that stand out among those."""


@st.composite
def receptions(draw: st.DrawFn) -> list[list[bytes]]:
    """What comes together, several times: some the same throughout, in some a few stand out."""
    count = draw(st.integers(1, 40))
    standing_out = draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(sorted(UNLIKE))))
    messages = [
        UNLIKE[standing_out[seq]](seq) if seq in standing_out else alike(seq)
        for seq in range(count)
    ]
    cuts = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=4))})
    return [messages[a:b] for a, b in itertools.pairwise(cuts)]


async def forwarded(
    bench: Bench, parts: Sequence[Sequence[bytes]], room: int | None
) -> dict[str, Any]:
    """All that there is to see when `parts` have come, and when what waits has gone, too."""

    def now() -> dict[str, Any]:
        return {
            "values": list(bench.producer.taken),
            "seqs": list(bench.producer.seqs),
            "rows": bench.ring.rows(),
            "counts": bench.ring.counts(),
            "said": list(bench.supervisor.said),
            "server": list(bench.server.calls),
            "waiting": list(bench.forwarder._waiting),
        }

    bench.producer.room = 1_000_000 if room is None else room
    for part in parts:
        bench.forwarder.on_messages(NOW_NS - 30_000, list(part))
    full = now()
    bench.producer.room = 1_000_000
    await until(lambda: not bench.forwarder._waiting)
    expected = bench.acks.relay_out_ns.copy()
    return {"full": full, "in the end": now(), "expected": expected.nonzero()[0].tolist()}


@given(
    receptions(),
    st.none() | st.integers(0, 40),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([1000, 300]),
)
@settings(max_examples=250)
def test_many_messages_at_once_give_what_they_give_one_by_one(
    parts: list[list[bytes]], room: int | None, unwanted: list[int], largest: int
) -> None:
    together = Bench(FakeProducer(largest=largest, unwanted=unwanted), rows=64)
    one_by_one = Bench(FakeProducer(largest=largest, unwanted=unwanted), rows=64)

    async def both() -> list[dict[str, Any]]:
        single = [[message] for part in parts for message in part]
        return [
            await forwarded(together, parts, room), await forwarded(one_by_one, single, room)
        ]  # fmt: skip

    with (
        mock.patch.object(relay, "monotonic_ns", return_value=NOW_NS),
        mock.patch.object(relay, "BULK_FROM", 2),
    ):
        first, second = asyncio.run(both())
    assert first == second
    assert one_by_one.producer.bulks == 0


@given(st.integers(2, 60))
def test_messages_that_are_alike_do_go_together(count: int) -> None:
    bench = Bench(rows=64)
    with mock.patch.object(relay, "BULK_FROM", 2):
        bench.forwarder.on_messages(NOW_NS, [alike(seq) for seq in range(count)])
    assert bench.producer.bulks == 1
    assert bench.producer.seqs == list(range(count))


def test_while_ticks_wait_many_messages_queue_up_behind_them() -> None:
    bench = Bench(FakeProducer(room=30))

    async def fill_then_free() -> None:
        for first in range(0, 300, 100):
            bench.forwarder.on_messages(monotonic_ns(), alike_now(range(first, first + 100)))
            bench.producer.room += 10  # there is room again, but others come first
        assert bench.producer.seqs == list(range(30))
        bench.producer.room = 1000
        await until(lambda: bench.server.calls == ["pause", "resume"])
        bench.forwarder.on_messages(monotonic_ns(), alike_now(range(300, 400)))

    asyncio.run(fill_then_free())
    assert bench.producer.seqs == list(range(400))
    assert bench.producer.bulks == 2
    assert [row["seq"] for row in bench.ring.rows()] == list(range(400))


def test_a_document_that_is_no_json_is_relayed_by_where_its_stamps_are() -> None:
    bench = Bench()
    message = UNLIKE["no JSON"](7)
    bench.receive(message)
    ((value, key),) = bench.producer.taken
    assert key == "TCS"
    assert value.startswith(message[:-2] + b',"relay_in_ns":')
    assert [row["seq"] for row in bench.ring.rows()] == [7]
