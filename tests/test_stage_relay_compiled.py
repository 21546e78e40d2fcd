"""Many messages at once through the relay, by compiled code: what they give one by one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.batch.ticks import MOST, WAITING
from latbench.clock import monotonic_ns
from latbench.control import Done, FromStage, Ready
from latbench.plan import RelayPlan
from latbench.recording import RELAY, RINGS_OF_STAGE, RelayCounter
from latbench.stages import relay
from latbench.tick import decode_relayed
from tests.cli import until
from tests.relaying import CAME_NS, LIMIT_NS, NOW_NS, Bench, FakeProducer, alike, alike_now, sent
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

UNLIKE: dict[str, Callable[[int], bytes]] = {
    "another symbol": lambda seq: alike(seq, "NIFTY"),
    "a symbol that is not ASCII": lambda seq: alike(seq, "€"),
    "an escape in the symbol": lambda seq: alike(seq, r"\u0041"),
    "no symbol": lambda seq: alike(seq, ""),
    "another symbol later on": lambda seq: alike(seq, more=',"symbol":"TCS"'),
    "nothing after the symbol": lambda seq: alike(seq).replace(b',"price":1.5', b""),
    "another first member": lambda seq: alike(seq).replace(b"timestamp", b"time_stamp"),
    "a text for a timestamp": lambda seq: alike(seq).replace(b"1732470000", b'"732470000'),
    "longer": lambda seq: alike(seq, more=',"note":"}}"'),
    "very long": lambda seq: alike(seq, more=f',"note":"{"x" * 2000}"'),
    "of another layout": lambda seq: sent(seq, {"product_id": "TCS"}, NOW_NS - 70_000),
    "stamps in another layout": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":'),
    "another run": lambda seq: alike(seq).replace(RUN_ID.encode(), b"0badcafe"),
    "no JSON": lambda seq: alike(seq).replace(b"1.5", b"..."),
    "no JSON of another layout": lambda seq: sent(seq, {"n": 1}, NOW_NS).replace(b"1", b".", 1),
    "no UTF-8": lambda seq: alike(seq).replace(b"1.5", b"\xff\xfe\xfd"),
    "no UTF-8 in the symbol": lambda seq: alike(seq).replace(b"TCS", b"\xff\xfe\xfd"),
    "cut off": lambda seq: alike(seq)[:-1],
    "the end alone": lambda seq: alike(seq)[-100:],
    "nothing": lambda seq: b"",
    "something else at the end": lambda seq: alike(seq)[:-1] + b"x",
    "a letter for a digit": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":x'),
    "a sign for a blank": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":-'),
    "zeros for blanks": lambda seq: alike(seq).replace(b'"seq": ', b'"seq":0'),
    "sent a moment later": lambda seq: alike(seq, sent_ns=NOW_NS - 49_999),
    "sent when it came": lambda seq: alike(seq, sent_ns=CAME_NS),
    "sent just so long ago": lambda seq: alike(seq, sent_ns=CAME_NS - LIMIT_NS + 1),
    "sent long ago": lambda seq: alike(seq, sent_ns=CAME_NS - LIMIT_NS),
    "sent by a clock ahead": lambda seq: alike(seq, sent_ns=CAME_NS + 1),
}
"""Messages that stand out among those."""
KNOWN = {
    "another symbol", "another symbol later on", "longer", "very long", "no JSON", "no UTF-8",
    "sent a moment later", "sent when it came", "sent just so long ago",
}  # fmt: skip
"""What the compiled way takes, too: all else goes one by one."""


@pytest.mark.parametrize("name", UNLIKE)
def test_one_that_stands_out_parts_what_goes_together_or_goes_with_it(name: str) -> None:
    bench, plain = Bench(compiled=True), Bench()
    messages = [alike(0), alike(1), UNLIKE[name](2), alike(3), alike(4)]
    with mock.patch.object(relay, "monotonic_ns", return_value=NOW_NS):
        bench.receive_together(CAME_NS, messages)
        plain.receive_together(CAME_NS, messages)
    # the rest is tried together once more, from the message behind it
    assert bench.producer.bulks == ([5] if name in KNOWN else [2, 2])
    assert bench.producer.taken == plain.producer.taken
    assert bench.producer.seqs == plain.producer.seqs
    assert bench.ring.rows() == plain.ring.rows()
    assert bench.ring.counts() == plain.ring.counts()


@st.composite
def receptions(draw: st.DrawFn) -> list[tuple[list[bytes], bool]]:
    """What comes together, several times: some the same throughout, in some a few stand out.

    And whether it comes by way of the batch, where there is one.
    """
    count = draw(st.integers(1, 40))
    standing_out = draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(sorted(UNLIKE))))
    messages = [
        UNLIKE[standing_out[seq]](seq) if seq in standing_out else alike(seq)
        for seq in range(count)
    ]
    cuts = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=4))})
    by_batch = st.sampled_from([True, True, True, False])
    return [(messages[a:b], draw(by_batch)) for a, b in itertools.pairwise(cuts)]


async def forwarded(
    bench: Bench, parts: Sequence[tuple[Sequence[bytes], bool]], room: int | None
) -> dict[str, Any]:
    """All that there is to see when `parts` have come, and when what waits has gone, too."""
    told = io.StringIO()

    def now() -> dict[str, Any]:
        return {
            "values": list(bench.producer.taken),
            "seqs": list(bench.producer.seqs),
            "rows": bench.ring.rows(),
            "counts": bench.ring.counts(),
            "overruns": bench.ring.writer.header[1],
            "said": list(bench.supervisor.said),
            "told": told.getvalue(),
            "server": list(bench.server.calls),
            "waiting": list(bench.forwarder._waiting),
        }

    bench.producer.room = 1_000_000 if room is None else room
    with contextlib.redirect_stderr(told):
        for part, by_batch in parts:
            if by_batch:
                bench.receive_together(CAME_NS, part)
            else:
                bench.forwarder.on_messages(CAME_NS, part)
        full = now()
        bench.producer.room = 1_000_000
        await until(lambda: not bench.forwarder._waiting)
    expected = bench.acks.relay_out_ns[:64].tolist()
    return {"full": full, "in the end": now(), "expected": expected}


@given(
    receptions(),
    st.none() | st.integers(0, 40),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([1000, 300]),
    st.sampled_from([64, 16]),
)
@settings(max_examples=150)
def test_many_messages_at_once_give_what_they_give_one_by_one(
    parts: list[tuple[list[bytes], bool]],
    room: int | None,
    unwanted: list[int],
    largest: int,
    ring_rows: int,
) -> None:
    together = Bench(FakeProducer(largest=largest, unwanted=unwanted), ring_rows, compiled=True)
    one_by_one = Bench(FakeProducer(largest=largest, unwanted=unwanted), ring_rows)

    async def both() -> list[dict[str, Any]]:
        single = [([message], False) for part, _ in parts for message in part]
        return [
            await forwarded(together, parts, room), await forwarded(one_by_one, single, room)
        ]  # fmt: skip

    with mock.patch.object(relay, "monotonic_ns", return_value=NOW_NS):
        first, second = asyncio.run(both())
    assert first == second


@pytest.mark.parametrize("count", [1, 2, 256, MOST])
def test_messages_that_are_alike_do_go_together(count: int) -> None:
    bench = Bench(compiled=True)
    bench.receive_together(monotonic_ns(), alike_now(range(count)))
    assert bench.producer.bulks == [count]
    assert bench.producer.seqs == list(range(count))
    assert [row["seq"] for row in bench.ring.rows()] == list(range(count))


@settings(max_examples=50)
@given(st.lists(st.text("ABCXYZ&-. 0129", min_size=1, max_size=20), min_size=1, max_size=8))
def test_keys_are_spread_as_they_are_one_by_one(symbols: list[str]) -> None:
    for partitions, bench in SPREADING.items():
        bench.producer.partitions.clear()
        with mock.patch.object(relay, "monotonic_ns", return_value=NOW_NS):
            bench.receive_together(CAME_NS, [alike(seq, key) for seq, key in enumerate(symbols)])
        expected = [crc32(key.encode()) % partitions if partitions else -1 for key in symbols]
        assert bench.producer.partitions == expected
        bench.ring.rows()


SPREADING = {partitions: Bench(compiled=True, partitions=partitions) for partitions in (0, 1, 3)}


@pytest.mark.parametrize("room", [0, 1, 57, 99, 100])
def test_a_queue_that_gets_full_within_a_batch_keeps_the_order_and_loses_nothing(room: int) -> None:
    bench = Bench(FakeProducer(room=room), compiled=True)

    async def fill_then_free() -> None:
        bench.receive_together(monotonic_ns(), alike_now(range(100)))
        assert bench.producer.seqs == list(range(room))
        assert [tick.latbench.seq for _, tick, _ in bench.forwarder._waiting] == list(
            range(room, 100)
        )
        assert bench.server.calls == (["pause"] if room < 100 else [])
        bench.producer.room = 1000
        await until(lambda: not bench.forwarder._waiting)

    asyncio.run(fill_then_free())
    assert bench.producer.bulks == [100]
    assert bench.producer.seqs == list(range(100))
    assert bench.ring.count(RelayCounter.BACKPRESSURE) == (room < 100)
    rows = bench.ring.rows()
    assert [row["seq"] for row in rows] == list(range(100))
    # what was told of a tick is what it says itself, also where it was handed over twice
    for row, (value, _) in zip(rows, bench.producer.taken, strict=True):
        assert decode_relayed(value).latbench.relay_out_ns == row["relay_out_ns"]
    bench.answer(*range(100))
    assert [row["relay_out_ns"] for row in bench.acks_ring.rows()] == [
        row["relay_out_ns"] for row in rows
    ]


def test_messages_refused_within_a_batch_are_counted_named_and_recorded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(FakeProducer(unwanted=(0, 3, 4, 9)), compiled=True)
    messages = alike_now(range(10))
    bench.receive_together(monotonic_ns(), messages)
    assert bench.producer.bulks == [10]
    assert bench.producer.seqs == [1, 2, 5, 6, 7, 8]
    assert bench.ring.count(RelayCounter.REFUSED) == 4
    assert [row["seq"] for row in bench.ring.rows()] == list(range(10))
    refused = "the producer refused tick {}: Message size too large"
    assert bench.supervisor.said == [refused.format(seq) for seq in (0, 3, 4)]
    size = len(bench.producer.taken[0][0])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"tick 0 ({size} bytes) was refused: Message size too large"


def test_while_ticks_wait_many_messages_queue_up_behind_them() -> None:
    bench = Bench(FakeProducer(room=30), compiled=True)

    async def fill_then_free() -> None:
        for first in range(0, 300, 100):
            bench.receive_together(monotonic_ns(), alike_now(range(first, first + 100)))
            bench.producer.room += 10  # there is room again, but others come first
        assert bench.producer.seqs == list(range(30))
        bench.producer.room = 1000
        await until(lambda: bench.server.calls == ["pause", "resume"])
        bench.receive_together(monotonic_ns(), alike_now(range(300, 400)))

    asyncio.run(fill_then_free())
    assert bench.producer.seqs == list(range(400))
    assert bench.producer.bulks == [100, 100]
    assert [row["seq"] for row in bench.ring.rows()] == list(range(400))


# --- where it is taken ------------------------------------------------------------------------


class Closing:
    """A producer or server that is only opened and closed."""

    port = clients = 0
    fanout = ()

    async def close(self) -> None:
        """Nothing is left."""


class StoppingSupervisor(ListeningSupervisor):
    """Says stop once the relay is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._stop: Callable[[], object] = lambda: None

    def on_stop(self, callback: Callable[[], object]) -> None:
        self._stop = callback

    def send(self, message: FromStage) -> None:
        super().send(message)
        if isinstance(message, Ready):
            self._stop()


@pytest.mark.parametrize(
    ("changes", "compiled"),
    [
        ({}, True),
        ({"partitions": 4}, True),
        ({"compiled": False}, False),
        ({"kafka_client": "confluent-kafka"}, False),
        ({"ws_engine": "websockets"}, False),
        ({"producer": {"queue.buffering.max.messages": WAITING // 2}}, True),
        ({"producer": {"queue.buffering.max.messages": str(WAITING // 2 + 1)}}, False),
    ],
)
def test_the_compiled_way_is_taken_where_all_that_ticks_pass_can_do_so(
    changes: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, tuple[Any, ...]] = {}

    def opening(name: str) -> Callable[..., Closing]:
        def open_it(*arguments: Any) -> Closing:
            opened[name] = arguments
            return Closing()

        return open_it

    async def serve(*arguments: Any) -> Closing:
        arguments[1].close()  # what listens is the server's from here on
        return opening("serve")(*arguments)

    monkeypatch.setattr(relay, "open_producer", opening("open_producer"))
    monkeypatch.setattr(relay, "open_batch_producer", opening("open_batch_producer"))
    monkeypatch.setattr(relay, "serve", serve)
    plan = RelayPlan(
        run_id=RUN_ID, host="127.0.0.1", port=0, ws_engine="picows", kafka_client="librdkafka",
        topic="ticks", producer={}, compiled=True,
    )  # fmt: skip
    supervisor = StoppingSupervisor()
    rings = {name: TwoEndedRing(name).writer for name in RINGS_OF_STAGE[RELAY]}
    relay.run(msgspec.structs.replace(plan, **changes), supervisor.as_supervisor(), rings)
    assert isinstance(supervisor.heard[-1], Done)
    batch = opened.pop("serve")[3]
    ((opener, arguments),) = opened.items()
    assert opener == ("open_batch_producer" if compiled else "open_producer")
    assert (batch is not None) == compiled
    if compiled:
        assert batch in arguments
