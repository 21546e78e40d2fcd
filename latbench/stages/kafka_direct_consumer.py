"""The consumer's end of Kafka, librdkafka called directly: whole arrays of messages at a time."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Final

import numpy as np

from latbench.batch.ticks import MESSAGE_BYTES, MOST, ConsumerBatch
from latbench.errors import LatbenchError
from latbench.stages import librdkafka as rdkafka
from latbench.stages.kafka import FEW, Batch, OnStatistics, Properties, unreadable_end

_WATERMARK_TIMEOUT_MS: Final = 10_000


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
        self._pointers = np.zeros(MOST, dtype=np.int64)
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
        count = rdkafka.consume_batch_queue(self._queue, 0, self._pointers_address, MOST)
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
