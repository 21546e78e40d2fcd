"""The figures that a run's ticks give by themselves, table by table, in order of `seq`.

A run's end makes them of the joined rings (`conclude`), and a result file's own rows must give the
same again (`verification`).
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from latbench.analysis import HopFigures, RateFigures, Stamps, TailFigures
from latbench.assembly import TickTable
from latbench.losses import LostRanges
from latbench.result import Counts, HopSummary, StallFigures, TailShare
from latbench.stalls import StallTally

Mask = npt.NDArray[np.bool_]

STAMP_COLUMNS: Final = (
    "due_ns",
    "sent_ns",
    "relay_in_ns",
    "relay_out_ns",
    "acked_ns",
    "consumed_ns",
)


class TickCounts(msgspec.Struct):
    """The counts of a result that come from its rows."""

    sent: int = 0
    measured: int = 0
    relayed: int = 0
    acked: int = 0
    consumed: int = 0

    @classmethod
    def of(cls, counts: Counts) -> TickCounts:
        """Those of a result."""
        return cls(*(getattr(counts, name) for name in cls.__struct_fields__))


class TickFigures:
    """All of them, in memory that does not grow with the ticks."""

    def __init__(self) -> None:
        self.hops, self.rate, self.counts = HopFigures(), RateFigures(), TickCounts()
        self.lost = LostRanges()
        self._tail, self._stalled = TailFigures(), StallTally()

    def add(self, table: TickTable, measured: Mask, stalled: Mask) -> Stamps:
        """Take ticks; gives the stamps of the measured ones of them."""
        stamps: Stamps = {name: table.columns[name] for name in STAMP_COLUMNS}
        self._count(stamps, measured)
        self.lost.add(table)
        if not measured.all():
            stamps = {name: column[measured] for name, column in stamps.items()}
            stalled = stalled[measured]
        self.hops.record(stamps)
        self._tail.record(stamps)
        self.rate.record(stamps)
        self._stalled.record(stamps, stalled)
        return stamps

    def _count(self, stamps: Stamps, measured: Mask) -> None:
        counts = self.counts
        counts.sent += len(measured)
        counts.measured += int(np.count_nonzero(measured))
        counts.relayed += int(np.count_nonzero(stamps["relay_in_ns"] >= 0))
        counts.acked += int(np.count_nonzero(stamps["acked_ns"] >= 0))
        counts.consumed += int(np.count_nonzero(stamps["consumed_ns"] >= 0))

    def summaries(self) -> tuple[HopSummary, ...]:
        """The hops' figures, rates over the measured span."""
        return self.hops.summaries(self.rate.span_ns)

    def tail(self) -> TailShare | None:
        """What the slowest ticks spent their time on."""
        summaries = self.summaries()
        return self._tail.summarise(next(hop for hop in summaries if hop.hop == "end_to_end"))

    def stalls(self, count: int) -> StallFigures:
        """What stalls did to the ticks; `count` of them fell into the measured span."""
        return self._stalled.summarise(self.rate.span_ns, count, self.tail())
