"""Change points of a series by E-divisive, judged by Welch's t-test: where a level changed.

Where to split: D. S. Matteson and N. A. James, "A Nonparametric Approach for Multiple Change Point
Analysis of Multivariate Data", JASA 109 (2014): hierarchical bisection at the largest scaled energy
distance (exponent α = 1). Which splits to believe: M. Fleming et al., "Hunter: Using Change Point
Detection to Hunt for Performance Regressions", ICPE 2023: a t-test between neighbouring segments
instead of permutations, which makes it deterministic; windows that overlap; weak change points at
first, of which the least significant then go, one by one.

Otherwise than there:

- the test is Welch's. Student's pools the variances, and so takes a slow run and a few beside it
  for a level of their own;
- a segment has `MIN_SEGMENT` values or more, for the same reason;
- the test allows for noise that persists from one value to the next, as a machine's does
  (`variance_inflation`): without that, half of all series of 60 whose neighbours correlate by 0.5
  had a change point that was none, with it one in eleven (`docs/history.md` has the figures).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from latbench.student import two_sided_probability

WINDOW: Final = 50
"""Values that are looked at together."""
MAX_P: Final = 0.001
MIN_MAGNITUDE: Final = 0.05
MIN_SEGMENT: Final = 6
"""Values between two change points at least: with fewer, Welch's test can hardly be sure at 0.001
(|t| must exceed 8.6 for 5 that vary beside many that don't, 6.9 for 6)."""
LEAST_VALUES: Final = 2 * MIN_SEGMENT
"""In a series of fewer there can be no change point."""
_WEAK: Final = 10
"""A split is followed where the rest of its window differs at so many times `MAX_P` …"""
_PASSING: Final = 0.1
"""… or where a part of the rest does that begins with it, at so many times `MAX_P`. That part was
chosen out of many, so it takes more; what went up for ten values and back again is found by it."""
_MOST_CORRELATION: Final = 0.9

Values = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class ChangePoint:
    """A place where the level changed, and by how much between the segments beside it."""

    index: int
    """Of the first value after the change."""
    p_value: float
    """Of the test between the segments (two-sided)."""
    shift: float
    """Median of the segment after, less that of the segment before."""


def find_change_points(
    series: Sequence[float],
    *,
    window: int = WINDOW,
    max_p: float = MAX_P,
    min_shift: float = math.log1p(MIN_MAGNITUDE),
) -> list[ChangePoint]:
    """The change points of a series in its order, by index.

    Each has p < `max_p` between its neighbouring segments, and medians at least `min_shift` apart:
    of logarithms, ln 1.05 is 5 % up and as much down. The time it takes grows with the length of
    the series and with the square of the window.
    """
    values = np.asarray(series, dtype=np.float64)
    weak = _placed(_weak_points(values, window, max_p), values, window)
    if not weak:
        return []
    # once, in the finest segments: a change that is no longer split at passes for persistence
    inflation = variance_inflation(values, weak)
    points = _strengthened(weak, values, inflation, max_p, min_shift)
    placed = _placed([point.index for point in points], values, window)
    return _strengthened(placed, values, inflation, max_p, min_shift)


def segments(points: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """First index and end of each segment of a series with change points at these indices."""
    return itertools.pairwise([0, *points, length])


def welch_p(before: Values, after: Values, inflation: float = 1.0) -> float:
    """How probable means so far apart are by chance (two-sided); each of two values or more.

    B. L. Welch, "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34 (1947). `inflation`: so many values tell as much as one
    that is independent of others. Two different constants give 0.
    """
    difference = float(after.mean() - before.mean())
    errors = [inflation * float(part.var(ddof=1)) / len(part) for part in (before, after)]
    total = math.fsum(errors)
    if not total:
        return 0.0 if difference else 1.0
    # shares of the total, as squares of tiny variances would be 0
    degrees = 1 / math.fsum(
        (error / total) ** 2 / max(len(part) / inflation - 1, 1)
        for error, part in zip(errors, (before, after), strict=True)
    )
    return two_sided_probability(difference / math.sqrt(total), degrees)


def variance_inflation(values: Values, points: Sequence[int]) -> float:
    """By how much the variance of a segment's mean exceeds that of independent values; 1 or more.

    (1 + ρ) / (1 − ρ) for noise whose neighbours correlate by ρ (M. S. Bartlett, "Some aspects of
    the time-correlation problem", J. R. Stat. Soc. 98, 1935). ρ is estimated in all segments
    together, each without the straight line that fits it best: a drift is no noise. The bias that
    the lines give it, (2 + 4ρ)/n for n values each, is made good (as F. H. C. Marriott and
    J. A. Pope do for a mean, "Bias in the estimation of autocorrelations", Biometrika 41, 1954).
    """
    products = squares = 0.0
    for start, end in segments(points, len(values)):
        residuals = _without_line(values[start:end])
        products += float(residuals[1:] @ residuals[:-1])
        squares += float(residuals @ residuals)
    if not squares:
        return 1.0
    correlation = products / squares
    correlation += (len(points) + 1) * (2 + 4 * correlation) / len(values)
    correlation = min(max(correlation, 0.0), _MOST_CORRELATION)
    return (1 + correlation) / (1 - correlation)


def _without_line(values: Values) -> Values:
    """What a straight line through them (least squares) does not explain."""
    at = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    residuals: Values = centred - at * float(at @ centred) / float(at @ at)
    return residuals


# --- where to split -------------------------------------------------------------------------------


def _weak_points(values: Values, window: int, max_p: float) -> list[int]:
    """Where windows, each half over the one before, have a split; `MIN_SEGMENT` apart at least."""
    found: set[int] = set()
    start = 0
    while len(values) - start >= LEAST_VALUES:
        end = min(start + window, len(values))
        inside = [start + index for index in _bisect(values[start:end], max_p)]
        found.update(inside)
        if end == len(values):
            break
        # not back across a change point: where it can, a window begins with one level
        start = max([start + window // 2, *inside])
    kept: list[int] = []
    for index in sorted(found):  # two windows may have found the same change a value apart
        if index - (kept[-1] if kept else 0) >= MIN_SEGMENT:
            kept.append(index)
    return kept


def _bisect(values: Values, max_p: float) -> list[int]:
    """The best split of a window, then those of both its parts, as long as they differ."""
    sums = distance_sums(values)
    found: list[int] = []
    pending = [(0, len(values))]
    while pending:
        start, end = pending.pop()
        split = best_split(sums, start, end)
        if split is None:
            continue
        index, passing = split
        before = values[start:index]
        if (
            welch_p(before, values[index:end]) <= max_p * _WEAK
            or welch_p(before, values[index:passing]) <= max_p * _PASSING
        ):
            found.append(index)
            pending += [(start, index), (index, end)]
    return found


def _placed(indices: Sequence[int], values: Values, reach: int) -> list[int]:
    """Each point where the `reach` values on both sides of it, up to its neighbours, differ most.

    A window that ended a few values after a change had to split before it: `MIN_SEGMENT`.
    """
    placed: list[int] = []
    ends = [*indices, len(values)][1:]
    for index, after in zip(indices, ends, strict=True):
        start = max(placed[-1] if placed else 0, index - reach)
        end = min(after, index + reach)
        taus = np.arange(start + MIN_SEGMENT, end - MIN_SEGMENT + 1) - start
        sums = distance_sums(values[start:end])
        scaled = scaled_energy(sums, 0, taus, np.array([end - start]))
        placed.append(start + int(taus[int(np.argmax(scaled))]) if len(taus) else index)
    return placed


def distance_sums(values: Values) -> Values:
    """At [a, b] the sum of |xᵢ − xⱼ| over i < a, j < b: any block of distances in four look-ups."""
    sums = np.zeros((len(values) + 1, len(values) + 1))
    distances = np.abs(values[:, np.newaxis] - values)
    np.cumsum(np.cumsum(distances, axis=0), axis=1, out=sums[1:, 1:])
    return sums


def best_split(sums: Values, start: int, end: int) -> tuple[int, int] | None:
    """Where [start, τ) and [τ, κ) are farthest apart, as (τ, κ), κ ≤ `end`; None: too few values.

    κ short of `end` finds a level that did not last until there.
    """
    if end - start < LEAST_VALUES:
        return None
    taus = np.arange(start + MIN_SEGMENT, end - MIN_SEGMENT + 1)
    kappas = np.arange(start + LEAST_VALUES, end + 1)
    scaled = scaled_energy(sums, start, taus, kappas)
    row, column = np.unravel_index(int(np.argmax(scaled)), scaled.shape)
    return int(taus[row]), int(kappas[column])


def scaled_energy(sums: Values, start: int, taus: Any, kappas: Any) -> Values:
    """Q of [start, τ) and [τ, κ) for every τ (rows) and κ (columns); −∞ where the latter is short.

    Q = nm/(n+m) · (2·mean|X−Y| − mean|X−X′| − mean|Y−Y′|), means over pairs of different values:
    Matteson and James, (5) to (7).
    """
    tau, kappa = taus[:, np.newaxis], kappas[np.newaxis, :]
    is_whole = kappa - tau >= MIN_SEGMENT
    n, m = tau - start, np.where(is_whole, kappa - tau, MIN_SEGMENT)
    within_before = sums[tau, tau] - 2 * sums[start, tau] + sums[start, start]
    within_after = sums[kappa, kappa] - 2 * sums[tau, kappa] + sums[tau, tau]
    between = sums[tau, kappa] - sums[tau, tau] - sums[start, kappa] + sums[start, tau]
    energy = 2 * between / (n * m) - within_before / (n * (n - 1)) - within_after / (m * (m - 1))
    scaled: Values = np.where(is_whole, n * m / (n + m) * energy, -np.inf)
    return scaled


# --- which to believe -----------------------------------------------------------------------------


def _strengthened(
    indices: Sequence[int], values: Values, inflation: float, max_p: float, min_shift: float
) -> list[ChangePoint]:
    """Without the weakest, one by one, until all that are left hold.

    Each that goes leaves a longer segment to those beside it.
    """
    left = list(indices)
    while left:
        points = _judged(left, values, inflation)
        weakest = max(points, key=lambda point: (point.p_value, -abs(point.shift)))
        if weakest.p_value < max_p:
            weakest = min(points, key=lambda point: abs(point.shift))
            if abs(weakest.shift) >= min_shift:
                return points
        left.remove(weakest.index)
    return []


def _judged(indices: Sequence[int], values: Values, inflation: float) -> list[ChangePoint]:
    parts = [values[start:end] for start, end in segments(indices, len(values))]
    return [
        ChangePoint(
            index,
            welch_p(before, after, inflation),
            float(np.median(after) - np.median(before)),
        )
        for index, (before, after) in zip(indices, itertools.pairwise(parts), strict=True)
    ]
