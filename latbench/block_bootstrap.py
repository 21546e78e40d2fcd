"""How far a statistic of one run may be off, by its own stretches of time drawn again.

Ticks that follow each other wait in the same queues, so single ones can't be drawn. Blocks of
neighbouring intervals can: H. R. Künsch, "The jackknife and the bootstrap for general stationary
observations", Annals of Statistics 17 (1989); here in a circle, so that each interval is drawn as
often as any other: D. N. Politis and J. P. Romano, "A circular block-resampling procedure for
stationary data", in "Exploring the Limits of Bootstrap" (1992).

Histograms of the drawn intervals are added, and a percentile is read from their sum: percentiles
of intervals are never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.histogram import highest_equivalent

RESAMPLES: Final = 1_000
MIN_INTERVALS: Final = 10
"""Fewer tell nothing of how they scatter."""

_AT_ONCE: Final = 200
"""Resamples whose histograms are added in one go: 200 of 5,000 counters take 8 MB."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint32]
Counters = npt.NDArray[np.int64]


def block_length(intervals: int) -> int:
    """Twice the cube root of how many there are: 4 of 10, 8 of 60, 17 of 600.

    The error is least where blocks grow with the cube root (Künsch); twice, for stalls of a machine
    last some seconds.
    """
    return max(1, min(intervals, round(2 * math.cbrt(intervals))))


def draw(intervals: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """How often each resample has each interval: `resamples` × `intervals`, the same for a seed.

    Blocks of `block_length` from anywhere, round the end, the last one cut so that each resample
    has as many intervals as there are.
    """
    length = block_length(intervals)
    random = np.random.default_rng(seed)
    begins = random.integers(0, intervals, size=(resamples, math.ceil(intervals / length)))
    chosen = (begins[:, :, None] + np.arange(length)) % intervals
    chosen = chosen.reshape(resamples, -1)[:, :intervals]
    drawn = np.zeros((resamples, intervals))
    np.add.at(drawn, (np.arange(resamples)[:, None], chosen), 1)
    return drawn


def means(drawn: Floats, counts: Floats, sums_ns: Floats) -> Floats:
    """Each resample's mean, of the intervals' samples and their sums; nan of no samples."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (drawn @ sums_ns) / (drawn @ counts)
    return found


def percentiles(
    drawn: Floats, counts: Counts, counters: Counters, percents: list[float]
) -> dict[float, Floats]:
    """Each resample's percentiles in nanoseconds; nan of a resample without samples.

    `counts`: a row an interval, a column for each of `counters` (a histogram's, ascending). The
    value is the highest of the counter with the sample of rank ⌈p·n⌉, as in `Histogram`.
    """
    values = np.array([highest_equivalent(int(each)) for each in counters], dtype=np.float64)
    parts: dict[float, list[Floats]] = {percent: [] for percent in percents}
    for summed in _added(drawn, counts):
        cumulated = np.cumsum(summed, axis=1)
        total = cumulated[:, -1]
        for percent in percents:
            rank = np.maximum(np.ceil(np.round(percent * total / 100, 6)), 1)
            place = np.argmax(cumulated >= rank[:, None], axis=1)
            parts[percent].append(np.where(total > 0, values[place], np.nan))
    return {percent: np.concatenate(found) for percent, found in parts.items()}


def _added(drawn: Floats, counts: Counts) -> Iterator[Floats]:
    """The summed histograms of some resamples after the other; exact, for floats hold 2^53."""
    each = counts.astype(np.float64)
    for begin in range(0, len(drawn), _AT_ONCE):
        yield drawn[begin : begin + _AT_ONCE] @ each


def interval(values: Floats, alpha: float) -> tuple[float, float]:
    """What lies between all but `alpha` of the resampled values, both ends alike."""
    if not values.size or not np.isfinite(values).all():
        return -math.inf, math.inf
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
