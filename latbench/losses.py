"""Which ticks were lost, by name: ranges of `seq`, gathered as a result's tables go by."""

from __future__ import annotations

from typing import Final

import numpy as np

from latbench.assembly import TickTable

RANGES_KEPT: Final = 100
"""A run that loses every other tick has as many ranges as losses: the first tell enough, and the
result stays small."""


class LostRanges:
    """Ticks that were sent and never consumed, as inclusive ranges of neighbouring `seq`."""

    def __init__(self) -> None:
        self.count = 0
        """Of all ranges, also those not kept."""
        self._kept: list[tuple[int, int]] = []
        self._last: int | None = None

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last `seq` of each, in order; the first `RANGES_KEPT`."""
        return tuple(self._kept)

    def add(self, table: TickTable) -> None:
        """Add ticks; all of a greater `seq` than those before."""
        lost = table.columns["seq"][table.columns["consumed_ns"] < 0]
        if not lost.size:
            return
        breaks = np.flatnonzero(np.diff(lost) != 1)
        firsts = lost[np.concatenate(([0], breaks + 1))]
        lasts = lost[np.concatenate((breaks, [lost.size - 1]))]
        continued = self._last is not None and int(firsts[0]) == self._last + 1
        if continued and self.count <= RANGES_KEPT:
            self._kept[-1] = (self._kept[-1][0], int(lasts[0]))
        self.count += len(firsts) - continued
        self._last = int(lasts[-1])
        room = slice(int(continued), int(continued) + RANGES_KEPT - len(self._kept))
        self._kept += zip(firsts[room].tolist(), lasts[room].tolist(), strict=True)
