"""Both ends of Kafka with librdkafka called directly: whole arrays of messages at a time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
from collections.abc import Sequence
from typing import Final

import numpy as np

from latbench.batch.ticks import MESSAGE_BYTES, MOST, ConsumerBatch, RelayBatch
from latbench.errors import LatbenchError
from latbench.stages import librdkafka as rdkafka
from latbench.stages.kafka import (
    FEW,
    Batch,
    Delivery,
    OnAnswers,
    OnDelivery,
    OnStatistics,
    Properties,
    QueueFullError,
    RefusedError,
    partition_of,
    unreadable_end,
)

_FLUSH_TIMEOUT_MS: Final = 1000
"""The supervisor has waited for what was on its way before it says stop."""
_WATERMARK_TIMEOUT_MS: Final = 10_000
_LOOK_AGAIN_S: Final = 0.05
"""Messages given up without a broker came into the queue now and then with no write to the eventfd
(librdkafka 2.16.0, 2 of 6 tries)."""
_BATCH: Final = MOST
_ONE: Final = (1).to_bytes(8, "little")
"""What makes an eventfd readable."""


class DirectProducer:
    """A `kafka.Producing`; answers are taken by the event loop, woken by an eventfd.

    So there is no second Python thread to wait for: a batch of answers is read in 5 µs and 0.05 µs
    a message, while with a thread each message's callback took 1 µs of the relay's interpreter.
    """

    def __init__(
        self,
        properties: Properties,
        topic: str,
        partitions: int | None,
        on_delivery: OnDelivery,
        on_statistics: OnStatistics,
        batch: RelayBatch | None = None,
        on_answers: OnAnswers | None = None,
    ) -> None:
        self._partitions = partitions
        self._batch = batch
        self._on_answers = on_answers
        self._messages: rdkafka.Messages = np.frombuffer(
            bytearray() if batch is None else batch.messages, dtype=rdkafka.MESSAGE
        )
        self._on_delivery = on_delivery
        self._on_statistics = on_statistics
        self._client = rdkafka.new_client(
            rdkafka.PRODUCER,
            properties,
            events=rdkafka.EVENT_DELIVERY | rdkafka.EVENT_STATISTICS,
        )
        self._topic = rdkafka.topic_new(self._client, topic.encode(), None)
        self._queue = rdkafka.main_queue(self._client)
        self._pointers = np.zeros(_BATCH, dtype=np.int64)
        self._pointers_address = self._pointers.ctypes.data
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        rdkafka.io_event_enable(self._queue, self._wake_fd, _ONE, len(_ONE))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._wake_fd, self._on_wake)
        self._timer = self._loop.call_later(_LOOK_AGAIN_S, self._look_again)

    def produce(self, value: bytes, key: str, seq: int) -> None:  # hot path
        """See `kafka.Producing`."""
        key_bytes = key.encode() or None
        partition = rdkafka.PARTITION_UNASSIGNED
        if self._partitions is not None:
            partition = partition_of(key.encode(), self._partitions)
        if rdkafka.produce(
            self._topic,
            partition,
            rdkafka.COPY,
            value,
            len(value),
            key_bytes,
            len(key_bytes) if key_bytes is not None else 0,
            seq + 1,
        ):
            error = rdkafka.last_error()
            if error == rdkafka.QUEUE_FULL:
                raise QueueFullError
            raise RefusedError(rdkafka.error_text(error))

    def produce_batch(self, count: int) -> tuple[int, list[tuple[int, str]]]:  # hot path
        """See `kafka.BatchProducing`."""
        assert self._batch is not None
        each = self._partitions != 1
        taken: int = rdkafka.produce_batch(
            self._topic,
            rdkafka.PARTITION_UNASSIGNED if each else 0,
            # to one partition all go at once, without a look at the topic for each
            rdkafka.COPY | rdkafka.EACH_PARTITION if each else rdkafka.COPY,
            self._batch.messages_address,
            count,
        )
        if taken == count:
            return count, []
        errors = self._messages["error"][:count]
        # once the queue is full librdkafka takes no more of a batch, so that order is kept
        full = np.flatnonzero(errors == rdkafka.QUEUE_FULL)
        upto = int(full[0]) if len(full) else count
        refused = [
            (int(i), rdkafka.error_text(int(errors[i]))) for i in np.flatnonzero(errors[:upto])
        ]
        return upto, refused

    def _look_again(self) -> None:
        """Take what librdkafka put into the queue without waking anybody."""
        self._timer = self._loop.call_later(_LOOK_AGAIN_S, self._look_again)
        self._on_wake()

    def _on_wake(self) -> None:  # hot path
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_fd, 8)
        while event := rdkafka.queue_poll_now(self._queue, 0):
            self._take(event)

    def _take(self, event: int) -> None:  # hot path
        kind = rdkafka.event_type(event)
        if kind == rdkafka.EVENT_DELIVERY:
            pointers = self._pointers
            while count := rdkafka.event_messages(event, self._pointers_address, _BATCH):
                done = 0 if self._batch is None else self._answer(pointers[:count])
                if done < count:
                    self._deliver(pointers[done:count].tolist())
        elif kind == rdkafka.EVENT_STATISTICS:
            self._on_statistics(rdkafka.event_statistics(event).decode())
        rdkafka.event_destroy(event)

    def _answer(self, pointers: rdkafka.Addresses) -> int:  # hot path
        """Record answers by way of the batch: how many, from the first on."""
        assert self._batch is not None
        assert self._on_answers is not None
        count = len(pointers)
        if count < FEW:
            address = self._batch.messages_address
            for i, pointer in enumerate(pointers.tolist()):
                ctypes.memmove(address + i * MESSAGE_BYTES, pointer, MESSAGE_BYTES)
        else:
            self._messages[:count] = rdkafka.messages_at(pointers)
        return self._on_answers(count)

    def _deliver(self, pointers: list[int]) -> None:
        messages = [rdkafka.Message.from_address(pointer) for pointer in pointers]
        errors: list[str | None] = []
        if any(message.error for message in messages):
            errors = [
                rdkafka.error_text(message.error) if message.error else None for message in messages
            ]
        self._on_delivery(
            Delivery(
                [message.opaque - 1 for message in messages],
                errors,
                [message.partition for message in messages],
                # without acknowledgements librdkafka counts on from OFFSET_INVALID within a batch
                [max(message.offset, -1) for message in messages],
            )
        )

    async def close(self) -> None:
        """See `kafka.Producing`."""
        # with answers as events, flushing leaves them to who reads the queue: this loop, meanwhile
        await asyncio.to_thread(rdkafka.flush, self._client, _FLUSH_TIMEOUT_MS)
        self._on_wake()
        self._timer.cancel()
        self._loop.remove_reader(self._wake_fd)
        rdkafka.queue_destroy(self._queue)
        rdkafka.topic_destroy(self._topic)
        await asyncio.to_thread(rdkafka.destroy, self._client)
        os.close(self._wake_fd)  # librdkafka's threads wrote to it until now


class DirectConsumer:
    """A `kafka.Consuming`."""

    def __init__(self, properties: Properties, on_statistics: OnStatistics) -> None:
        def take_statistics(_client: int, text: int, size: int, _opaque: int) -> int:
            on_statistics(ctypes.string_at(text, size).decode())
            return 0  # librdkafka frees the text

        self._callback = rdkafka.STATISTICS_CALLBACK(take_statistics)  # as long as the client
        self._client = rdkafka.new_client(
            rdkafka.CONSUMER, properties, statistics_callback=self._callback
        )
        rdkafka.poll_set_consumer(self._client)
        self._queue = rdkafka.consumer_queue(self._client)
        self._pointers = np.zeros(_BATCH, dtype=np.int64)
        self._pointers_address = self._pointers.ctypes.data
        self._held: list[int] = []
        self._held_of_pointers = 0
        """Or so many of `_pointers`."""

    def ends(self, topic: str, partitions: int) -> list[int]:
        """See `kafka.Consuming`."""
        found = []
        low, high = ctypes.c_int64(), ctypes.c_int64()
        for number in range(partitions):
            error = rdkafka.query_watermark_offsets(
                self._client,
                topic.encode(),
                number,
                ctypes.byref(low),
                ctypes.byref(high),
                _WATERMARK_TIMEOUT_MS,
            )
            if error:
                raise LatbenchError(*unreadable_end(number, topic, rdkafka.error_text(error)))
            found.append(high.value)
        return found

    def assign(self, topic: str, offsets: Sequence[int]) -> None:
        """See `kafka.Consuming`."""
        partitions = rdkafka.partition_list_new(len(offsets))
        name = topic.encode()
        for number, offset in enumerate(offsets):
            rdkafka.partition_list_add(partitions, name, number)
            rdkafka.partition_list_set_offset(partitions, name, number, offset)
        error = rdkafka.assign(self._client, partitions)
        rdkafka.partition_list_destroy(partitions)
        if error:
            raise LatbenchError(f"{topic} can't be read: {rdkafka.error_text(error)}")

    def wait(self, timeout_s: float) -> HeldFew | None:
        """See `kafka.Consuming`."""
        self._let_go()
        pointer = rdkafka.consume_queue(self._queue, int(timeout_s * 1000))
        if not pointer:
            return None
        self._held = [pointer]
        return HeldFew(self._held)

    def more(self) -> HeldBatch | HeldFew | None:
        """See `kafka.Consuming`."""
        self._let_go()
        count = rdkafka.consume_batch_queue(self._queue, 0, self._pointers_address, _BATCH)
        if count <= 0:
            return None
        if count < FEW:
            self._held = self._pointers[:count].tolist()
            return HeldFew(self._held)
        self._held_of_pointers = count
        return HeldBatch(self._pointers[:count])

    def _let_go(self) -> None:  # hot path
        """Give the messages back that were taken before."""
        destroy = rdkafka.message_destroy
        for pointer in self._held or self._pointers[: self._held_of_pointers].tolist():
            destroy(pointer)
        self._held, self._held_of_pointers = [], 0

    def close(self) -> None:
        """See `kafka.Consuming`."""
        self._let_go()
        rdkafka.consumer_close(self._client)
        rdkafka.queue_destroy(self._queue)
        rdkafka.destroy(self._client)


def _told(code: int, text: bytes | None) -> str:
    """What a client says of an error: in its own words, where it has some."""
    return text.decode(errors="replace") if text else rdkafka.error_text(code)


class HeldFew:
    """A `kafka.Arrived` of some messages that lie in librdkafka's memory, read one by one.

    None is read before something is asked for. The moment of *consumed* is taken before: reading
    took 10 µs more, which were this process's and counted as Kafka's.
    """

    def __init__(self, pointers: list[int]) -> None:
        self._pointers = pointers
        self._batch: Batch | None = None

    def __len__(self) -> int:
        return len(self._pointers)

    def _read(self) -> Batch:  # hot path
        if self._batch is None:
            self._batch = _few(self._pointers)
        return self._batch

    @property
    def partitions(self) -> Sequence[int]:
        """See `kafka.Arrived`."""
        return self._read().partitions

    @property
    def offsets(self) -> Sequence[int]:
        """See `kafka.Arrived`."""
        return self._read().offsets

    @property
    def errors(self) -> Sequence[str]:
        """See `kafka.Arrived`."""
        return self._read().errors

    def value(self, i: int) -> bytes | None:
        """See `kafka.Arrived`."""
        return self._read().values[i]

    def load(self, batch: ConsumerBatch) -> int:
        """See `kafka.Arrived`."""
        del batch
        return 0


def _few(pointers: list[int]) -> Batch:  # hot path
    """Some messages as Python's own."""
    messages = [rdkafka.Message.from_address(pointer) for pointer in pointers]
    texts: list[bytes | None] = []
    errors: list[str] = []
    for message in messages:
        address = message.payload
        text = ctypes.string_at(address, message.payload_bytes) if address else None
        if message.error:
            errors.append(_told(message.error, text))
            text = None
        texts.append(text)
    return Batch(
        [message.partition for message in messages],
        [message.offset for message in messages],
        texts,
        errors,
    )


class HeldBatch:
    """A `kafka.Arrived` that lies in librdkafka's memory: what nobody asks for is not copied."""

    def __init__(self, pointers: rdkafka.Addresses) -> None:
        self._pointers = pointers
        self._messages = rdkafka.messages_at(pointers)
        self.errors: list[str] = []
        if self._messages["error"].any():
            self.errors = self._read_errors()

    def __len__(self) -> int:
        return len(self._messages)

    @functools.cached_property
    def partitions(self) -> list[int]:
        """See `kafka.Arrived`."""
        partitions: list[int] = self._messages["partition"].tolist()
        return partitions

    @functools.cached_property
    def offsets(self) -> list[int]:
        """See `kafka.Arrived`."""
        offsets: list[int] = self._messages["offset"].tolist()
        return offsets

    def value(self, i: int) -> bytes | None:
        """See `kafka.Arrived`."""
        message = self._messages[i]
        if message["error"] or not message["payload"]:
            return None
        return ctypes.string_at(int(message["payload"]), int(message["payload_bytes"]))

    def load(self, batch: ConsumerBatch) -> int:  # hot path
        """See `kafka.Arrived`."""
        count = len(self._messages)
        batch.messages[: count * MESSAGE_BYTES] = self._messages.data.cast("B")
        found = batch.find_ends(count)
        addresses = np.frombuffer(batch.addresses, np.int64, found)
        ends = _ends(batch.end_chars).copy(addresses)
        batch.ends[: found * batch.end_chars] = ends.data.cast("B")
        return found

    def _read_errors(self) -> list[str]:
        return [
            _told(code, ctypes.string_at(address, size) if address else None)
            for code, address, size in zip(
                self._messages["error"].tolist(),
                self._messages["payload"].tolist(),
                self._messages["payload_bytes"].tolist(),
                strict=True,
            )
            if code
        ]


@functools.cache
def _ends(chars: int) -> rdkafka.Records:
    return rdkafka.Records(chars)
