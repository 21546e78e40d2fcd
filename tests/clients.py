"""Kafka clients at work, and what they hear: producing in every way, and reading all of a topic."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import numpy as np
import pytest
from confluent_kafka import Producer

from latbench.batch.ticks import MOST, ConsumerBatch, RelayBatch
from latbench.stages.kafka import (
    Arrived,
    Batch,
    BatchProducing,
    Consuming,
    Delivery,
    Producing,
    Properties,
    QueueFullError,
    RefusedError,
    open_batch_producer,
    open_consumer,
    open_producer,
    partition_of,
)
from latbench.stages.kafka_direct_consumer import HeldFew
from tests.messages import Content, MadeMessages
from tests.stages import RUN_ID

CLIENTS: Final = ("librdkafka", "confluent-kafka")
BY_BATCH: Final = "librdkafka by batch"
WAYS: Final = (*CLIENTS, BY_BATCH)
"""To produce: the fast client has one more, by way of a batch."""
PARTITIONS: Final = 4
"""Of every topic of the mock cluster."""
TIMEOUT_S: Final = 20.0
KEYS: Final = ("NIFTY", "TCS", "₹", "SKL-GBP", "K" * 300)

by_every_client = pytest.mark.parametrize("client", CLIENTS)
in_every_way = pytest.mark.parametrize("way", WAYS)

Place = tuple[int, int]
"""Partition and offset."""


class Sending:
    """A producer and what it hears."""

    def __init__(
        self,
        way: str,
        bootstrap: str,
        topic: str,
        partitions: int | None,
        **properties: str | int,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.batched: list[int] = []
        """Whose answers came by way of the batch."""
        self.most_at_once = 0
        self.statistics: list[str] = []
        self._partitions = partitions
        ours: Properties = {"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0}
        theirs = {name.replace("_", "."): value for name, value in properties.items()}
        to_topic = {**ours, **theirs}, topic, partitions
        hear = self.deliveries.append, self.statistics.append
        self._bulk: BatchProducing | None = None
        self.producer: Producing
        if way == BY_BATCH:
            self._batch = RelayBatch(RUN_ID, partitions or 0)
            self._bulk = open_batch_producer(*to_topic, *hear, self._batch, self._on_answers)
            self.producer = self._bulk
        else:
            self.producer = open_producer(way, *to_topic, *hear)

    def _on_answers(self, count: int) -> int:
        done = self._batch.answer(count, 0)
        rows = np.frombuffer(self._batch.rows, dtype=np.int64, count=done * 5).reshape(-1, 5)
        seqs, partitions, offsets = (rows[:, column].tolist() for column in (0, 3, 4))
        self.deliveries.append(Delivery(seqs, (), partitions, offsets))
        self.batched += seqs
        self.most_at_once = max(self.most_at_once, count)
        return done

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
                delivery.seqs, delivery.partitions, delivery.offsets, strict=True
            )
        }

    @property
    def errors(self) -> dict[int, str]:
        """Of messages that were not delivered, by their seq."""
        return {
            seq: error
            for delivery in self.deliveries
            for seq, error in zip(delivery.seqs, delivery.errors, strict=False)
            if error is not None
        }

    def produce(
        self, values: Sequence[bytes], keys: Sequence[str], first_seq: int = 0
    ) -> tuple[int, list[tuple[int, str]]]:
        """Hand some over: how many were taken before the queue was full, which were refused."""
        if self._bulk is not None:
            made = [
                Content(value, key.encode(), self._partition(key), seq=first_seq + i)
                for i, (value, key) in enumerate(zip(values, keys, strict=True))
            ]
            taken, refused = 0, []
            for first in range(0, len(made), MOST):
                part = MadeMessages(made[first : first + MOST])
                part.put_into(self._batch)
                upto, why = self._bulk.produce_batch(len(made[first : first + MOST]))
                taken += upto
                refused += [(first + i, text) for i, text in why]
                if upto < len(made[first : first + MOST]):
                    break
            return taken, refused
        refused = []
        for i, (value, key) in enumerate(zip(values, keys, strict=True)):
            try:
                self.producer.produce(value, key, first_seq + i)
            except QueueFullError:
                return i, refused
            except RefusedError as error:
                refused.append((i, str(error)))
        return len(values), refused

    def _partition(self, key: str) -> int:
        """As `RelayBatch.relay` fills it in."""
        return partition_of(key.encode(), self._partitions) if self._partitions else -1

    async def produce_all(self, values: Sequence[bytes], keys: Sequence[str]) -> None:
        """Hand all of them over, as often as the queue is full."""
        done = 0
        while done < len(values):
            taken, refused = self.produce(values[done:], keys[done:], done)
            assert not refused
            done += taken
            await asyncio.sleep(0.001)


def send(
    way: str,
    bootstrap: str,
    topic: str,
    work: Callable[[Sending], Awaitable[object]],
    partitions: int | None = PARTITIONS,
    **properties: str | int,
) -> Sending:
    """Let `work` send in a way, and close that."""

    async def sending() -> Sending:
        sending = Sending(way, bootstrap, topic, partitions, **properties)
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


LOADED: Final = ConsumerBatch(RUN_ID)
"""What a consumer's messages are loaded into."""


def copied(arrived: Arrived) -> Batch:
    """What stays when the next is taken; by the way: what can be loaded of it is what it says."""
    values = [arrived.value(i) for i in range(len(arrived))]
    copy = Batch(list(arrived.partitions), list(arrived.offsets), values, list(arrived.errors))
    assert len(arrived) == len(values) == len(copy.partitions) == len(copy.offsets)
    assert copy.load(LOADED) == 0
    loaded, chars = arrived.load(LOADED), LOADED.end_chars
    # few messages, or the client that has no more to give
    if isinstance(arrived, Batch | HeldFew):
        assert loaded == 0
        return copy
    ends = [value[-chars:] for value in values if value is not None and len(value) >= chars]
    first = [value is not None and len(value) >= chars for value in values]
    assert loaded == (first.index(False) if False in first else len(values))
    found = LOADED.ends[: loaded * chars].tobytes()
    assert found == b"".join(ends[:loaded])
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
                batch.values, batch.partitions, batch.offsets, strict=True
            ):
                assert offset > latest[partition]
                latest[partition] = offset
                found[partition, offset] = value
        return found


def read(client: str, bootstrap: str, topic: str, count: int) -> Reading:
    """All of a topic, from its start."""
    reading = Reading(client, bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    reading.until(lambda: reading.count >= count)
    reading.consumer.close()
    return reading


def texts(count: int, width: int = 40) -> list[bytes]:
    """Values of one length that tell their number."""
    return [b"%*d" % (width, i) for i in range(count)]


def keys_of(count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(KEYS), count))
