"""Rows from a stage to the supervisor: a ring in shared memory that never blocks its writer.

One writer, one reader, fixed-width int64 rows. The writer stores a row and then the new head; the
reader copies rows up to the head and then stores the new tail. A row that finds the ring full is
not written but counted (`overruns`), and makes the run invalid: a stage must never wait for its
bookkeeping, and a loss is never silent.

The memory is an anonymous file handed down by descriptor: it has no name, so nothing is left
behind however the processes die.

Order of stores: x86-64 keeps it. On weakly ordered machines the reader could in theory see the
head before the row; it therefore takes rows only up to the head it saw on its last visit, tens of
milliseconds ago, until the writer has ended (`last=True`).
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


class RowSequence(Protocol):
    """Rows (n × columns) that need not be in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Rows: ...


_HEADER_WORDS: Final = 64
_HEAD: Final = 0
_OVERRUNS: Final = 1
_COUNTERS: Final = 8  # one cache line on: the stage's counters
_TAIL: Final = 56  # and the reader's own line
COUNTERS: Final = 48

MIN_ROWS: Final = 1 << 14
MAX_ROWS: Final = 1 << 21
RING_SECONDS: Final = 4
"""A ring holds this much of the run at its nominal rate: the supervisor may stall so long."""


def ring_rows(rate_hz: float) -> int:
    """How many rows a ring gets for a rate: a power of two, `RING_SECONDS` or more."""
    wanted = int(rate_hz * RING_SECONDS)
    return min(max(1 << (wanted - 1).bit_length() if wanted > 1 else 1, MIN_ROWS), MAX_ROWS)


def create_memory(columns: int, rows: int) -> int:
    """A descriptor of zeroed shared memory for a ring; the caller closes it."""
    size = (_HEADER_WORDS + columns * rows) * 8
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("latbench-ring", os.MFD_CLOEXEC)
    else:  # not Linux: a file without a name
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class _Mapping:
    """The shared memory of a ring, mapped; base of both ends."""

    def __init__(self, descriptor: int, columns: int) -> None:
        self.columns = columns
        # populate: a first touch costs 0.5 µs a page, on the writer's hot path
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        self._map = mmap.mmap(descriptor, 0, flags=flags)
        self.capacity = (len(self._map) // 8 - _HEADER_WORDS) // columns
        assert self.capacity & (self.capacity - 1) == 0
        self.header = memoryview(self._map)[: _HEADER_WORDS * 8].cast("q")
        self.body = memoryview(self._map)[_HEADER_WORDS * 8 :]

    @property
    def counters(self) -> memoryview:
        """The stage's own counters, int64, `COUNTERS` of them; written by the stage alone."""
        return self.header[_COUNTERS : _COUNTERS + COUNTERS]


class RingWriter(_Mapping):
    """The stage's end."""

    def __init__(self, descriptor: int, columns: int) -> None:
        super().__init__(descriptor, columns)
        self._rows: Rows = np.frombuffer(self.body, dtype=np.int64).reshape(-1, columns)
        self._head: int = self.header[_HEAD]
        self._pack_into = struct.Struct(f"={columns}q").pack_into
        self._row_bytes = columns * 8

    def push(self, *row: int) -> None:  # hot path
        """Write one row of `columns` integers (0.4 µs); never blocks, never raises."""
        head, header = self._head, self.header
        if head - header[_TAIL] >= self.capacity:
            header[_OVERRUNS] += 1
            return
        self._pack_into(self.body, (head & (self.capacity - 1)) * self._row_bytes, *row)
        self._head = header[_HEAD] = head + 1

    def push_rows(self, rows: Rows) -> None:  # hot path
        """Write rows × `columns` at once (2 µs and 10 ns a row); never blocks, never raises."""
        header, capacity, count = self.header, self.capacity, len(rows)
        room = capacity - (self._head - header[_TAIL])
        if count > room:
            header[_OVERRUNS] += count - room
            rows, count = rows[:room], room
        begin = self._head & (capacity - 1)
        upto_end = min(count, capacity - begin)
        self._rows[begin : begin + upto_end] = rows[:upto_end]
        if upto_end < count:
            self._rows[: count - upto_end] = rows[upto_end:]
        self._head = header[_HEAD] = self._head + count

    def push_packed(self, rows: memoryview, count: int) -> None:  # hot path
        """Write the first `count` of packed rows (0.7 µs); never blocks, never raises."""
        header, capacity, size = self.header, self.capacity, self._row_bytes
        room = capacity - (self._head - header[_TAIL])
        if count > room:
            header[_OVERRUNS] += count - room
            count = room
        begin = self._head & (capacity - 1)
        upto_end = min(count, capacity - begin)
        self.body[begin * size : (begin + upto_end) * size] = rows[: upto_end * size]
        if upto_end < count:
            self.body[: (count - upto_end) * size] = rows[upto_end * size : count * size]
        self._head = header[_HEAD] = self._head + count


class RingReader(_Mapping):
    """The supervisor's end."""

    def __init__(self, descriptor: int, columns: int) -> None:
        super().__init__(descriptor, columns)
        self._rows: Rows = np.frombuffer(self.body, dtype=np.int64).reshape(-1, columns)
        self._seen_head = 0

    def look(self) -> None:
        """Take note of what has come by now: the next `drain` gives all of it."""
        self._seen_head = self.header[_HEAD]

    def drain(self, *, last: bool = False) -> Rows:
        """Copy out what has come (rows × columns, perhaps none) and free its place.

        `last`: the writer has ended, so take everything up to the present head.
        """
        head = self.header[_HEAD]
        upto = head if last else self._seen_head
        self._seen_head = head
        tail = self.header[_TAIL]
        begin, end = tail & (self.capacity - 1), upto & (self.capacity - 1)
        if upto == tail:
            return self._rows[:0].copy()
        if begin < end:
            rows = self._rows[begin:end].copy()
        else:
            rows = np.concatenate((self._rows[begin:], self._rows[:end]))
        self.header[_TAIL] = upto
        return rows

    @property
    def overruns(self) -> int:
        """Rows that found the ring full."""
        return int(self.header[_OVERRUNS])

    @property
    def taken(self) -> int:
        """Rows that `drain` has given so far."""
        return int(self.header[_TAIL])

    @property
    def written(self) -> int:
        """Rows the writer has published so far."""
        return int(self.header[_HEAD])
