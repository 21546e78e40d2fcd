"""WebSocket frames as they stand in a buffer (RFC 6455, 5.2)."""

from __future__ import annotations

from typing import Final

_MASKED: Final = 0x80


def frame_size(data: bytes | memoryview, begin: int, end: int) -> int:  # hot path
    """The size of the frame that begins there; 0: not enough of it is there to tell."""
    available = end - begin
    if available < 2:
        return 0
    length, header = data[begin + 1] & 0x7F, 2
    if length >= 126:
        header = 4 if length == 126 else 10
        if available < header:
            return 0
        length = int.from_bytes(data[begin + 2 : begin + header], "big")
    return header + length + (4 if data[begin + 1] & _MASKED else 0)


def whole_frames(data: bytes) -> int:
    """How many bytes of `data`, which begins with a frame, are whole frames."""
    at, end = 0, len(data)
    while size := frame_size(data, at, end):
        if at + size > end:
            break
        at += size
    return at
