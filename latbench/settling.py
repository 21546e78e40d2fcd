"""Whether a latency has settled: by the medians of successive seconds, against their own noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

WINDOW_S: Final = 5
"""Two neighbouring windows of so many seconds are compared: a warm-up takes at least both."""
LEAST_CHANGE: Final = 0.05
MOST_CHANGE: Final = 0.15
"""Medians of settled windows differ by the noise of their seconds, but 5 % is never too much and
15 % always: a broker that is getting warm is noisy as well, and would pass for settled by that."""

DRIFT_CHANGE: Final = 0.10
DRIFT_ERRORS: Final = 3.0
"""Thirds differ when their medians do by 10 % and by three standard errors."""
MIN_THIRD_S: Final = 5
"""Of three values the median deviation says too little of their noise: seconds that scatter by 10 %
around the same latency passed for a drift in one run of ten, with five in one of 28."""

_MAD_TO_SIGMA: Final = 1.4826
_MEDIAN_ERROR: Final = 1.2533
"""The standard error of a median is √(π/2) σ/√n; σ is taken from the median absolute deviation, so
that single seconds with a stall don't count (Rousseeuw & Croux 1993)."""


def has_settled(medians_ns: Sequence[int]) -> bool:
    """Whether the last ten of these per-second medians have stopped changing."""
    if len(medians_ns) < 2 * WINDOW_S or min(medians_ns[-2 * WINDOW_S :]) <= 0:
        return False
    # ratios are what matters: from 20 ms to 19 as from 0.20 ms to 0.19
    seconds = [math.log(value) for value in medians_ns[-2 * WINDOW_S :]]
    earlier, later = seconds[:WINDOW_S], seconds[WINDOW_S:]
    allowed = min(max(_noise(earlier, later), LEAST_CHANGE), MOST_CHANGE)
    return abs(float(np.median(later)) - float(np.median(earlier))) <= allowed


@dataclasses.dataclass(frozen=True, slots=True)
class Drift:
    """Two thirds of a run that differ by more than noise."""

    first_ns: float
    last_ns: float
    """Medians of the per-second medians of the first and the last third."""


def find_drift(medians_ns: Sequence[int]) -> Drift | None:
    """How the first third of these per-second medians differs from the last; None: not clearly."""
    known = [value for value in medians_ns if value > 0]
    third = len(known) // 3
    if third < MIN_THIRD_S:
        return None
    first, last = known[:third], known[-third:]
    difference = math.log(float(np.median(last)) / float(np.median(first)))
    noise = _noise([math.log(value) for value in first], [math.log(value) for value in last])
    if abs(difference) <= max(DRIFT_ERRORS * noise, DRIFT_CHANGE):
        return None
    return Drift(first_ns=float(np.median(first)), last_ns=float(np.median(last)))


def _noise(one: Sequence[float], other: Sequence[float]) -> float:
    """The standard error of the difference of two samples' medians."""
    total = 0.0
    for sample in (one, other):
        values = np.asarray(sample)
        factor = _MAD_TO_SIGMA * _of_few(len(values))
        sigma = factor * float(np.median(np.abs(values - np.median(values))))
        total += (_MEDIAN_ERROR * sigma) ** 2 / len(values)
    return math.sqrt(total)


def _of_few(count: int) -> float:
    """What the median absolute deviation of few values has to be multiplied by on average.

    Croux & Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale" (1992).
    """
    known = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
    return known.get(count, count / (count - 0.8))
