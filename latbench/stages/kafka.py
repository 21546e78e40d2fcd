"""What the relay and the consumer want of a Kafka client, and which one to take.

Two do it, and both are librdkafka: called directly (the fast one: whole arrays of messages), or
through confluent-kafka's Python classes (what most people run, and the plain twin in tests).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from zlib import crc32

from latbench.batch.ticks import ConsumerBatch, RelayBatch

Properties = Mapping[str, str | int | float | bool]
OnStatistics = Callable[[str], None]
"""Takes librdkafka's statistics document, once a second."""

FEW: Final = 16
"""Fewer messages are quicker read one by one, for numpy is cold each time. At 10,000/s p99 was
4.1 ms with 16 and 4.9 with 4, and CPU time 4 % less (medians of four pairs)."""
NO_SEQ: Final = -1
"""In the place of a `seq`: a message whose answer nobody wants."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """The broker's answers to some messages, which came together."""

    seqs: list[int]
    errors: Sequence[str | None]
    """None where it was delivered; empty: all of them were."""
    partitions: list[int]
    offsets: list[int]
    """-1 where no answer was asked for (`acks=0`)."""


OnDelivery = Callable[[Delivery], None]
OnAnswers = Callable[[int], int]
"""The same of so many that are the batch's messages now; how many, from the first on, are done."""


class QueueFullError(Exception):
    """The producer has no room for a message now."""


class RefusedError(Exception):
    """The producer won't ever take this message; says why."""


class Producing(Protocol):
    """The relay's client."""

    def produce(self, value: bytes, key: str, seq: int) -> None:
        """Hand over one message; `QueueFullError` or `RefusedError` where it is not taken."""

    async def close(self) -> None:
        """Deliver what is left, for a second at most, and hand over the last answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """An `Arrived` of values that are Python's already."""

    partitions: Sequence[int]
    offsets: Sequence[int]
    values: Sequence[bytes | None]
    errors: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.partitions)

    def value(self, i: int) -> bytes | None:
        """See `Arrived`."""
        return self.values[i]

    def load(self, batch: ConsumerBatch) -> int:
        """See `Arrived`."""
        del batch
        return 0


class BatchProducing(Producing, Protocol):
    """One that messages can go to by way of a batch."""

    def produce_batch(self, count: int) -> tuple[int, list[tuple[int, str]]]:
        """Hand over so many of the batch's messages, in order.

        How many were taken before the queue was full, and which of these were refused, and why.
        """


class Arrived(Protocol):
    """Some messages of a topic, in the order in which they came; good until the next are taken."""

    @property
    def partitions(self) -> Sequence[int]:
        """Of each."""

    @property
    def offsets(self) -> Sequence[int]:
        """Of each."""

    @property
    def errors(self) -> Sequence[str]:
        """Of the client, which goes on by itself; each also is a value that is None."""

    def __len__(self) -> int: ...

    def value(self, i: int) -> bytes | None:
        """One of them; None: a record without a value (a tombstone), or an error."""

    def load(self, batch: ConsumerBatch) -> int:
        """Put the ends of the first messages into `batch.ends`; how many have one, perhaps none."""


class Consuming(Protocol):
    """The consumer's client."""

    def ends(self, topic: str, partitions: int) -> list[int]:
        """The offset after the last message of each partition; `LatbenchError` if unreadable."""

    def assign(self, topic: str, offsets: Sequence[int]) -> None:
        """Read the first so many partitions, each from its offset on."""

    def wait(self, timeout_s: float) -> Arrived | None:
        """The first message that comes; None where none comes in time."""

    def more(self) -> Arrived | None:
        """What else is here already, up to some thousand; None: nothing."""

    def close(self) -> None:
        """Read no more."""


def open_producer(
    client: str,
    properties: Properties,
    topic: str,
    partitions: int | None,
    on_delivery: OnDelivery,
    on_statistics: OnStatistics,
) -> Producing:
    """The relay's client by name; answers come once the event loop runs.

    `partitions`: spread keys over the first so many by CRC32; None: the producer's partitioner.
    """
    arguments = (properties, topic, partitions, on_delivery, on_statistics)
    if client == "librdkafka":
        from latbench.stages.kafka_direct_producer import DirectProducer  # noqa: PLC0415

        return DirectProducer(*arguments)
    from latbench.stages.kafka_confluent import ConfluentProducer  # noqa: PLC0415

    return ConfluentProducer(*arguments)


def open_batch_producer(
    properties: Properties,
    topic: str,
    partitions: int | None,
    on_delivery: OnDelivery,
    on_statistics: OnStatistics,
    batch: RelayBatch,
    on_answers: OnAnswers,
) -> BatchProducing:
    """librdkafka, with `batch` and `on_answers` for the messages and answers that go by way of it.

    Else as `open_producer`.
    """
    from latbench.stages.kafka_direct_producer import DirectProducer  # noqa: PLC0415

    return DirectProducer(
        properties, topic, partitions, on_delivery, on_statistics, batch, on_answers
    )


def open_consumer(client: str, properties: Properties, on_statistics: OnStatistics) -> Consuming:
    """The consumer's client by name."""
    if client == "librdkafka":
        from latbench.stages.kafka_direct_consumer import DirectConsumer  # noqa: PLC0415

        return DirectConsumer(properties, on_statistics)
    from latbench.stages.kafka_confluent import ConfluentConsumer  # noqa: PLC0415

    return ConfluentConsumer(properties, on_statistics)


def partition_of(key: bytes, partitions: int) -> int:
    """Where a key goes that the relay places itself: CRC32, as librdkafka's own partitioner."""
    return crc32(key) % partitions


def unreadable_end(number: int, topic: str, reason: str) -> tuple[str, str]:
    """Message and hint where a partition's end can't be read."""
    return (
        f"the end of partition {number} of {topic} can't be read: {reason}",
        "the partition has no leader, or this user may not read it",
    )
