"""What the relay and the consumer want of a Kafka client, and which one to take.

Two do it, and both are librdkafka: called directly (the fast one: whole arrays of messages), or
through confluent-kafka's Python classes (what most people run, and the plain twin in tests).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from latbench.tickmatrix import Chars, Ints, rows_of

Properties = Mapping[str, str | int | float | bool]
OnStatistics = Callable[[str], None]
"""Takes librdkafka's statistics document, once a second."""

FEW: Final = 12
"""So many messages are quicker read one by one."""
NO_SEQ: Final = -1
"""In the place of a `seq`: a message whose answer nobody wants."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """The broker's answers to some messages, which came together."""

    seqs: Ints | list[int]
    """Lists where they are few: an array takes longer to make than a row to write."""
    errors: Sequence[str | None]
    """None where it was delivered; empty: all of them were."""
    partitions: Ints | list[int]
    offsets: Ints | list[int]
    """-1 where no answer was asked for (`acks=0`)."""


OnDelivery = Callable[[Delivery], None]


class QueueFullError(Exception):
    """The producer has no room for a message now."""


class RefusedError(Exception):
    """The producer won't ever take this message; says why."""


class Producing(Protocol):
    """The relay's client."""

    def produce(self, value: bytes, key: str, seq: int) -> None:
        """Hand over one message; `QueueFullError` or `RefusedError` where it is not taken."""

    def produce_rows(
        self, values: Chars, keys: Sequence[str], seqs: Ints
    ) -> tuple[int, list[tuple[int, str]]]:
        """Hand over a message a row, in order; none of their keys is empty.

        How many were taken before the queue was full, and which of these were refused, and why.
        """

    async def close(self) -> None:
        """Deliver what is left, for a second at most, and hand over the last answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """An `Arrived` of values that are Python's already."""

    partitions: Sequence[int] | npt.NDArray[np.int32]
    offsets: Sequence[int] | Ints
    rows: Chars | None = None
    """The values, where they are of one length; `texts` has them else."""
    texts: Sequence[bytes | None] = ()
    errors: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.partitions)

    def values(self) -> Sequence[bytes | None]:
        """See `Arrived`."""
        return self.texts if self.rows is None else [row.tobytes() for row in self.rows]

    def ends(self, chars: int) -> Chars | None:
        """See `Arrived`."""
        if self.rows is not None:
            return self.rows[:, -chars:] if self.rows.shape[1] >= chars else None
        texts = [text[-chars:] for text in self.texts if text is not None and len(text) >= chars]
        return rows_of(texts) if len(texts) == len(self.texts) else None


class Arrived(Protocol):
    """Some messages of a topic, in the order in which they came; good until the next are taken."""

    @property
    def partitions(self) -> Sequence[int] | npt.NDArray[np.int32]:
        """Of each."""

    @property
    def offsets(self) -> Sequence[int] | Ints:
        """Of each."""

    @property
    def errors(self) -> Sequence[str]:
        """Of the client, which goes on by itself; each also is a value that is None."""

    def __len__(self) -> int: ...

    def values(self) -> Sequence[bytes | None]:
        """One by one; None: a record without a value (a tombstone), or an error."""

    def ends(self, chars: int) -> Chars | None:
        """The last characters of each value, n × `chars`; None where one has fewer, or none."""


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
        from latbench.stages.kafka_direct import DirectProducer  # noqa: PLC0415

        return DirectProducer(*arguments)
    from latbench.stages.kafka_confluent import ConfluentProducer  # noqa: PLC0415

    return ConfluentProducer(*arguments)


def open_consumer(client: str, properties: Properties, on_statistics: OnStatistics) -> Consuming:
    """The consumer's client by name."""
    if client == "librdkafka":
        from latbench.stages.kafka_direct import DirectConsumer  # noqa: PLC0415

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
