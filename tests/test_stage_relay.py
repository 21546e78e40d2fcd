"""The relay between a WebSocket message and the producer's queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.recording import RelayCounter
from latbench.stages.kafka import NO_SEQ
from latbench.tick import decode_relayed
from tests.cli import until
from tests.relaying import CAME_NS, LIMIT_NS, Bench, FakeProducer, alike, alike_now, both_ways, sent
from tests.stages import RUN_ID

ADDED = {"latbench", "latency_t1", "latency_t2"}


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


@given(DOCUMENTS, st.integers(0, 2**62), st.booleans())
def test_what_is_produced_is_the_document_with_the_relays_stamps(
    document: dict[str, Any], seq: int, compiled: bool
) -> None:
    bench = BENCHES[compiled]
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


BENCHES = {compiled: Bench(compiled=compiled) for compiled in (False, True)}
"""For all examples: their memory takes 10 ms to map."""


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
@both_ways
def test_a_ticks_key_is_its_symbol(document: dict[str, Any], key: str, compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.receive(sent(0, document))
    ((_, produced_key),) = bench.producer.taken
    assert produced_key == key


@both_ways
def test_with_a_full_queue_ticks_wait_in_order_and_reading_stops(compiled: bool) -> None:
    bench = Bench(FakeProducer(room=5), compiled=compiled)

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


def test_one_that_comes_by_itself_hands_the_cpu_over_before_its_row_is_written() -> None:
    bench = Bench()
    rows: list[int] = []

    def look() -> None:
        assert len(bench.producer.taken) == 1
        rows.append(len(bench.ring.rows()))

    with mock.patch("os.sched_yield", look):
        bench.forwarder.on_message(CAME_NS, sent(0, {}))
        assert rows == [0]
        assert len(bench.ring.rows()) == 1
        bench.forwarder.on_messages(CAME_NS, [sent(1, {})])
        bench.forwarder.on_messages(CAME_NS, [sent(2, {}), sent(3, {})])
    assert rows == [0]
    assert [decode_relayed(value).latbench.seq for value, _ in bench.producer.taken] == [0, 1, 2, 3]


@both_ways
def test_each_time_the_queue_is_full_counts(compiled: bool) -> None:
    bench = Bench(FakeProducer(room=2), compiled=compiled)

    async def fill_twice() -> None:
        for spell in (1, 2):
            bench.take(*range(4 * spell, 4 * spell + 4))
            bench.producer.room += 4
            await until(lambda: not bench.forwarder._waiting)
            assert bench.server.calls == ["pause", "resume"] * spell

    asyncio.run(fill_twice())
    assert bench.producer.sequence == list(range(4, 12))
    assert bench.ring.count(RelayCounter.BACKPRESSURE) == 2


@both_ways
def test_a_refused_tick_is_counted_and_named_and_the_next_one_goes_on(compiled: bool) -> None:
    bench = Bench(FakeProducer(largest=400), compiled=compiled)
    for seq in range(10):
        bench.receive(sent(seq, {"symbol": "TCS", "note": "x" * (seq % 2 * 500)}))
    assert bench.producer.sequence == [0, 2, 4, 6, 8]
    assert bench.ring.count(RelayCounter.REFUSED) == 5
    assert [row["seq"] for row in bench.ring.rows()] == list(range(10))
    assert len(bench.supervisor.said) == 3
    assert "tick 1" in bench.supervisor.said[0]
    assert "too large" in bench.supervisor.said[0]


@both_ways
def test_a_tick_refused_after_it_had_to_wait_does_not_hold_up_the_rest(compiled: bool) -> None:
    bench = Bench(FakeProducer(room=1), compiled=compiled)

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
@both_ways
def test_a_message_that_is_no_tick_is_counted_and_goes_nowhere(name: str, compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.receive(NO_TICKS[name])
    assert bench.ring.count(RelayCounter.MALFORMED) == 1
    assert not bench.producer.taken
    assert not bench.ring.rows()
    bench.take(7)
    assert bench.producer.sequence == [7]


@both_ways
def test_another_runs_tick_is_relayed_and_in_no_record_of_this_one(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
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


@given(
    st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: sent(1, {})[:-1] + junk),
    st.booleans(),
)
def test_no_junk_ends_the_relay(junk: bytes, compiled: bool) -> None:
    bench = BENCHES[compiled]
    counted, taken = bench.ring.count(RelayCounter.MALFORMED), len(bench.producer.taken)
    bench.receive(junk)
    malformed = bench.ring.count(RelayCounter.MALFORMED) - counted
    assert malformed + len(bench.producer.taken) - taken == 1
    bench.ring.rows()


@both_ways
def test_each_tick_hears_of_its_own_delivery(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    bench.take(3, 4)
    bench.receive_together(monotonic_ns(), alike_now(range(5, 105)))
    assert bench.producer.bulks == ([100] if compiled else [])
    rows = {row["seq"]: row["relay_out_ns"] for row in bench.ring.rows()}
    bench.answer(*range(104, 2, -1))
    answered = bench.acks_ring.rows()
    assert [row["seq"] for row in answered] == list(range(104, 2, -1))
    assert {row["seq"]: row["relay_out_ns"] for row in answered} == rows


@both_ways
def test_a_document_that_is_no_json_is_relayed_by_where_its_stamps_are(compiled: bool) -> None:
    bench = Bench(compiled=compiled)
    (message,) = alike_now([7])
    message = message.replace(b"1.5", b"...")
    bench.receive(message)
    ((value, key),) = bench.producer.taken
    assert key == "TCS"
    assert value.startswith(message[:-2] + b',"relay_in_ns":')
    assert [row["seq"] for row in bench.ring.rows()] == [7]


@both_ways
def test_a_tick_that_took_ten_seconds_or_came_before_it_was_sent_is_told_as_it_is(
    compiled: bool,
) -> None:
    bench = Bench(compiled=compiled)
    for seq, sent_ns in enumerate(
        (CAME_NS - LIMIT_NS, CAME_NS - LIMIT_NS + 1, CAME_NS + 1_500_000)
    ):
        bench.receive_together(CAME_NS, [alike(seq, sent_ns=sent_ns)])
    told = [json.loads(value)["latency_t1"] for value, _ in bench.producer.taken]
    assert told == [10_000.0, 9999.999999, -1.5]
