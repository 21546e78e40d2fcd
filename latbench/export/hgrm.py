"""A hop's percentile distribution as HdrHistogram's tools write it (`.hgrm`): its plotter's input.

The format is that of `AbstractHistogram.outputPercentileDistribution` (HdrHistogram 2.2.2) with
five points for each halving of the distance to 100 %. `hdrh`'s own writer has its points elsewhere
(0.19 and 0.271 in the place of 0.2 and 0.3) and does not scale the deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from latbench.clock import NS_PER_MS
from latbench.histogram import BUCKETS, SUB_BUCKETS, Histogram, highest_equivalent

POINTS_PER_HALVING: Final = 5


def draw_hgrm(histogram: Histogram) -> str:
    """The distribution of a histogram that has samples, in milliseconds.

    Points go up to the maximum, as the format has it, also where fewer than 100 samples lie above.
    """
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for percent, value_ns, count in points(histogram):
        share = percent / 100
        line = f"{value_ns / NS_PER_MS:12.3f} {share:2.12f} {count:10d}"
        lines.append(f"{line} {1 / (1 - share):14.2f}" if share < 1 else line)
    mean_ms, stdev_ms = histogram.mean_ns / NS_PER_MS, histogram.stdev_ns / NS_PER_MS
    lines += [
        f"#[Mean    = {mean_ms:12.3f}, StdDeviation   = {stdev_ms:12.3f}]",
        f"#[Max     = {histogram.max_ns / NS_PER_MS:12.3f}, "
        f"Total count    = {histogram.count:12d}]",
        f"#[Buckets = {BUCKETS:12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
    ]
    return "\n".join(lines) + "\n"


def points(histogram: Histogram) -> Iterator[tuple[float, int, int]]:
    """Percent, value in ns and the count up to it, denser towards 100 %, which comes last.

    A value is the highest of its counter, but never above the exact maximum.
    """
    used = np.flatnonzero(histogram.counts)
    cumulated = np.cumsum(histogram.counts[used])
    reached = 100.0 * cumulated / histogram.count
    percent, last = 0.0, used.size - 1
    while True:
        at = min(int(np.searchsorted(reached, percent)), last)
        value_ns = min(highest_equivalent(int(used[at])), histogram.max_ns)
        yield percent, value_ns, int(cumulated[at])
        if at == last:
            break
        halvings = int(math.log2(100 / (100 - percent))) + 1
        percent += 100 / (POINTS_PER_HALVING * 2**halvings)
    yield 100.0, histogram.max_ns, histogram.count
