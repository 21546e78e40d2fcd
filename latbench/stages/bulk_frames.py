"""WebSocket frames taken off a socket many at a time, where they are alike.

A WebSocket library calls back for each frame: 1.3 µs with picows, most of it Python's, where this
takes 0.4. A generator's frames have one length, so that those that a read brought stand like rows
of a table and can be checked and unmasked as one. `BulkReader` stands between a connection's
transport and the library's protocol: rows of whole, masked text frames of one length (RFC 6455,
5.2) it takes itself, all else goes to the library as it came, in order and only up to the end of a
frame, so that the library is always where the next frame begins.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import numpy as np

from latbench.clock import monotonic_ns
from latbench.tickmatrix import Chars

BULK_FROM: Final = 24
"""So many frames alike are quicker taken together."""
_ROWS_AT_ONCE: Final = 256
"""What comes after the relay works on these while others are still to be read."""
_BUFFER_BYTES: Final = 1 << 18
_TEXT_FINAL: Final = 0x81
_MASKED: Final = 0x80
_LENGTH_16: Final = _MASKED | 126
_LONG_HEADER: Final = 8
"""Opcode, 126, length in two bytes, mask in four."""


class _Library(Protocol):
    """The protocol of the library, as far as it is used."""

    def get_buffer(self, sizehint: int) -> Any: ...

    def buffer_updated(self, nbytes: int) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class _Listener(Protocol):
    """Whom the library calls back, as far as it is asked here."""

    def take_rows(self, relay_in_ns: int, rows: Chars) -> None:
        """Take the texts of frames of one length, n × length; see `websocket.OnRows`."""

    @property
    def within_message(self) -> bool:
        """Whether a message came in part: frames that begin another are the library's to refuse."""

    @property
    def ended(self) -> bool:
        """Whether the connection is over: what comes behind is of no meaning (RFC 6455, 5.5.1)."""


class BulkReader(asyncio.BufferedProtocol):
    """A connection's protocol in the place of the library's.

    It takes that place when the library has nothing of a frame, or both would read apart.
    """

    def __init__(self, library: _Library, listener: _Listener) -> None:
        self._library = library
        self._listener = listener
        self._ended = False
        self._bytes = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._bytes)
        self._begin = 0
        self._end = 0
        self._passing = 0
        """So many more bytes are of a frame that the library has the beginning of."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room behind what is there."""
        del sizehint
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:  # hot path
        """Take what has come."""
        arrived_ns = monotonic_ns()
        self._end += nbytes
        while self._begin < self._end and not self._ended:
            if self._passing:
                self._pass_on(min(self._passing, self._end - self._begin))
            elif not self._take_rows(arrived_ns) and not self._pass_frames():
                break
        self._make_room()

    def eof_received(self) -> bool | None:
        """The library's."""
        return self._library.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The library's."""
        self._library.connection_lost(exc)

    def pause_writing(self) -> None:
        """The library's."""
        self._library.pause_writing()

    def resume_writing(self) -> None:
        """The library's."""
        self._library.resume_writing()

    def _take_rows(self, arrived_ns: int) -> bool:  # hot path
        """Hand over the frames at the beginning that are alike, if they are many."""
        begin, data = self._begin, self._bytes
        available = self._end - begin
        if available < _LONG_HEADER or data[begin] != _TEXT_FINAL or data[begin + 1] != _LENGTH_16:
            return False
        size = _LONG_HEADER + (data[begin + 2] << 8 | data[begin + 3])
        count = min(available // size, _ROWS_AT_ONCE)
        if count < BULK_FROM:
            return False
        frames = np.frombuffer(data, np.uint8, count * size, begin).reshape(count, size)
        alike = (frames[:, :4] == frames[0, :4]).all(axis=1)
        if not alike.all():
            count = int(np.argmin(alike))
            if count < BULK_FROM:
                return False
            frames = frames[:count]
        if self._listener.within_message:
            return False
        self._begin += count * size
        self._listener.take_rows(arrived_ns, _unmasked(frames))
        return True

    def _pass_frames(self) -> bool:  # hot path
        """Give a frame to the library, or as much of it as is there; False: wait for more.

        Whole messages of text that stand behind one another go together, as the library hands over
        together what it got together.
        """
        data, end = self._bytes, self._end
        first = upto = self._begin
        while end - upto >= 2:
            size = self._size_at(upto)
            if size > len(data) // 2 and upto == first:
                # would not find room here: the library makes it
                self._passing = size
                return True
            if not size or size > end - upto:
                break
            plain = data[upto] == _TEXT_FINAL and data[upto + 1] >= _MASKED
            if upto > first and (not plain or self._may_begin_rows(upto, size)):
                break
            upto += size
            if not plain:
                break
        if upto == first:
            return False
        self._pass_on(upto - first)
        return True

    def _may_begin_rows(self, begin: int, size: int) -> bool:  # hot path
        """Whether enough of this size are there to make rows, by the header of the last of them."""
        last = begin + (BULK_FROM - 1) * size
        if last + size > self._end or self._bytes[begin + 1] != _LENGTH_16:
            return False
        return self._bytes[begin : begin + 4] == self._bytes[last : last + 4]

    def _size_at(self, begin: int) -> int:  # hot path
        """The size of the frame that begins there; 0: not enough of it is there to tell."""
        data = self._bytes
        length, header = data[begin + 1] & 0x7F, 2
        if length >= 126:
            header = 4 if length == 126 else 10
            if self._end - begin < header:
                return 0
            length = int.from_bytes(data[begin + 2 : begin + header], "big")
        return header + length + (4 if data[begin + 1] & _MASKED else 0)

    def _pass_on(self, count: int) -> None:
        """Give so many bytes to the library."""
        self._passing = max(self._passing - count, 0)
        upto = self._begin + count
        while self._begin < upto and not self._ended:
            room = memoryview(self._library.get_buffer(upto - self._begin)).cast("B")
            part = min(len(room), upto - self._begin)
            room[:part] = self._view[self._begin : self._begin + part]
            self._begin += part
            self._library.buffer_updated(part)
            self._ended = self._listener.ended

    def _make_room(self) -> None:
        """Move the beginning of a frame that is not whole yet to the front."""
        if self._ended:
            self._begin = self._end
        rest = self._end - self._begin
        if self._begin:
            self._bytes[:rest] = self._bytes[self._begin : self._end]
        self._begin, self._end = 0, rest


def _unmasked(frames: Chars) -> Chars:
    """The texts of masked frames, n × length."""
    count, size = frames.shape
    masks = np.ascontiguousarray(frames[:, 4:8]).view(np.uint32)
    repeated = np.empty((count, -(-(size - _LONG_HEADER) // 4)), dtype=np.uint32)
    repeated[:] = masks
    texts = repeated.view(np.uint8)[:, : size - _LONG_HEADER]
    return np.bitwise_xor(frames[:, _LONG_HEADER:], texts)
