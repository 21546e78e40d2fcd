"""Rows of four rings joined into one row for every tick sent, in order of `seq`.

The join is made a block of `seq` at a time, in memory bounded by the block: for each ring an index
of the least and greatest `seq` of every chunk tells which chunks a block needs. Rings are nearly in
order (retries and partitions shuffle them a little), so that is one or two chunks; any disorder is
still joined rightly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from latbench.recording import ACKS, COLUMNS, CONSUMER, GENERATOR, RELAY
from latbench.ring import Rows

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


class RowSequence(Protocol):
    """Rows (n × columns) that need not be in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Rows: ...


class _RingIndex:
    """Which chunks of a ring's rows hold a range of `seq`."""

    def __init__(self, rows: RowSequence) -> None:
        self.rows = rows
        least, greatest = [], []
        for start in range(0, len(rows), _CHUNK_ROWS):
            seq = rows[start : start + _CHUNK_ROWS][:, 0]
            least.append(seq.min())
            greatest.append(seq.max())
        self._least = np.array(least, dtype=np.int64)
        self._greatest = np.array(greatest, dtype=np.int64)

    @property
    def end(self) -> int:
        """One above the greatest `seq`; 0 without rows."""
        return int(self._greatest.max()) + 1 if self._greatest.size else 0

    def between(self, begin: int, end: int) -> Rows:
        """All rows with `begin` ≤ seq < `end`, in the order they were recorded."""
        needed = np.flatnonzero((self._least < end) & (self._greatest >= begin))
        parts = []
        for number in needed.tolist():
            chunk = self.rows[number * _CHUNK_ROWS : (number + 1) * _CHUNK_ROWS]
            parts.append(chunk[(chunk[:, 0] >= begin) & (chunk[:, 0] < end)])
        return np.concatenate(parts) if parts else self.rows[:0]


def assemble(rows: Mapping[str, RowSequence]) -> Iterator[TickTable]:
    """Join the rings' rows (`recording.COLUMNS`) into tables of at most `BLOCK_TICKS` ticks."""
    indices = {ring: _RingIndex(rows[ring]) for ring in _PRECEDENCE}
    end = max(index.end for index in indices.values())
    for begin in range(0, end, BLOCK_TICKS):
        table = _join(indices, begin, min(begin + BLOCK_TICKS, end))
        if len(table):
            yield table


def _join(indices: Mapping[str, _RingIndex], begin: int, end: int) -> TickTable:
    columns = {
        name: np.full(end - begin, MISSING, dtype=np.int64)
        for name in TABLE_COLUMNS
        if name != "seq"
    }
    known = np.zeros(end - begin, dtype=np.bool_)
    for ring in _PRECEDENCE:
        # of two rows for a tick the first counts, and the last that is written stays
        rows = indices[ring].between(begin, end)[::-1]
        places = rows[:, 0] - begin
        known[places] = True
        for number, name in enumerate(COLUMNS[ring][1:], start=1):
            columns[name][places] = rows[:, number]
    columns = {"seq": np.arange(begin, end, dtype=np.int64), **columns}
    if not known.all():  # a ring overran, or the run was cut off
        columns = {name: column[known] for name, column in columns.items()}
    return TickTable(columns)
