"""Both ends of Kafka with confluent-kafka's own classes, one message at a time."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Sequence
from typing import Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from latbench.errors import LatbenchError
from latbench.stages.kafka import (
    NO_SEQ,
    Batch,
    Delivery,
    OnDelivery,
    OnStatistics,
    Properties,
    QueueFullError,
    RefusedError,
    partition_of,
    unreadable_end,
)

_ACK_POLL_S: Final = 0.1
_FLUSH_TIMEOUT_S: Final = 1.0
"""The supervisor has waited for what was on its way before it says stop."""
_BATCH: Final = 1000


class ConfluentProducer:
    """A `kafka.Producing`; a thread of its own takes the answers, so that their moment is true."""

    def __init__(
        self,
        properties: Properties,
        topic: str,
        partitions: int | None,
        on_delivery: OnDelivery,
        on_statistics: OnStatistics,
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._on_delivery = on_delivery
        self._producer = Producer({**properties, "stats_cb": on_statistics})
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="acks", daemon=True)
        self._thread.start()

    def produce(self, value: bytes, key: str, seq: int) -> None:  # hot path
        """See `kafka.Producing`."""
        answer = None if seq == NO_SEQ else functools.partial(self._deliver, seq)
        produce = self._producer.produce
        try:
            if self._partitions is None:
                produce(self._topic, value, key or None, on_delivery=answer)
            else:
                partition = partition_of(key.encode(), self._partitions)
                produce(self._topic, value, key or None, partition, on_delivery=answer)
        except BufferError:
            raise QueueFullError from None
        except KafkaException as error:
            raise RefusedError(error.args[0].str()) from None

    def _serve(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(_ACK_POLL_S)

    def _deliver(self, seq: int, error: KafkaError | None, message: Message) -> None:  # hot path
        offset, partition = message.offset(), message.partition()
        self._on_delivery(
            Delivery(
                seqs=[seq],
                errors=() if error is None else (error.str(),),
                partitions=[-1 if partition is None else partition],
                offsets=[-1 if offset is None else offset],
            )
        )

    async def close(self) -> None:
        """See `kafka.Producing`."""
        self._stopped.set()
        # flushing hands answers and statistics over as well: a ring has one writer at a time
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.flush, _FLUSH_TIMEOUT_S)


class ConfluentConsumer:
    """A `kafka.Consuming`."""

    def __init__(self, properties: Properties, on_statistics: OnStatistics) -> None:
        self._consumer = Consumer({**properties, "stats_cb": on_statistics})

    def ends(self, topic: str, partitions: int) -> list[int]:
        """See `kafka.Consuming`."""
        found = []
        for number in range(partitions):
            try:
                _, end = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, number), timeout=10.0
                )
            except KafkaException as error:
                raise LatbenchError(*unreadable_end(number, topic, error.args[0].str())) from None
            found.append(end)
        return found

    def assign(self, topic: str, offsets: Sequence[int]) -> None:
        """See `kafka.Consuming`."""
        self._consumer.assign(
            [TopicPartition(topic, number, offset) for number, offset in enumerate(offsets)]
        )

    def wait(self, timeout_s: float) -> Batch | None:
        """See `kafka.Consuming`."""
        # `consume(n, timeout)` would wait for n
        message = self._consumer.poll(timeout_s)
        return None if message is None else _batch([message])

    def more(self) -> Batch | None:
        """See `kafka.Consuming`."""
        messages = self._consumer.consume(_BATCH, 0)
        return _batch(messages) if messages else None

    def close(self) -> None:
        """See `kafka.Consuming`."""
        self._consumer.close()


def _batch(messages: list[Message]) -> Batch:
    errors = [message.error() for message in messages]
    if any(errors):
        values = [
            None if error else message.value()
            for message, error in zip(messages, errors, strict=True)
        ]
    else:
        values = [message.value() for message in messages]
    return Batch(
        [message.partition() or 0 for message in messages],
        [message.offset() or 0 for message in messages],
        values,
        errors=[error.str() for error in errors if error is not None],
    )
