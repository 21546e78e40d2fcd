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
from collections.abc import Iterator, Mapping
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
            least.append(seq.min())
            greatest.append(seq.max())
            if sent is not None and greatest[-1] >= sent:
                self.beyond += int(np.count_nonzero(seq >= sent))
                seq = seq[seq < sent]
            self._note_blocks(seq)
        self._least = np.array(least, dtype=np.int64)
        self._greatest = np.array(greatest, dtype=np.int64)

    def _note_blocks(self, seq: Column) -> None:
        if not seq.size:
            return
        first, last = int(seq.min()) // BLOCK_TICKS, int(seq.max()) // BLOCK_TICKS
        if last - first < 2:  # all but always; both ends are rows, so neither is empty
            self.blocks.update((first, last))
        else:
            self.blocks.update(np.unique(seq // BLOCK_TICKS).tolist())

    def between(self, begin: int, last: int) -> Rows:
        """All rows with `begin` ≤ seq ≤ `last`, in the order they were recorded."""
        needed = np.flatnonzero((self._least <= last) & (self._greatest >= begin))
        parts = []
        for number in needed.tolist():
            chunk = self.rows[number * _CHUNK_ROWS : (number + 1) * _CHUNK_ROWS]
            parts.append(chunk[(chunk[:, 0] >= begin) & (chunk[:, 0] <= last)])
        return np.concatenate(parts) if parts else self.rows[:0]


class Assembly:
    """The join of the rings' rows (`recording.COLUMNS`).

    `sent` is how many ticks the generator sent, those that found its ring full included. It counts
    them from 0, so a greater `seq` was none of its own: a forgery, which makes no tick of the
    result. Without `sent` (the run was cut off, and its last rows with it) every `seq` is believed.
    """

    def __init__(self, rows: Mapping[str, RowSequence], sent: int | None = None) -> None:
        self._indices = {ring: _RingIndex(rows[ring], sent) for ring in _PRECEDENCE}
        self._last = None if sent is None else sent - 1
        self.strangers = self._indices[CONSUMER].beyond
        """Messages on the topic with this run's id and a `seq` that was never sent."""

    def tables(self) -> Iterator[TickTable]:
        """The ticks in tables of at most `BLOCK_TICKS`."""
        for block in sorted(set().union(*(index.blocks for index in self._indices.values()))):
            begin = block * BLOCK_TICKS
            last = begin + BLOCK_TICKS - 1
            yield _join(self._indices, begin, last if self._last is None else min(last, self._last))


def _join(indices: Mapping[str, _RingIndex], begin: int, last: int) -> TickTable:
    length = last - begin + 1
    columns = {
        name: np.full(length, MISSING, dtype=np.int64) for name in TABLE_COLUMNS if name != "seq"
    }
    known = np.zeros(length, dtype=np.bool_)
    for ring in _PRECEDENCE:
        # of two rows for a tick the first counts, and the last that is written stays
        rows = indices[ring].between(begin, last)[::-1]
        places = rows[:, 0] - begin
        known[places] = True
        for number, name in enumerate(COLUMNS[ring][1:], start=1):
            columns[name][places] = rows[:, number]
    columns = {"seq": begin + np.arange(length, dtype=np.int64), **columns}
    if not known.all():  # a ring overran, or the run was cut off
        columns = {name: column[known] for name, column in columns.items()}
    return TickTable(columns)
