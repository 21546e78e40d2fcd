"""A relay's forwarder with all around it in memory, with and without compiled code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from latbench.batch.ticks import MOST, RelayBatch
from latbench.clock import NS_PER_S, monotonic_ns
from latbench.recording import ACKS, RELAY
from latbench.stages.kafka import Delivery, QueueFullError, RefusedError
from latbench.stages.relay import Acknowledgements, Forwarder
from latbench.tick import decode_relayed, sent_suffix_format
from tests.messages import MOST_TEXT_BYTES, Content, MadeMessages, read_messages, take_texts
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


class FakeProducer:
    """A queue of `room` places; takes no message larger than `largest`, nor those `unwanted`."""

    def __init__(
        self, room: int = 1_000_000, largest: int = 1_000_000, unwanted: Sequence[int] = ()
    ) -> None:
        self.room = room
        self.largest = largest
        self.unwanted = unwanted
        self.batch: RelayBatch | None = None
        self.taken: list[tuple[bytes, str]] = []
        self.seqs: list[int] = []
        self.bulks: list[int] = []
        """How many came together, each time some did."""
        self.partitions: list[int] = []
        """Of those."""

    def produce(self, value: bytes, key: str, seq: int) -> None:
        if len(self.taken) >= self.room:
            raise QueueFullError
        if len(value) > self.largest or seq in self.unwanted:
            raise RefusedError("Message size too large")
        self.taken.append((value, key))
        self.seqs.append(seq)

    def produce_batch(self, count: int) -> tuple[int, list[tuple[int, str]]]:
        assert self.batch is not None
        assert 1 <= count <= MOST
        self.bulks.append(count)
        refused: list[tuple[int, str]] = []
        for i, message in enumerate(read_messages(self.batch, count)):
            assert message.error == 0
            assert message.value is not None
            assert message.key
            try:
                self.produce(message.value, message.key.decode(), message.seq)
            except QueueFullError:
                return i, refused
            except RefusedError as error:
                refused.append((i, str(error)))
            else:
                self.partitions.append(message.partition)
        return count, refused

    async def close(self) -> None:
        raise AssertionError("not the forwarder's to close")

    @property
    def sequence(self) -> list[int]:
        return [decode_relayed(value).latbench.seq for value, _ in self.taken]


class FakeSubscribers:
    """So many, and what they all get."""

    def __init__(self) -> None:
        self.count = 0
        self.published: list[tuple[bytes, str]] = []

    def __len__(self) -> int:
        return self.count

    def publish(self, message: bytes, symbol: str) -> None:
        self.published.append((message, symbol))


class FakeServer:
    """Keeps when reading was stopped and taken up again."""

    port = clients = 0

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fanout = FakeSubscribers()

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    async def close(self) -> None:
        raise AssertionError("not the forwarder's to close")


class Bench:
    """A forwarder and all around it."""

    def __init__(
        self,
        producer: FakeProducer | None = None,
        rows: int = 1 << 14,
        *,
        compiled: bool = False,
        partitions: int = 0,
    ) -> None:
        batch = self.batch = RelayBatch(RUN_ID, partitions) if compiled else None
        self.producer = producer or FakeProducer()
        self.producer.batch = batch
        self.ring = TwoEndedRing(RELAY, rows)
        self.acks_ring = TwoEndedRing(ACKS, rows)
        self.server = FakeServer()
        self.supervisor = ListeningSupervisor()
        supervisor = self.supervisor.as_supervisor()
        self.acks = Acknowledgements(
            self.acks_ring.writer, supervisor, queue_messages=1024, batch=batch
        )
        bulk = self.producer if compiled else None
        self.forwarder = Forwarder(
            RUN_ID, self.producer, self.ring.writer, self.acks, supervisor, batch, bulk
        )
        self.forwarder.attach(self.server)

    def receive(self, *messages: bytes) -> None:
        """Each of them by itself."""
        for message in messages:
            self.receive_together(monotonic_ns(), [message])

    def receive_together(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """All of them at once, as a connection brings them."""
        if self.batch is None or any(len(message) > MOST_TEXT_BYTES for message in messages):
            self.forwarder.on_messages(relay_in_ns, messages)
        elif messages:
            self.forwarder.on_texts(relay_in_ns, take_texts(self.batch, messages))

    def take(self, *numbers: int) -> None:
        self.receive(*(sent(seq, {"symbol": "TCS"}) for seq in numbers))

    def answer(self, *numbers: int) -> None:
        """The broker acknowledges some ticks."""
        if self.batch is None:
            seqs = list(numbers)
            self.acks.on_delivery(Delivery(seqs, (), [0] * len(seqs), [seq * 10 for seq in seqs]))
        else:
            answers = [Content(seq=seq, offset=seq * 10) for seq in numbers]
            MadeMessages(answers).put_into(self.batch)
            assert self.acks.on_answers(len(numbers)) == len(numbers)


def sent(seq: int, document: dict[str, Any], sent_ns: int | None = None) -> bytes:
    """What a generator makes of a document, a moment ago."""
    stamp_ns = monotonic_ns() - 50_000 if sent_ns is None else sent_ns
    text = json.dumps(document, ensure_ascii=False).encode()
    suffix = sent_suffix_format(RUN_ID) % (seq, stamp_ns - 20_000, stamp_ns)
    return text[:-1] + (suffix if document else suffix[1:])


NOW_NS = 3_000_000 * NS_PER_S
"""What the clock says throughout, so that both ways write the same stamps."""
CAME_NS = NOW_NS - 30_000
LIMIT_NS = 10 * NS_PER_S
"""From there on a latency takes more than the characters that it has in a message."""


def alike(seq: int, symbol: str = "TCS", sent_ns: int = NOW_NS - 50_000, more: str = "") -> bytes:
    """A message as a simulated market's ticks are: of one length where the symbol is."""
    document = f'{{"timestamp":1732470000.{seq % 10**6:06d},"symbol":"{symbol}","price":1.5{more}'
    return document.encode() + sent_suffix_format(RUN_ID) % (seq, sent_ns - 20_000, sent_ns)


def alike_now(numbers: Iterable[int]) -> list[bytes]:
    """Such messages, sent a second ago: before any moment read just now, whatever stalls."""
    sent_ns = monotonic_ns() - NS_PER_S
    return [alike(seq, sent_ns=sent_ns) for seq in numbers]
