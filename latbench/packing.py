"""Rows of int64 in few bytes: what grows evenly or stands still needs hardly any.

A column's numbers are told as `base + step · i + rest`, the rest in as few bytes as its range needs
(frame of reference: J. Goldstein, R. Ramakrishnan, U. Shaft, "Compressing relations and indexes",
ICDE 1998). A column of long runs of the same number, as the stamps of ticks that came together, is
told as the runs' numbers and where they begin. All arithmetic is modulo 2⁶⁴, so that any int64
comes out as it went in.

A frame is rows that were packed together: its size in bytes and its number of rows (32 bits each),
then its columns, each a header (base, step, 64 bits each; bytes of a rest, number of runs, 32 bits
each) and what the header says.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.ring import Rows

FRAME_HEADER: Final = struct.Struct("<II")
"""Bytes of the whole frame, this header included; rows in it."""

_COLUMN_HEADER: Final = struct.Struct("<qqII")
_RUN_BYTES: Final = 8
"""A run takes about so much (4 for its number, 2 for its place, something for luck)."""
_MOST_STEP: Final = 1 << 62
_COUNTED: Final = np.arange(1 << 14, dtype=np.int64)
"""0, 1, 2 …: 10,000 rows are drained at 200,000 ticks/s."""

Numbers = npt.NDArray[np.int64]


def pack(rows: Rows) -> bytes:
    """The frame of some rows (n × columns, n from 1 to 2³² - 1).

    At 200,000 ticks/s a tick's 20 numbers in four rings are 160 bytes, 1 to 2 when packed.
    """
    parts = [b""]
    for column in np.ascontiguousarray(rows.T):
        parts += _pack_column(column)
    parts[0] = FRAME_HEADER.pack(FRAME_HEADER.size + sum(map(len, parts)), len(rows))
    return b"".join(parts)


def unpack(frame: bytes, columns: int) -> Rows:
    """The rows of a whole frame, each column's numbers side by side in memory."""
    _, count = FRAME_HEADER.unpack_from(frame)
    found = np.empty((columns, count), dtype=np.int64)
    at = FRAME_HEADER.size
    for column in found:
        at = _unpack_column(frame, at, column)
    return found.T


def _pack_column(numbers: Numbers) -> list[bytes]:
    count = len(numbers)
    changes = np.flatnonzero(numbers[1:] != numbers[:-1])
    runs = len(changes) + 1
    if runs == 1 or runs * _RUN_BYTES > count:
        return _pack_evenly(numbers, 0)
    begins = np.concatenate((_COUNTED[:1], changes + 1))
    return [*_pack_evenly(numbers[begins], runs), *_pack_evenly(begins, 0)]


def _pack_evenly(numbers: Numbers, runs: int) -> list[bytes]:
    count = len(numbers)
    first, step = int(numbers[0]), 0
    if count > 1:
        step = (int(numbers[-1]) - first) // (count - 1)
        if abs(step) > _MOST_STEP:
            step = 0
    rests = numbers - step * _counted(count) if step else numbers
    base = int(rests.min())
    spread = int(rests.max()) - base
    width = np.min_scalar_type(spread).itemsize if spread else 0
    header = _COLUMN_HEADER.pack(base, step, width, runs)
    if not width:
        return [header]
    return [header, (rests - base).view(np.uint64).astype(f"<u{width}").tobytes()]


def _unpack_column(frame: bytes, at: int, into: Numbers) -> int:
    """Fill a column; where the next one begins."""
    *_, runs = _COLUMN_HEADER.unpack_from(frame, at)
    if not runs:
        return _unpack_evenly(frame, at, into)
    values, bounds = np.empty(runs, dtype=np.int64), np.full(runs + 1, len(into), dtype=np.int64)
    at = _unpack_evenly(frame, at, values)
    at = _unpack_evenly(frame, at, bounds[:-1])
    into[:] = np.repeat(values, np.diff(bounds))
    return at


def _unpack_evenly(frame: bytes, at: int, into: Numbers) -> int:
    header: tuple[int, int, int, int] = _COLUMN_HEADER.unpack_from(frame, at)
    base, step, width, _ = header
    at += _COLUMN_HEADER.size
    count = len(into)
    if width:
        rests = np.frombuffer(frame, dtype=f"<u{width}", count=count, offset=at)
        np.add(rests.astype(np.uint64).view(np.int64), base, out=into)
    else:
        into.fill(base)
    if step:
        into += step * _counted(count)
    return at + width * count


def _counted(count: int) -> Numbers:
    return _COUNTED[:count] if count <= len(_COUNTED) else np.arange(count, dtype=np.int64)
