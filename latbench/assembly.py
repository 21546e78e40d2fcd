"""Rows of four rings joined into one row for every tick sent, in order of `seq`.

The join is made a block of `seq` at a time, in memory bounded by the block: for each ring an index
of the least and greatest `seq` of every chunk tells which chunks a block needs. Rings are nearly in
order (retries and partitions shuffle them a little), so that is one or two chunks; any disorder is
still joined rightly.

A run's id can be read in its spool, so a client of the relay can forge ticks of any `seq`. Only
blocks that hold rows are visited, and whoever knows how many ticks were sent has the rest left out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.recording import ACKS, COLUMNS, CONSUMER, GENERATOR, RELAY
from latbench.ring import Rows, RowSequence

MISSING: Final = -1
"""Stands for what was never recorded; no stamp, partition or offset is negative."""

BLOCK_TICKS: Final = 1 << 16
_CHUNK_ROWS: Final = 1 << 15

Column = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Places = slice | Column


@dataclasses.dataclass(frozen=True, slots=True)
class TickTable:
    """Ticks in order of `seq`; columns of equal length, `MISSING` where there is nothing."""

    columns: Mapping[str, Column]
    """`seq, symbol_id, due_ns, sent_ns, relay_in_ns, relay_out_ns, acked_ns, consumed_ns,
    partition, offset`."""

    def __len__(self) -> int:
        return len(self.columns["seq"])


TABLE_COLUMNS: Final = (
    "seq",
    "symbol_id",
    "due_ns",
    "sent_ns",
    "relay_in_ns",
    "relay_out_ns",
    "acked_ns",
    "consumed_ns",
    "partition",
    "offset",
)

_PRECEDENCE: Final = (CONSUMER, ACKS, RELAY, GENERATOR)
"""Later ones overwrite: a stage's own stamp counts, not the copy that travelled in the message
(they are equal; the copy serves where a row is missing)."""


class _RingIndex:
    """Which chunks of a ring's rows hold a range of `seq`, and which blocks have rows at all."""

    def __init__(self, rows: RowSequence, sent: int | None) -> None:
        self.rows = rows
        self.blocks: set[int] = set()
        self.beyond = 0
        least, greatest = [], []
        for start in range(0, len(rows), _CHUNK_ROWS):
            seq = rows[start : start + _CHUNK_ROWS][:, 0]
            first, last = int(seq.min()), int(seq.max())
            least.append(first)
            greatest.append(last)
            if sent is not None and last >= sent:
                self.beyond += int(np.count_nonzero(seq >= sent))
                seq = seq[seq < sent]
                last = int(seq.max(initial=first))
            self._note_blocks(seq, first, last)
        self._kept: tuple[int, Rows] | None = None
        self._least = np.array(least, dtype=np.int64)
        self._greatest = np.array(greatest, dtype=np.int64)

    def _note_blocks(self, seq: Column, least: int, greatest: int) -> None:
        if not seq.size:
            return
        first, last = least // BLOCK_TICKS, greatest // BLOCK_TICKS
        if last - first < 2:  # all but always; both ends are rows, so neither is empty
            self.blocks.update((first, last))
        else:
            self.blocks.update(np.unique(seq // BLOCK_TICKS).tolist())

    def between(self, begin: int, last: int) -> list[Rows]:
        """All rows with `begin` ≤ seq ≤ `last`, in the order they were recorded."""
        needed = np.flatnonzero((self._least <= last) & (self._greatest >= begin))
        parts = []
        for number in needed.tolist():
            part = self._chunk(number)
            if self._least[number] < begin or self._greatest[number] > last:
                seq = part[:, 0]
                part = _chosen(part, (seq >= begin) & (seq <= last))
            if len(part):
                parts.append(part)
        return parts

    def _chunk(self, number: int) -> Rows:
        """Rows of one chunk; the last one is kept, for the next block begins in it as a rule."""
        if self._kept is None or self._kept[0] != number:
            chunk = self.rows[number * _CHUNK_ROWS : (number + 1) * _CHUNK_ROWS]
            self._kept = (number, chunk)
        return self._kept[1]


def _chosen(rows: Rows, wanted: Mask) -> Rows:
    """Those of the rows that are wanted; no copy where they follow each other."""
    places = np.flatnonzero(wanted)
    if places.size and places[-1] - places[0] + 1 == places.size:
        return rows[places[0] : places[-1] + 1]
    return rows[wanted]


class Assembly:
    """The join of the rings' rows (`recording.COLUMNS`).

    `sent` is how many ticks the generator sent, those that found its ring full included. It counts
    them from 0, so a greater `seq` was none of its own: a forgery, which makes no tick of the
    result. Without `sent` (the run was cut off, and its last rows with it) every `seq` is believed.
    """

    def __init__(self, rows: Mapping[str, RowSequence], sent: int | None = None) -> None:
        with ThreadPoolExecutor(2) as pool:  # reading holds no lock: 25 ns a tick by one alone
            indices = pool.map(lambda ring: _RingIndex(rows[ring], sent), _PRECEDENCE)
            self._indices = dict(zip(_PRECEDENCE, indices, strict=True))
        self._last = None if sent is None else sent - 1
        self.strangers = self._indices[CONSUMER].beyond
        """Messages on the topic with this run's id and a `seq` that was never sent."""

    def tables(self) -> Iterator[TickTable]:
        """The ticks in tables of at most `BLOCK_TICKS`."""
        for block in sorted(set().union(*(index.blocks for index in self._indices.values()))):
            begin = block * BLOCK_TICKS
            last = begin + BLOCK_TICKS - 1
            yield _join(self._indices, begin, last if self._last is None else min(last, self._last))


class _Part:
    """Some rows of one ring, and their places in the block of `seq` from `begin` on."""

    def __init__(self, rows: Rows, begin: int) -> None:
        places = rows[:, 0] - begin
        self.first, self.end = int(places[0]), int(places[-1]) + 1
        self.rows = rows
        self.places: Places = slice(self.first, self.end)
        self.in_order = self.end - self.first == len(rows) and bool((np.diff(places) == 1).all())
        """One tick after the other and none left out: rows are copied at once (1 ns a number,
        where putting each in its place takes 3)."""
        if not self.in_order:
            # of two rows for a tick the first counts, and the last that is written stays
            self.rows, self.places = rows[::-1], places[::-1]


def _covers(parts: Sequence[_Part], length: int) -> bool:
    """Whether the parts of a ring have every tick of a block, one after the other."""
    ends = [0, *(part.end for part in parts)]
    follows = all(part.first == end for part, end in zip(parts, ends, strict=False))
    return follows and ends[-1] == length and all(part.in_order for part in parts)


def _join(indices: Mapping[str, _RingIndex], begin: int, last: int) -> TickTable:
    length = last - begin + 1
    parts = {
        ring: [_Part(rows, begin) for rows in indices[ring].between(begin, last)]
        for ring in _PRECEDENCE
    }
    columns = {"seq": begin + np.arange(length, dtype=np.int64)}
    whole = [ring for ring in _PRECEDENCE if _covers(parts[ring], length)]
    for name in TABLE_COLUMNS[1:]:
        having = [ring for ring in _PRECEDENCE if name in COLUMNS[ring]]
        # what a ring that has every tick would overwrite need not be written
        from_here = max((at for at, ring in enumerate(having) if ring in whole), default=None)
        column = np.empty(length, dtype=np.int64)
        if from_here is None:
            column.fill(MISSING)
        for ring in having[from_here or 0 :]:
            number = COLUMNS[ring].index(name)
            for part in reversed(parts[ring]):
                column[part.places] = part.rows[:, number]
        columns[name] = column
    if not whole:  # a ring overran, or the run was cut off
        known = np.zeros(length, dtype=np.bool_)
        for part in itertools.chain.from_iterable(parts.values()):
            known[part.places] = True
        if not known.all():
            columns = {name: column[known] for name, column in columns.items()}
    return TickTable(columns)
