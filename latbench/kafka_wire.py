"""What a proxy has to know of Kafka's protocol: where a message ends, where it names brokers.

A client asks any broker for the addresses of all of them and connects there, past whatever it was
led through at first. So a proxy puts its own addresses in their place. Every message is a length
(int32) and so many bytes; a request goes on with API key and version (int16 each) and correlation
id (int32), an answer with the correlation id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Address = tuple[str, int]

_METADATA: Final = 3
_FIND_COORDINATOR: Final = 10
_NAMING: Final = frozenset({_METADATA, _FIND_COORDINATOR})
"""The APIs whose answers name brokers. Produce and Fetch do, too, when a leader has changed
(KIP-951); a client that follows that one leaves the proxy."""

_REQUEST_HEAD_BYTES: Final = 12
_ANSWER_HEAD_BYTES: Final = 8


def encode_classic(address: Address) -> bytes:
    """Host and port as versions up to 8 of Metadata have them: int16 length, text, int32 port."""
    host, port = address[0].encode(), address[1]
    return len(host).to_bytes(2, "big") + host + port.to_bytes(4, "big")


def encode_compact(address: Address) -> bytes:
    """The same in flexible versions (KIP-482): the length plus one, as a varint."""
    host, port = address[0].encode(), address[1]
    rest, length = len(host) + 1, bytearray()
    while rest >= 0x80:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes(length) + host + port.to_bytes(4, "big")


class Renamer:
    """Puts other addresses in the place of brokers' in a whole message.

    It looks for the bytes of an address, length and port included, instead of parsing: versions of
    the two APIs to come keep their addresses so. A length before a host is never the other form's,
    which is one more or less, so each place is found in one form only.
    """

    def __init__(self, addresses: Mapping[Address, Address]) -> None:
        self._encoded = {
            encode(there): encode(here)
            for there, here in addresses.items()
            for encode in (encode_classic, encode_compact)
        }
        self._pattern = re.compile(b"|".join(map(re.escape, self._encoded)))

    def rename(self, message: bytes) -> bytes:
        """The message with its length put right."""
        if not self._encoded:
            return message
        content = self._pattern.sub(lambda found: self._encoded[found[0]], message[4:])
        return len(content).to_bytes(4, "big") + content


class Requests:
    """The requests of one connection, seen in pieces of any size."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._naming: set[int] = set()

    def watch(self, data: bytes) -> None:
        """Note which of the requests in `data` will be answered with brokers' addresses."""
        at = 0
        while at < len(data):
            if self._left:
                skipped = min(self._left, len(data) - at)
                self._left -= skipped
                at += skipped
                continue
            head = data[at : at + _REQUEST_HEAD_BYTES - len(self._head)]
            self._head += head
            at += len(head)
            if len(self._head) == _REQUEST_HEAD_BYTES:
                size = int.from_bytes(self._head[:4], "big")
                self._left = max(size + 4 - _REQUEST_HEAD_BYTES, 0)
                if int.from_bytes(self._head[4:6], "big") in _NAMING:
                    self._naming.add(int.from_bytes(self._head[8:12], "big"))
                self._head.clear()

    def is_naming(self, correlation_id: int) -> bool:
        """Whether the answer to that request names brokers."""
        return correlation_id in self._naming

    def forget(self, correlation_id: int) -> None:
        """It has been answered."""
        self._naming.discard(correlation_id)


class Answers:
    """The answers of one connection: those that name brokers renamed, all others as they come.

    Only an answer that names brokers is held until it is whole; a fetch's megabytes stream.
    """

    def __init__(self, requests: Requests, renamer: Renamer) -> None:
        self._requests = requests
        self._renamer = renamer
        self._pending = bytearray()
        self._size = 0
        self._left = 0

    def split(self, data: bytes) -> list[tuple[int, bytes]]:
        """What can go on: pieces, each with the size in bytes of the answer that it belongs to."""
        pending, pieces = self._pending, []
        pending += data
        while pending:
            if not self._left:
                if len(pending) < _ANSWER_HEAD_BYTES:
                    break
                size = int.from_bytes(pending[:4], "big") + 4
                correlation_id = int.from_bytes(pending[4:8], "big")
                if self._requests.is_naming(correlation_id):
                    if len(pending) < size:
                        break
                    self._requests.forget(correlation_id)
                    pieces.append((size, self._renamer.rename(bytes(pending[:size]))))
                    del pending[:size]
                    continue
                self._size = self._left = max(size, _ANSWER_HEAD_BYTES)
            piece = bytes(pending[: self._left])
            del pending[: len(piece)]
            self._left -= len(piece)
            pieces.append((self._size, piece))
        return pieces

    def rest(self) -> bytes:
        """What is still held when the connection ends within an answer."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest
