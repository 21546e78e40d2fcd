"""Both ends of Kafka with librdkafka called directly: whole arrays of messages at a time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from latbench.errors import LatbenchError
from latbench.stages import librdkafka as rdkafka
from latbench.stages.kafka import (
    FEW,
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
from latbench.tickmatrix import Chars, Ints

_FLUSH_TIMEOUT_MS: Final = 1000
"""The supervisor has waited for what was on its way before it says stop."""
_WATERMARK_TIMEOUT_MS: Final = 10_000
_LOOK_AGAIN_S: Final = 0.05
"""Messages given up without a broker came into the queue now and then with no write to the eventfd
(librdkafka 2.16.0, 2 of 6 tries)."""
_BATCH: Final = 512
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
    ) -> None:
        self._partitions = partitions
        self._on_delivery = on_delivery
        self._on_statistics = on_statistics
        self._client = rdkafka.new_client(
            rdkafka.PRODUCER,
            properties,
            events=rdkafka.EVENT_DELIVERY | rdkafka.EVENT_STATISTICS,
        )
        self._topic = rdkafka.topic_new(self._client, topic.encode(), None)
        self._queue = rdkafka.main_queue(self._client)
        self._few = (ctypes.c_int64 * FEW)()
        self._keys: dict[str, int] = {}
        self._key_places = np.empty((0, 3), dtype=np.int64)
        """Of each key: address, length, partition."""
        self._key_buffers: list[ctypes.Array[ctypes.c_char]] = []
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

    def produce_rows(
        self, values: Chars, keys: Sequence[str], seqs: Ints
    ) -> tuple[int, list[tuple[int, str]]]:  # hot path
        """See `kafka.Producing`."""
        count, width = values.shape
        known = self._keys
        try:
            numbers = np.fromiter(map(known.__getitem__, keys), np.int64, count)
        except KeyError:
            for key in set(keys):
                self._know(key)
            numbers = np.fromiter(map(known.__getitem__, keys), np.int64, count)
        places = self._key_places.take(numbers, axis=0)
        messages = np.zeros(count, dtype=rdkafka.MESSAGE)
        first = values.ctypes.data
        messages["payload"] = np.arange(first, first + count * width, width)
        messages["payload_bytes"] = width
        messages["key"] = places[:, 0]
        messages["key_bytes"] = places[:, 1]
        messages["partition"] = places[:, 2]
        messages["opaque"] = seqs + 1
        taken: int = rdkafka.produce_batch(
            self._topic,
            rdkafka.PARTITION_UNASSIGNED,
            rdkafka.COPY | rdkafka.EACH_PARTITION,
            messages.ctypes.data,
            count,
        )
        if taken == count:
            return count, []
        errors = messages["error"]
        # once the queue is full librdkafka takes no more of a batch, so that order is kept
        full = np.flatnonzero(errors == rdkafka.QUEUE_FULL)
        upto = int(full[0]) if len(full) else count
        refused = [
            (int(i), rdkafka.error_text(int(errors[i]))) for i in np.flatnonzero(errors[:upto])
        ]
        return upto, refused

    def _know(self, key: str) -> None:
        """Keep a key's bytes at an address of their own, and where it goes."""
        if key in self._keys:
            return
        encoded = key.encode()
        buffer = ctypes.create_string_buffer(encoded, len(encoded))
        self._key_buffers.append(buffer)
        partition = rdkafka.PARTITION_UNASSIGNED
        if self._partitions is not None:
            partition = partition_of(encoded, self._partitions)
        self._keys[key] = len(self._keys)
        place = np.array([[ctypes.addressof(buffer), len(encoded), partition]], dtype=np.int64)
        self._key_places = np.concatenate((self._key_places, place))

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
            count = rdkafka.event_message_count(event)
            if count < FEW:
                self._deliver_few(event, count)
                rdkafka.event_destroy(event)
                return
            pointers = np.empty(count, dtype=np.int64)
            count = rdkafka.event_messages(event, pointers.ctypes.data, count)
            self._deliver(rdkafka.messages_at(pointers[:count]))
        elif kind == rdkafka.EVENT_STATISTICS:
            self._on_statistics(rdkafka.event_statistics(event).decode())
        rdkafka.event_destroy(event)

    def _deliver_few(self, event: int, count: int) -> None:  # hot path
        pointers = self._few
        count = rdkafka.event_messages(event, pointers, count)
        messages = [rdkafka.Message.from_address(pointers[i]) for i in range(count)]
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
                [max(message.offset, -1) for message in messages],
            )
        )

    def _deliver(self, messages: rdkafka.Messages) -> None:  # hot path
        seqs = messages["opaque"].astype(np.int64) - 1
        codes = messages["error"]
        errors: tuple[str | None, ...] = ()
        if codes.any():
            errors = tuple(rdkafka.error_text(code) if code else None for code in codes.tolist())
        # without acknowledgements librdkafka counts on from OFFSET_INVALID within a batch
        offsets = np.maximum(messages["offset"], -1)
        self._on_delivery(
            Delivery(
                seqs,
                errors,
                messages["partition"].astype(np.int64),
                offsets,
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
        self._held = 0
        self._records: dict[int, rdkafka.Records] = {}

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

    def wait(self, timeout_s: float) -> Batch | None:
        """See `kafka.Consuming`."""
        self._let_go()
        pointer = rdkafka.consume_queue(self._queue, int(timeout_s * 1000))
        return _few([pointer]) if pointer else None

    def more(self) -> HeldBatch | Batch | None:
        """See `kafka.Consuming`."""
        self._let_go()
        count = rdkafka.consume_batch_queue(self._queue, 0, self._pointers_address, _BATCH)
        if count <= 0:
            return None
        if count < FEW:
            return _few(self._pointers[:count].tolist())
        self._held = count
        return HeldBatch(self._pointers[:count], self._records)

    def _let_go(self) -> None:  # hot path
        """Give the messages back that were taken before."""
        if self._held:
            destroy = rdkafka.message_destroy
            for pointer in self._pointers[: self._held].tolist():
                destroy(pointer)
            self._held = 0

    def close(self) -> None:
        """See `kafka.Consuming`."""
        self._let_go()
        rdkafka.consumer_close(self._client)
        rdkafka.queue_destroy(self._queue)
        rdkafka.destroy(self._client)


def _told(code: int, text: bytes | None) -> str:
    """What a client says of an error: in its own words, where it has some."""
    return text.decode(errors="replace") if text else rdkafka.error_text(code)


def _few(pointers: list[int]) -> Batch:  # hot path
    """Some messages as Python's own; they are given back at once."""
    messages = [rdkafka.Message.from_address(pointer) for pointer in pointers]
    partitions = [message.partition for message in messages]
    offsets = [message.offset for message in messages]
    texts: list[bytes | None] = []
    errors: list[str] = []
    for message in messages:
        address = message.payload
        text = ctypes.string_at(address, message.payload_bytes) if address else None
        if message.error:
            errors.append(_told(message.error, text))
            text = None
        texts.append(text)
    for pointer in pointers:
        rdkafka.message_destroy(pointer)
    return Batch(partitions, offsets, texts=texts, errors=errors)


class HeldBatch:
    """A `kafka.Arrived` that lies in librdkafka's memory: what nobody asks for is not copied."""

    def __init__(self, pointers: rdkafka.Addresses, records: dict[int, rdkafka.Records]) -> None:
        self._messages = rdkafka.messages_at(pointers)
        self._records = records
        self.partitions = self._messages["partition"]
        self.offsets = self._messages["offset"]
        self._are_whole = not self._messages["error"].any()
        self.errors: list[str] = [] if self._are_whole else self._read_errors()

    def __len__(self) -> int:
        return len(self._messages)

    def values(self) -> list[bytes | None]:
        """See `kafka.Arrived`."""
        return [
            ctypes.string_at(address, size) if address and not code else None
            for code, address, size in self._parts()
        ]

    def ends(self, chars: int) -> Chars | None:  # hot path
        """See `kafka.Arrived`."""
        addresses = self._messages["payload"].astype(np.int64)
        sizes = self._messages["payload_bytes"].astype(np.int64)
        if not self._are_whole or int(sizes.min()) < chars or not addresses.all():
            return None
        records = self._records.get(chars)
        if records is None:
            records = self._records[chars] = rdkafka.Records(chars)
        return records.copy(addresses + sizes - chars).view(np.uint8).reshape(-1, chars)

    def _parts(self) -> Iterator[tuple[int, int, int]]:
        """Error code, address and size of each."""
        messages = self._messages
        return zip(
            messages["error"].tolist(),
            messages["payload"].tolist(),
            messages["payload_bytes"].tolist(),
            strict=True,
        )

    def _read_errors(self) -> list[str]:
        return [
            _told(code, ctypes.string_at(address, size) if address else None)
            for code, address, size in self._parts()
            if code
        ]
