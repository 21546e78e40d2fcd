"""What the compiled loops meet, made of bytes: WebSocket texts and librdkafka's messages."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from latbench.batch.ticks import ConsumerBatch, RelayBatch
from latbench.stages.kafka_direct_consumer import HeldBatch
from latbench.stages.librdkafka import Message
from tests.websocket_client import TEXT, frame

MOST_TEXT_BYTES = 0xFFFF
"""Longer ones never come by way of a batch."""


def take_texts(batch: RelayBatch, messages: Sequence[bytes]) -> int:
    """Make messages the batch's texts, as if a socket had brought their frames; how many."""
    data = b"".join(frame(TEXT, message) for message in messages)
    batch.frames[: len(data)] = data
    count = batch.take_frames(0, len(data), len(messages))
    assert (count, batch.consumed_bytes) == (len(messages), len(data))
    return count


class Content(NamedTuple):
    """What is in one of librdkafka's messages."""

    value: bytes | None = b""
    key: bytes | None = None
    partition: int = 0
    offset: int = 0
    error: int = 0
    seq: int = -1


class MadeMessages:
    """Messages as librdkafka has them in its memory, as long as this object."""

    def __init__(self, contents: Sequence[Content]) -> None:
        self._messages = (Message * len(contents))()
        self._kept: list[object] = []
        for message, content in zip(self._messages, contents, strict=True):
            message.payload, message.payload_bytes = self._keep(content.value)
            message.key, message.key_bytes = self._keep(content.key)
            message.partition, message.offset = content.partition, content.offset
            message.error, message.opaque = content.error, content.seq + 1

    def _keep(self, text: bytes | None) -> tuple[int | None, int]:
        if text is None:
            return None, 0
        kept = ctypes.create_string_buffer(text, len(text))
        self._kept.append(kept)
        return ctypes.addressof(kept), len(text)

    def put_into(self, batch: RelayBatch | ConsumerBatch) -> None:
        """Make them the batch's messages."""
        data = bytes(self._messages)
        batch.messages[: len(data)] = data

    def held(self) -> HeldBatch:
        """As a consumer hands them over."""
        begin, size = ctypes.addressof(self._messages), ctypes.sizeof(Message)
        pointers = np.arange(len(self._messages), dtype=np.int64) * size + begin
        return HeldBatch(pointers)


def read_messages(batch: RelayBatch, count: int) -> list[Content]:
    """What a producer finds in the first of the batch's messages."""
    size = ctypes.sizeof(Message)
    found = [Message.from_address(batch.messages_address + i * size) for i in range(count)]
    return [
        Content(
            ctypes.string_at(message.payload, message.payload_bytes),
            ctypes.string_at(message.key, message.key_bytes) if message.key else None,
            message.partition,
            error=message.error,
            seq=message.opaque - 1,
        )
        for message in found
    ]
