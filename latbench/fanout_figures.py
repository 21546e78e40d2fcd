"""What a relay's subscribers got, by their rows: latencies, and how many ticks each has missed."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.histogram import Histogram
from latbench.recording import COLUMNS, SUBSCRIBER
from latbench.result import FanoutFigures
from latbench.ring import Rows, RowSequence

_CLIENT, _DUE, _RELAY_IN, _RECEIVED = (
    COLUMNS[SUBSCRIBER].index(name) for name in ("client", "due_ns", "relay_in_ns", "received_ns")
)
_ROWS_AT_ONCE: Final = 1 << 18
_SHORT_KEPT: Final = 10


def fanout_latencies(rows: Rows, from_ns: int) -> npt.NDArray[np.int64]:
    """The hop `fanout` of the ticks due from `from_ns` on, in ns: of each, for each subscriber."""
    measured = rows[rows[:, _DUE] >= from_ns]
    return measured[:, _RECEIVED] - measured[:, _RELAY_IN]


class FanoutReading:
    """All rows of a run's subscribers, gone through once in bounded memory."""

    def __init__(self, rows: RowSequence, from_ns: int, subscribers: int) -> None:
        self.histogram = Histogram()
        self._received = np.zeros(subscribers, dtype=np.int64)
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[begin : begin + _ROWS_AT_ONCE]
            self.histogram.record(fanout_latencies(part, from_ns))
            self._received += np.bincount(part[:, _CLIENT], minlength=subscribers)[:subscribers]

    def figures(self, relayed: int, ended: int, dropped: int) -> FanoutFigures | None:
        """What each got of so many ticks; None where there were no subscribers."""
        received = self._received
        if not received.size:
            return None
        missed = np.maximum(relayed - received, 0)
        short = np.argsort(-missed, kind="stable")[: min(_SHORT_KEPT, int((missed > 0).sum()))]
        return FanoutFigures(
            subscribers=received.size,
            ended=ended,
            expected=relayed * received.size,
            received=int(received.sum()),
            missed=int(missed.sum()),
            dropped=dropped,
            fewest=int(received.min()),
            most=int(received.max()),
            short=tuple((int(number), int(missed[number])) for number in short),
            short_count=int((missed > 0).sum()),
        )
