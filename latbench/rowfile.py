"""A ring's rows on disk, read a slice at a time.

`RING.rows` has rows as they are, `RING.packed` frames of rows that came in great number at once
(`latbench.packing`); a run whose rate changes writes to both. Either may have been cut off
anywhere: what is not whole at its end is not read.
"""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path

import numpy as np

from latbench.packing import FRAME_HEADER, unpack
from latbench.ring import Rows


def raw_path(directory: Path, ring: str) -> Path:
    """Where a ring's rows are as they are."""
    return directory / f"{ring}.rows"


def packed_path(directory: Path, ring: str) -> Path:
    """Where they are packed."""
    return directory / f"{ring}.packed"


class RowFile:
    """All rows of a ring: the packed ones, then the others.

    A mapping of the file would do, but counts as the process's memory: 560 MB of it after ten
    minutes at 5,000/s.
    """

    def __init__(self, directory: Path, ring: str, columns: int) -> None:
        self._raw = raw_path(directory, ring)
        self._packed = packed_path(directory, ring)
        self._columns = columns
        self._places, lengths = _find_frames(self._packed)
        self._bounds = list(itertools.accumulate(lengths, initial=0))
        """Row numbers: where each frame begins, and the last one ends."""
        self._kept: tuple[int, Rows] | None = None
        try:
            raw_rows = self._raw.stat().st_size // (columns * 8)
        except OSError:
            raw_rows = 0
        self._length = self._bounds[-1] + raw_rows

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> Rows:
        begin, end, step = part.indices(self._length)
        assert step == 1
        if begin >= end:
            return np.empty((0, self._columns), dtype=np.int64)
        packed = self._bounds[-1]
        if begin >= packed:
            return self._read_raw(begin - packed, end - packed)
        # column by column in memory, as they are read
        found = np.empty((self._columns, end - begin), dtype=np.int64).T
        at = begin
        number = bisect.bisect_right(self._bounds, begin) - 1
        while at < min(end, packed):
            first, last = self._bounds[number], min(self._bounds[number + 1], end)
            found[at - begin : last - begin] = self._frame(number)[at - first : last - first]
            at, number = last, number + 1
        if end > packed:
            found[packed - begin :] = self._read_raw(0, end - packed)
        return found

    def _read_raw(self, begin: int, end: int) -> Rows:
        count, offset = (end - begin) * self._columns, begin * self._columns * 8
        rows = np.fromfile(self._raw, dtype=np.int64, count=count, offset=offset)
        return rows.reshape(-1, self._columns)

    def _frame(self, number: int) -> Rows:
        """A frame's rows; the last one is kept, for slices rarely end where a frame does."""
        if self._kept is None or self._kept[0] != number:
            begin, end = self._places[number]
            with self._packed.open("rb", buffering=0) as file:
                file.seek(begin)
                frame = file.read(end - begin)
            self._kept = (number, unpack(frame, self._columns))
        return self._kept[1]


def _find_frames(path: Path) -> tuple[list[tuple[int, int]], list[int]]:
    """Where each whole frame of a file begins and ends, and how many rows it has."""
    places: list[tuple[int, int]] = []
    lengths: list[int] = []
    try:
        with path.open("rb") as file:
            size, at = path.stat().st_size, 0
            while header := file.read(FRAME_HEADER.size):
                if len(header) < FRAME_HEADER.size:
                    break
                frame_bytes, rows = FRAME_HEADER.unpack(header)
                end = at + frame_bytes
                if frame_bytes <= FRAME_HEADER.size or end > size:
                    break
                places.append((at, end))
                lengths.append(rows)
                at = file.seek(end)
    except FileNotFoundError:
        pass
    return places, lengths
