"""Paired differences: where their centre lies, and how surely, without a model of the noise.

F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945); the
estimate is J. L. Hodges and E. L. Lehmann's, "Estimates of location based on rank tests", Annals
of Mathematical Statistics 34 (1963): the median of all Walsh averages. The test's distribution is
exact, so it holds for ten pairs, and asks no more than that differences scatter symmetrically about
their centre: differences of two measurements that scatter alike do.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_PAIRS = 1_000
"""The exact distribution of as many takes 4 MB and half a second."""


def walsh_averages(differences: Floats) -> Floats:
    """The mean of each two differences, each with itself too: n(n+1)/2 of them, ascending."""
    rows, columns = np.triu_indices(differences.size)
    averages: Floats = np.sort((differences[rows] + differences[columns]) / 2)
    return averages


def hodges_lehmann(differences: Floats) -> float:
    """The centre of the differences: the median of their Walsh averages; nan of none."""
    return float(np.median(walsh_averages(differences))) if differences.size else math.nan


def interval(differences: Floats, alpha: float) -> tuple[float, float]:
    """What the centre lies between with probability 1 − `alpha` at least, both ends alike.

    All centres that a two-sided signed-rank test at `alpha` does not reject. Infinite where there
    are too few differences to reject any (5 at 5 %, 6 at 2.5 %).
    """
    averages = walsh_averages(differences)
    beyond = _below(differences.size)
    # the largest k with P(T ≤ k−1) ≤ α/2: the k-th average from either end
    k = int(np.searchsorted(beyond, alpha / 2 * (1 + 1e-12), side="right"))
    if k < 1:
        return -math.inf, math.inf
    return float(averages[k - 1]), float(averages[averages.size - k])


def least_pairs(alpha: float) -> int:
    """How many differences it takes until an interval at 1 − `alpha` has two ends: 2⁻ⁿ ≤ α/2."""
    return math.ceil(math.log2(2 / alpha))


def p_value(differences: Floats, centre: float = 0.0) -> float:
    """How probable differences as far from `centre` are by chance, two-sided, 1 at most.

    A Walsh average that equals `centre` counts half, and halves against the finding.
    """
    averages = walsh_averages(differences)
    total = averages.size
    if not total:
        return 1.0
    above = int(np.count_nonzero(averages > centre))
    equal = int(np.count_nonzero(averages == centre))
    beyond = _below(differences.size)
    most = above + equal - equal // 2  # rounded towards the middle of the distribution
    least = above + equal // 2
    lower = float(beyond[most]) if most <= total else 1.0
    upper = float(beyond[total - least])
    return min(1.0, 2 * min(lower, upper))


@functools.cache
def _below(count: int) -> Floats:
    """P(T ≤ t) for t = 0 … n(n+1)/2: T the sum of the ranks of those above the centre, of `count`.

    Each rank is in the sum or not, with a probability of one half.
    """
    if count > MAX_PAIRS:
        raise ValueError(f"{count} pairs are more than {MAX_PAIRS}")
    chances = np.ones(1)
    for rank in range(1, count + 1):
        longer = np.zeros(chances.size + rank)
        longer[: chances.size] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    summed: Floats = np.minimum(np.cumsum(chances), 1.0)
    return summed
