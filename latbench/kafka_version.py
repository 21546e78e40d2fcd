"""What release a Kafka broker is of, as far as it tells: librdkafka doesn't hand this on.

A broker states no version. Its answer to ApiVersions names the levels of the `metadata.version`
feature that its software knows and the one that the cluster has agreed on (KIP-584, KIP-778), and
each release from 3.3 on brought levels of its own.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
import time
from collections.abc import Iterable
from typing import Final

UNKNOWN: Final = "unknown"

_API_VERSIONS: Final = 18
_VERSION: Final = 3
"""The first whose answer has features."""
_CORRELATION_ID: Final = 1
_FEATURE: Final = "metadata.version"
_MAX_ANSWER_BYTES: Final = 1 << 20
"""A real answer has about 700; anything that isn't Kafka may claim gigabytes."""

_SUPPORTED_TAG: Final = 0
_FINALIZED_TAG: Final = 2

_LEVELS: Final = {
    7: "3.3-IV3",
    8: "3.4-IV0",
    9: "3.5-IV0",
    10: "3.5-IV1",
    11: "3.5-IV2",
    12: "3.6-IV0",
    13: "3.6-IV1",
    14: "3.6-IV2",
    15: "3.7-IV0",
    16: "3.7-IV1",
    17: "3.7-IV2",
    18: "3.7-IV3",
    19: "3.7-IV4",
    20: "3.8-IV0",
    21: "3.9-IV0",
    22: "4.0-IV0",
    23: "4.0-IV1",
    24: "4.0-IV2",
    25: "4.0-IV3",
    26: "4.1-IV0",
    27: "4.1-IV1",
    28: "4.2-IV0",
    29: "4.2-IV1",
    30: "4.3-IV0",
}
"""`MetadataVersion` of Kafka 4.3.1, up to its LATEST_PRODUCTION; later ones may still change."""


@dataclasses.dataclass(frozen=True, slots=True)
class ApiVersions:
    """The features part of an ApiVersions answer: levels by feature name."""

    supported: dict[str, tuple[int, int]]
    """Lowest and highest level that the broker's software knows."""
    finalized: dict[str, int]
    """Level that the cluster has agreed on; absent on brokers with ZooKeeper."""


class _Reader:
    """Kafka's primitive types out of bytes (KIP-482); `ValueError` at a premature end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError(f"answer ends after {len(self._data)} bytes, within a field")
        self._at += count
        return taken

    def int16(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def uvarint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("answer has a varint of more than 5 bytes")

    def compact_length(self) -> int:
        """Of a compact string or array: sent as one more, 0 for null, which counts as empty."""
        return max(self.uvarint() - 1, 0)

    def compact_string(self) -> str:
        return self.take(self.compact_length()).decode()

    def tagged_fields(self) -> dict[int, bytes]:
        return {self.uvarint(): self.take(self.uvarint()) for _ in range(self.uvarint())}

    def features(self) -> dict[str, tuple[int, int]]:
        """An array of name and two levels, in the order that they are sent."""
        found = {}
        for _ in range(self.compact_length()):
            name = self.compact_string()
            found[name] = (self.int16(), self.int16())
            self.tagged_fields()
        return found


def parse_api_versions(answer: bytes) -> ApiVersions:
    """Read an ApiVersions answer of version 3, from its correlation id on.

    Raises `ValueError` for one that is cut short, isn't for our request, or tells of an error.
    The header is of version 0 even here, so that any client can read it (KIP-511).
    """
    reader = _Reader(answer)
    if (correlation_id := reader.int32()) != _CORRELATION_ID:
        raise ValueError(f"answer is for request {correlation_id}, not {_CORRELATION_ID}")
    if error_code := reader.int16():
        raise ValueError(f"broker answered with error code {error_code}")
    for _ in range(reader.compact_length()):
        reader.take(6)  # API key, lowest and highest version
        reader.tagged_fields()
    reader.int32()  # throttle_time_ms
    tagged = reader.tagged_fields()
    finalized = _Reader(tagged.get(_FINALIZED_TAG, b"\0")).features()
    return ApiVersions(
        supported=_Reader(tagged.get(_SUPPORTED_TAG, b"\0")).features(),
        # highest level first, lowest second here; the highest is the one in force
        finalized={name: levels[0] for name, levels in finalized.items()},
    )


def describe(versions: ApiVersions) -> str:
    """`4.3 (metadata.version 4.3-IV0, level 30)`, or `unknown`.

    The release is the one whose levels the broker's software goes up to (a patch release brings
    none, so 4.3.0 and 4.3.1 are alike); in brackets stands the level that the cluster works at,
    which is lower after an upgrade until somebody raises it.
    """
    level = versions.finalized.get(_FEATURE)
    if level is None:
        return UNKNOWN
    _, newest = versions.supported.get(_FEATURE, (level, level))
    last_known = max(_LEVELS)
    if newest in _LEVELS:
        release = _release(newest)
    elif newest > last_known:
        release = f"after {_release(last_known)}"
    else:
        return UNKNOWN
    name = f"{_LEVELS[level]}, " if level in _LEVELS else ""
    return f"{release} ({_FEATURE} {name}level {level})"


def _release(level: int) -> str:
    return _LEVELS[level].partition("-")[0]


def broker_version(addresses: Iterable[tuple[str, int]], timeout_s: float = 2.0) -> str:
    """Ask the first of `addresses` that answers; `unknown` when none does within the time.

    Plain text only: a listener that wants TLS or SASL gives `unknown`.
    """
    deadline_s = time.monotonic() + timeout_s
    for host, port in addresses:
        try:
            return describe(parse_api_versions(_ask(host, port, deadline_s)))
        except (OSError, ValueError):
            continue
    return UNKNOWN


def _request() -> bytes:
    # header of version 2: client_id is still a string with a 16-bit length (KIP-482)
    client = b"latbench"
    header = struct.pack(">hhih", _API_VERSIONS, _VERSION, _CORRELATION_ID, len(client)) + client
    # client_software_name and client_software_version, both compact strings; no tagged fields
    software = bytes([len(client) + 1]) + client + b"\x02" + b"1"
    message = header + b"\0" + software + b"\0"
    return struct.pack(">i", len(message)) + message


def _ask(host: str, port: int, deadline_s: float) -> bytes:
    with socket.create_connection((host, port), timeout=_left_s(deadline_s)) as connection:
        connection.sendall(_request())
        (length,) = struct.unpack(">i", _receive(connection, 4, deadline_s))
        if not 0 < length <= _MAX_ANSWER_BYTES:
            raise ValueError(f"answer claims {length} bytes")
        return _receive(connection, length, deadline_s)


def _receive(connection: socket.socket, count: int, deadline_s: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        connection.settimeout(_left_s(deadline_s))
        part = connection.recv(count - len(parts))
        if not part:
            raise ValueError(f"connection closed after {len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
