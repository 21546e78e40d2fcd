"""WebSocket frames taken off a socket many at a time, by compiled code.

A WebSocket library calls back for each frame: 1.3 µs with picows, most of it Python's, where this
takes 0.05. `BulkReader` stands between a connection's transport and the library's protocol: whole,
masked frames of text (RFC 6455, 5.2) it takes itself, all else goes to the library as it came, in
order and only up to the end of a frame, so that the library is always where the next frame begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from latbench.batch.ticks import RelayBatch
from latbench.clock import monotonic_ns
from latbench.stages.frames import frame_size

_TEXTS_AT_ONCE: Final = 256
"""What comes after the relay works on these while others are still to be read."""
_FEW_BYTES: Final = 1024
"""Up to three ticks. Two calls of compiled code that is in no cache take 15 µs, the library and the
plain functions 6 µs for a tick."""
_FEW_READS: Final = 32
"""After so many in a row that brought no more than that, this only stands in the library's way."""


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

    def take_texts(self, relay_in_ns: int, count: int) -> None:
        """Take the texts that the batch has now; see `websocket.OnTexts`."""

    heard: bool
    """Set when anything has come."""

    tail_bytes: int | None
    """So many bytes of the next frame came with the last one that the library read; None where that
    has read none since this was set to None."""

    @property
    def within_message(self) -> bool:
        """Whether a message came in part: frames that begin another are the library's to refuse."""

    @property
    def ended(self) -> bool:
        """Whether the connection is over: what comes behind is of no meaning (RFC 6455, 5.5.1)."""


class BulkReader(asyncio.BufferedProtocol):
    """A connection's protocol in the place of the library's.

    What is read goes to the batch's memory, which all connections share: a transport asks for the
    buffer, fills it and tells so in one go, and what is no whole frame yet is kept outside until
    then.

    `step_aside`: gives the library its place back; called where few frames come at a time.
    `in_frame`: it takes that place while the library has a part of a frame, as it may have after
    every read of a client that never pauses. All goes to the library until one is seen to begin.
    """

    def __init__(
        self,
        library: _Library,
        listener: _Listener,
        batch: RelayBatch,
        step_aside: Callable[[], None],
        *,
        in_frame: bool = False,
    ) -> None:
        self._library = library
        self._listener = listener
        self._batch = batch
        self._step_aside = step_aside
        self._bytes = batch.frames
        self._ended = False
        self._rest = b""
        self._begin = 0
        self._end = 0
        self._few_reads = 0
        self._passing = 0
        """So many more bytes are of a frame that the library has the beginning of."""
        self.is_lost = in_frame
        """Whether it is unknown where the next frame begins."""

    def get_buffer(self, sizehint: int) -> memoryview:  # hot path
        """Room behind what was left."""
        del sizehint
        end = self._end = len(self._rest)
        if end:
            self._bytes[:end] = self._rest
        return self._bytes[end:]

    def buffer_updated(self, nbytes: int) -> None:  # hot path
        """Take what has come."""
        arrived_ns = monotonic_ns()
        self._listener.heard = True
        self._begin, self._end = 0, self._end + nbytes
        batch, listener = self._batch, self._listener
        is_between = not self.is_lost and not self._passing
        if self._end <= _FEW_BYTES and is_between and self._are_whole_frames():
            self._pass_on(self._end)
            self._few_reads += 1
        else:
            self._few_reads = 0
        while self._begin < self._end and not self._ended:
            if self.is_lost:
                self._find_begin()
                continue
            if self._passing:
                self._pass_on(min(self._passing, self._end - self._begin))
                continue
            count = 0
            if not listener.within_message:
                count = batch.take_frames(self._begin, self._end, _TEXTS_AT_ONCE)
            if count:
                self._begin += batch.consumed_bytes
                listener.take_texts(arrived_ns, count)
            elif not self._pass_frame():
                break
        self._rest = b"" if self._ended else self._bytes[self._begin : self._end].tobytes()
        if self._few_reads >= _FEW_READS and not self._ended:
            self._step_aside()

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

    def _find_begin(self) -> None:
        """Pass a part on, and see where the frame begins that the library has some of behind it."""
        self._listener.tail_bytes = None
        self._pass_part(self._end)
        tail = self._listener.tail_bytes
        if tail is None:
            return
        size = frame_size(self._bytes, self._begin - tail, self._end) if tail else 0
        if size or not tail:
            self._passing = size - tail
            self.is_lost = False

    def _are_whole_frames(self) -> bool:  # hot path
        """Whether what is there ends where a frame does."""
        at, end = 0, self._end
        while at < end:
            size = frame_size(self._bytes, at, end)
            if not size:
                return False
            at += size
        return at == end

    def _pass_frame(self) -> bool:
        """Give the library a frame, or as much of it as is there; False: wait for more."""
        size = frame_size(self._bytes, self._begin, self._end)
        if not size:
            return False
        if size > len(self._bytes) // 2:
            # might not find room here: the library makes it
            self._passing = size
            return True
        if size > self._end - self._begin:
            return False
        self._pass_on(size)
        return True

    def _pass_on(self, count: int) -> None:
        """Give so many bytes to the library."""
        self._passing = max(self._passing - count, 0)
        upto = self._begin + count
        while self._begin < upto and not self._ended:
            self._pass_part(upto)

    def _pass_part(self, upto: int) -> None:
        """Give the library what it has room for."""
        room = memoryview(self._library.get_buffer(upto - self._begin)).cast("B")
        part = min(len(room), upto - self._begin)
        room[:part] = self._bytes[self._begin : self._begin + part]
        self._begin += part
        self._library.buffer_updated(part)
        self._ended = self._listener.ended
