from __future__ import annotations

import numpy as np

from latbench.fanout_figures import FanoutReading, fanout_latencies
from latbench.recording import COLUMNS, SUBSCRIBER
from latbench.ring import Rows


def rows(*ticks: tuple[int, int, int, int, int]) -> Rows:
    """Of (seq, client, due, relay_in, received)."""
    return np.array(ticks, dtype=np.int64).reshape(-1, len(COLUMNS[SUBSCRIBER]))


def test_latencies_run_from_the_relay_and_of_measured_ticks_alone() -> None:
    found = rows((0, 0, 99, 110, 150), (1, 0, 100, 111, 152), (1, 1, 100, 111, 160))
    assert fanout_latencies(found, 100).tolist() == [41, 49]
    assert fanout_latencies(found, 0).tolist() == [40, 41, 49]


def test_each_subscribers_ticks_are_counted_and_those_who_missed_most_named_first() -> None:
    found = rows(
        *((seq, 0, seq, seq, seq + 5) for seq in range(10)),
        *((seq, 1, seq, seq, seq + 5) for seq in range(4)),
        *((seq, 3, seq, seq, seq + 5) for seq in range(9)),
    )
    reading = FanoutReading(found, 5, 4)
    assert reading.histogram.count == 5 + 4
    figures = reading.figures(relayed=10, ended=1, dropped=6)
    assert figures is not None
    assert (figures.subscribers, figures.ended, figures.dropped) == (4, 1, 6)
    assert (figures.expected, figures.received, figures.missed) == (40, 23, 17)
    assert (figures.fewest, figures.most) == (0, 10)
    assert figures.short == ((2, 10), (1, 6), (3, 1))
    assert figures.short_count == 3


def test_without_subscribers_there_are_no_figures() -> None:
    reading = FanoutReading(rows(), 0, 0)
    assert reading.figures(relayed=10, ended=0, dropped=0) is None


def test_at_most_ten_are_named() -> None:
    figures = FanoutReading(rows(), 0, 50).figures(relayed=3, ended=0, dropped=0)
    assert figures is not None
    assert (len(figures.short), figures.short_count, figures.missed) == (10, 50, 150)
