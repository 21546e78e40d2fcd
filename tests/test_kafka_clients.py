"""Both Kafka clients against librdkafka's mock cluster: what one does the other does as well."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
import pytest
from confluent_kafka import Producer

from latbench.broker import mock_bootstrap
from latbench.client_statistics import consumer_row, producer_row
from latbench.errors import LatbenchError
from latbench.stages.kafka import (
    NO_SEQ,
    Arrived,
    Batch,
    Consuming,
    Delivery,
    Producing,
    Properties,
    QueueFullError,
    RefusedError,
    open_consumer,
    open_producer,
)
from latbench.stages.librdkafka import MAX_RECORD_BYTES
from latbench.tickmatrix import Chars
from tests.cli import until

CLIENTS: Final = ("librdkafka", "confluent-kafka")
PARTITIONS: Final = 4
"""Of every topic of the mock cluster."""
TIMEOUT_S: Final = 20.0
KEYS: Final = ("NIFTY", "TCS", "₹", "SKL-GBP", "K" * 300)

by_every_client = pytest.mark.parametrize("client", CLIENTS)

Place = tuple[int, int]
"""Partition and offset."""


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A mock cluster within this process."""
    cluster = Producer(
        {"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    )
    yield mock_bootstrap(cluster)
    del cluster


@pytest.fixture
def topic() -> str:
    return f"ticks-{uuid.uuid4().hex[:12]}"


class Sending:
    """A producer and what it hears."""

    def __init__(
        self,
        client: str,
        bootstrap: str,
        topic: str,
        partitions: int | None,
        **properties: str | int,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.statistics: list[str] = []
        ours: Properties = {"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0}
        theirs = {name.replace("_", "."): value for name, value in properties.items()}
        self.producer: Producing = open_producer(
            client,
            {**ours, **theirs},
            topic,
            partitions,
            self.deliveries.append,
            self.statistics.append,
        )

    @property
    def answered(self) -> int:
        return sum(len(delivery.seqs) for delivery in self.deliveries)

    @property
    def places(self) -> dict[int, Place]:
        """Where each message lies, by its seq."""
        return {
            seq: (partition, offset)
            for delivery in self.deliveries
            for seq, partition, offset in zip(
                np.asarray(delivery.seqs).tolist(),
                np.asarray(delivery.partitions).tolist(),
                np.asarray(delivery.offsets).tolist(),
                strict=True,
            )
        }

    @property
    def errors(self) -> dict[int, str]:
        """Of messages that were not delivered, by their seq."""
        return {
            seq: error
            for delivery in self.deliveries
            for seq, error in zip(np.asarray(delivery.seqs).tolist(), delivery.errors, strict=False)
            if error is not None
        }

    async def take_rows(self, values: Chars, keys: list[str]) -> None:
        """Hand all of them over, as often as the queue is full."""
        done = 0
        while done < len(values):
            seqs = np.arange(done, len(values))
            taken, refused = self.producer.produce_rows(values[done:], keys[done:], seqs)
            assert not refused
            done += taken
            await asyncio.sleep(0.001)

    async def take_each(self, values: Chars, keys: list[str]) -> None:
        """The same one by one."""
        for seq, (value, key) in enumerate(zip(values, keys, strict=True)):
            while True:
                try:
                    self.producer.produce(value.tobytes(), key, seq)
                except QueueFullError:
                    await asyncio.sleep(0.001)
                else:
                    break


def send(
    client: str,
    bootstrap: str,
    topic: str,
    work: Callable[[Sending], Awaitable[object]],
    partitions: int | None = PARTITIONS,
    **properties: str | int,
) -> Sending:
    """Let `work` send by a client, and close that."""

    async def sending() -> Sending:
        sending = Sending(client, bootstrap, topic, partitions, **properties)
        try:
            await work(sending)
        finally:
            await asyncio.wait_for(sending.producer.close(), TIMEOUT_S)
        return sending

    return asyncio.run(sending())


def send_values(bootstrap: str, topic: str, values: list[bytes | None], partition: int = 0) -> None:
    """By neither of the two clients that are tested."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(TIMEOUT_S) == 0


def copied(batch: Arrived) -> Batch:
    """What stays when the next is taken; by the way: a batch and its copy say the same."""
    copy = Batch(
        [int(partition) for partition in batch.partitions],
        [int(offset) for offset in batch.offsets],
        texts=list(batch.values()),
        errors=list(batch.errors),
    )
    assert len(batch) == len(copy) == len(copy.texts) == len(copy.offsets)
    shortest = min(len(text or b"") for text in copy.texts)
    for chars in {1, 5, 250, max(shortest, 1), shortest + 1}:
        if chars <= MAX_RECORD_BYTES:
            ends = batch.ends(chars)
            assert (ends is None) == (None in copy.texts or shortest < chars)
            if ends is not None:
                assert ends.shape == (len(batch), chars)
                assert [row.tobytes() for row in ends] == [
                    text[-chars:] for text in copy.texts if text is not None
                ]
    return copy


class Reading:
    """A consumer and what it hears."""

    def __init__(self, client: str, bootstrap: str, **properties: str | int) -> None:
        self.statistics: list[str] = []
        self.batches: list[Batch] = []
        ours: Properties = {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 1,
            "log_level": 0,
        }
        theirs = {name.replace("_", "."): value for name, value in properties.items()}
        self.consumer: Consuming = open_consumer(client, {**ours, **theirs}, self.statistics.append)

    def until(self, is_enough: Callable[[], bool]) -> None:
        """As the consumer stage does."""
        ends_s = time.monotonic() + TIMEOUT_S
        while not is_enough():
            assert time.monotonic() < ends_s
            batch = self.consumer.wait(0.1)
            while batch is not None:
                self.batches.append(copied(batch))
                batch = self.consumer.more()

    @property
    def count(self) -> int:
        return sum(len(batch) for batch in self.batches)

    @property
    def records(self) -> dict[Place, bytes | None]:
        """All values by their place; each partition's came in order, and none twice."""
        found: dict[Place, bytes | None] = {}
        latest: dict[int, int] = defaultdict(lambda: -1)
        for batch in self.batches:
            for value, partition, offset in zip(
                batch.values(), batch.partitions, batch.offsets, strict=True
            ):
                assert int(offset) > latest[int(partition)]
                latest[int(partition)] = int(offset)
                found[int(partition), int(offset)] = value
        return found


def read(client: str, bootstrap: str, topic: str, count: int) -> Reading:
    """All of a topic, from its start."""
    reading = Reading(client, bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    reading.until(lambda: reading.count >= count)
    reading.consumer.close()
    return reading


def texts(count: int, width: int = 40) -> Chars:
    """Values of one length that tell their number."""
    joined = b"".join(b"%*d" % (width, i) for i in range(count))
    return np.frombuffer(joined, dtype=np.uint8).reshape(count, width)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def keys_of(count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(KEYS), count))


# --- producing --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [Sending.take_rows, Sending.take_each])
@pytest.mark.parametrize("partitions", [None, 1, 3])
def test_both_clients_and_both_ways_send_the_same(
    bootstrap: str,
    topic: str,
    way: Callable[[Sending, Chars, list[str]], Awaitable[None]],
    partitions: int | None,
) -> None:
    values, keys = texts(500), keys_of(500)
    found = {}
    for client in CLIENTS:
        name = f"{topic}-{client}"

        async def work(sending: Sending) -> None:
            await way(sending, values, keys)
            await until(lambda: sending.answered == 500)

        sent = send(client, bootstrap, name, work, partitions)
        assert not sent.errors
        assert sorted(sent.places) == list(range(500))
        records = read("confluent-kafka", bootstrap, name, 500).records
        for seq, place in sent.places.items():
            assert records[place] == values[seq].tobytes()
            if partitions is not None:
                assert place[0] == crc32(keys[seq].encode()) % partitions
        found[client] = sent.places
    # what has one key lies in one partition in the order of handing over
    assert found["librdkafka"] == found["confluent-kafka"]


@by_every_client
def test_a_message_bears_its_key_and_none_where_it_is_empty(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce(b"0", "", 0)
        sending.producer.produce(b"1", "₹", 1)
        assert sending.producer.produce_rows(texts(2, 1), ["₹", "TCS"], np.arange(2, 4)) == (2, [])

    sent = send(client, bootstrap, topic, work)
    assert len(sent.places) == 4
    assert sent.places[0][0] == crc32(b"") % PARTITIONS
    reading = Reading("confluent-kafka", bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    keys: list[bytes | None] = []
    plain = reading.consumer._consumer  # type: ignore[attr-defined]
    while len(keys) < 4:
        keys += [message.key() for message in plain.consume(4, 0.1)]
    reading.consumer.close()
    assert sorted(key or b"" for key in keys) == [b"", b"TCS", *["₹".encode()] * 2]
    assert None in keys


@by_every_client
def test_what_nobody_wants_to_hear_of_is_sent_all_the_same(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce(b"theirs", "TCS", NO_SEQ)
        sending.producer.produce(b"ours", "TCS", 7)

    sent = send(client, bootstrap, topic, work)
    assert [seq for seq in sent.places if seq != NO_SEQ] == [7]
    assert set(read(client, bootstrap, topic, 2).records.values()) == {b"theirs", b"ours"}


@by_every_client
@pytest.mark.parametrize("way", [Sending.take_rows, Sending.take_each])
def test_a_full_queue_keeps_the_order_and_loses_nothing(
    bootstrap: str,
    topic: str,
    client: str,
    way: Callable[[Sending, Chars, list[str]], Awaitable[None]],
) -> None:
    values = texts(95)

    async def work(sending: Sending) -> None:
        await way(sending, values, ["TCS"] * 95)
        await until(lambda: sending.answered == 95)

    sent = send(
        client, bootstrap, topic, work, queue_buffering_max_messages=10, linger_ms=2,
        max_in_flight=1,
    )  # fmt: skip
    partition = crc32(b"TCS") % PARTITIONS
    assert sent.places == {seq: (partition, seq) for seq in range(95)}
    records = read(client, bootstrap, topic, 95).records
    assert list(records.values()) == [value.tobytes() for value in values]


@by_every_client
def test_a_full_queue_takes_as_many_as_it_has_room_for(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        producer = sending.producer
        # nothing is sent before the loop gets its turn, and not for a second
        assert producer.produce_rows(texts(25), ["TCS"] * 25, np.arange(25)) == (10, [])
        assert producer.produce_rows(texts(3), ["TCS"] * 3, np.arange(3)) == (0, [])
        with pytest.raises(QueueFullError):
            producer.produce(b"x", "TCS", 10)

    sent = send(client, bootstrap, topic, work, queue_buffering_max_messages=10, linger_ms=900)
    assert sorted(sent.places) == list(range(10))


@by_every_client
def test_what_is_too_large_is_refused_with_the_reason(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        producer = sending.producer
        with pytest.raises(RefusedError, match="Message size too large"):
            producer.produce(b"x" * 3000, "TCS", 0)
        taken, refused = producer.produce_rows(texts(3, 3000), ["TCS"] * 3, np.arange(1, 4))
        assert taken == 3
        assert [i for i, _ in refused] == [0, 1, 2]
        assert all("Message size too large" in why for _, why in refused)
        producer.produce(b"x" * 100, "TCS", 4)

    sent = send(client, bootstrap, topic, work, message_max_bytes=2000)
    assert list(sent.places) == [4]


@by_every_client
def test_a_partition_that_is_not_there_is_an_error_of_its_messages_alone(
    bootstrap: str, topic: str, client: str
) -> None:
    keys = [f"K{i}" for i in range(40)]
    beyond = {i for i, key in enumerate(keys) if crc32(key.encode()) % 9 >= PARTITIONS}
    assert 0 < len(beyond) < 40

    async def work(sending: Sending) -> None:
        # nobody knows the topic yet: all are taken, and some of them come back. Where it becomes
        # known meanwhile the rest is refused.
        taken, refused = sending.producer.produce_rows(texts(40), keys, np.arange(40))
        assert taken == 40
        await until(lambda: sending.answered == 40 - len(refused))
        assert sending.errors.keys() | {i for i, _ in refused} == beyond
        assert set(sending.errors.values()) <= {"Local: Unknown partition"}
        told = sending.errors
        taken, refused = sending.producer.produce_rows(texts(40), keys, np.arange(40, 80))
        assert taken == 40
        assert {i for i, _ in refused} == beyond
        assert all("Local: Unknown partition" in why for _, why in refused)
        await until(lambda: sending.answered == 40 + len(told) + 40 - 2 * len(beyond))
        assert sending.errors == told

    send(client, bootstrap, topic, work, partitions=9)


@by_every_client
def test_without_a_broker_messages_are_given_up(topic: str, client: str) -> None:
    async def work(sending: Sending) -> None:
        assert sending.producer.produce_rows(texts(30), ["TCS"] * 30, np.arange(30)) == (30, [])
        sending.producer.produce(b"x", "TCS", 30)
        await until(lambda: sending.answered == 31)

    sent = send(client, "127.0.0.1:1", topic, work, delivery_timeout_ms=50)
    assert sent.errors == dict.fromkeys(range(31), "Local: Message timed out")


@by_every_client
def test_without_acknowledgements_there_is_no_offset(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce_rows(texts(30), ["TCS"] * 30, np.arange(30))
        await until(lambda: sending.answered == 30)

    sent = send(client, bootstrap, topic, work, acks=0)
    assert not sent.errors
    assert [offset for _, offset in sent.places.values()] == [-1] * 30
    assert len(read(client, bootstrap, topic, 30).records) == 30


@by_every_client
def test_closing_delivers_what_is_left_and_leaves_nothing_open(
    bootstrap: str, topic: str, client: str
) -> None:
    descriptors = [0, 0]

    async def work(sending: Sending) -> None:
        descriptors[0] = open_descriptors()
        sending.producer.produce_rows(texts(2000), keys_of(2000), np.arange(2000))

    for turn in range(2):  # the first turn opens what stays open (the loop's threads, and so on)
        sent = send(client, bootstrap, f"{topic}-{turn}", work, linger_ms=100)
        assert sorted(sent.places) == list(range(2000))
    assert open_descriptors() < descriptors[0]


@by_every_client
def test_a_producers_statistics_come_again_and_again(
    bootstrap: str, topic: str, client: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce_rows(texts(30), ["TCS"] * 30, np.arange(30))
        await until(lambda: len(sending.statistics) >= 3)

    sent = send(client, bootstrap, topic, work, statistics_interval_ms=50)
    rows = np.array([producer_row(document, 0) for document in sent.statistics])
    assert json.loads(sent.statistics[0])["type"] == "producer"
    batches, messages = rows[:, -3].sum(), rows[:, -2].sum()
    assert 1 <= batches <= messages == 30


# --- consuming --------------------------------------------------------------------------------

MIXES: Final[dict[str, list[bytes | None]]] = {
    "alike": [b"%5d" % i for i in range(3000)],
    "one": [b"x"],
    "of many lengths": [b"x" * (i * 7 % 300 + 1) for i in range(1500)],
    "tombstones": [None if i % 3 == 0 else b"%5d" % i for i in range(100)],
    "nothing but tombstones": [None] * 50,
    "empty": [b""] * 50,
    "empty ones between": [b"" if i % 7 == 0 else b"x" * i for i in range(100)],
    "as large as a record": [bytes([i]) * MAX_RECORD_BYTES for i in range(50)],
    "larger than a record": [bytes([i]) * (MAX_RECORD_BYTES + 1) for i in range(50)],
    "large": [bytes([i]) * 300_000 for i in range(3)],
}


@by_every_client
@pytest.mark.parametrize("mix", MIXES)
def test_a_consumer_gives_each_record_once_and_in_order(
    bootstrap: str, topic: str, client: str, mix: str
) -> None:
    values = MIXES[mix]
    send_values(bootstrap, topic, values, partition=2)
    reading = read(client, bootstrap, topic, len(values))
    assert reading.records == {(2, offset): value for offset, value in enumerate(values)}
    assert not any(batch.errors for batch in reading.batches)


@by_every_client
def test_a_consumer_begins_where_each_partition_ends(
    bootstrap: str, topic: str, client: str
) -> None:
    for partition in range(PARTITIONS):
        send_values(bootstrap, topic, [b"before"] * (10 * partition), partition)
    reading = Reading(client, bootstrap)
    ends = reading.consumer.ends(topic, PARTITIONS)
    assert ends == [0, 10, 20, 30]
    reading.consumer.assign(topic, ends)
    for partition in range(PARTITIONS):
        send_values(bootstrap, topic, [b"after"] * 5, partition)
    reading.until(lambda: reading.count >= 4 * 5)
    assert reading.records == {
        (partition, ends[partition] + i): b"after" for partition in range(PARTITIONS)
        for i in range(5)
    }  # fmt: skip
    reading.consumer.close()


@by_every_client
def test_an_end_that_can_not_be_read_is_told(bootstrap: str, topic: str, client: str) -> None:
    send_values(bootstrap, topic, [b"x"])
    reading = Reading(client, bootstrap)
    with pytest.raises(LatbenchError, match=rf"end of partition 4 of {topic} can't be read"):
        reading.consumer.ends(topic, PARTITIONS + 1)
    reading.consumer.close()


@by_every_client
def test_nothing_comes_of_an_empty_topic(bootstrap: str, topic: str, client: str) -> None:
    reading = Reading(client, bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    assert reading.consumer.wait(0.05) is None
    assert reading.consumer.wait(0) is None
    assert reading.consumer.more() is None
    reading.consumer.close()


@by_every_client
def test_an_error_is_told_and_the_reading_goes_on(bootstrap: str, topic: str, client: str) -> None:
    send_values(bootstrap, topic, [b"x"] * 40)
    reading = Reading(client, bootstrap, auto_offset_reset="error")
    reading.consumer.assign(topic, [0, 1000, 0, 0])  # the second has no such offset

    def errors() -> list[str]:
        return [error for batch in reading.batches for error in batch.errors]

    reading.until(lambda: bool(errors()) and reading.count >= 40 + len(errors()))
    reading.consumer.close()
    assert "out of range" in errors()[0]
    values = [value for batch in reading.batches for value in batch.values()]
    assert values.count(b"x") == 40
    assert values.count(None) == len(errors())


@by_every_client
def test_a_consumers_statistics_come_again_and_again(
    bootstrap: str, topic: str, client: str
) -> None:
    send_values(bootstrap, topic, [b"x"] * 40)
    reading = Reading(client, bootstrap, statistics_interval_ms=50)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    reading.until(lambda: len(reading.statistics) >= 3)
    reading.consumer.close()
    assert json.loads(reading.statistics[0])["type"] == "consumer"
    assert any(consumer_row(document, 0)[2] for document in reading.statistics)


# --- what librdkafka refuses ------------------------------------------------------------------


@by_every_client
def test_a_property_that_is_none_ends_the_stage_with_its_name(topic: str, client: str) -> None:
    async def nothing(_: Sending) -> None:
        raise AssertionError("there is no producer")

    with pytest.raises(Exception, match=r"no\.property"):
        send(client, "127.0.0.1:1", topic, nothing, no_property=1)
    with pytest.raises(Exception, match=r"no\.property"):
        Reading(client, "127.0.0.1:1", no_property=1)
