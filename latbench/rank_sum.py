"""Two groups of independent values: how far apart they lie, and how surely.

H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically
larger than the other", Annals of Mathematical Statistics 18 (1947); the estimate is J. L. Hodges
and E. L. Lehmann's (ibid. 34, 1963): the median of all differences between a value of the one group
and one of the other; its interval has the differences that the test does not reject (P. K. Sen,
Biometrics 19, 1963). All that takes both groups to scatter alike about their centres.

Where they don't, E. Brunner and U. Munzel, "The nonparametric Behrens-Fisher problem", Biometrical
Journal 42 (2000), tells whether a value of the one is more often above one of the other.
"""

from __future__ import annotations

import functools
import math
import statistics
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.student import two_sided_probability

Floats = npt.NDArray[np.float64]

EXACT_PAIRS: Final = 10_000
"""Up to so many pairs (100 of each) the distribution is exact (0.1 s at most); beyond it is the
normal one, which differs by less than 0.0002 there."""

MAX_VALUES: Final = 1_000
"""Of each group: a million pairs take 8 MB."""


def differences(base: Floats, new: Floats) -> Floats:
    """Each value of `new` less each of `base`, ascending: n·m of them."""
    if max(base.size, new.size) > MAX_VALUES:
        raise ValueError(f"{max(base.size, new.size)} values are more than {MAX_VALUES}")
    pairs: Floats = np.sort(np.subtract.outer(new, base), axis=None)
    return pairs


def hodges_lehmann(base: Floats, new: Floats) -> float:
    """By how much `new` lies above `base`: the median of all differences; nan of none."""
    pairs = differences(base, new)
    return float(np.median(pairs)) if pairs.size else math.nan


def interval(base: Floats, new: Floats, alpha: float) -> tuple[float, float]:
    """What that shift lies between with probability 1 − `alpha` at least, both ends alike.

    The k-th difference from either end, k the largest with P(U ≤ k−1) ≤ α/2. Ties make it wider
    than it need be, never narrower (its ends belong to it). Infinite where there are too few
    values to reject anything: 3 and 3 at 5 %, or 1 and 38.
    """
    pairs = differences(base, new)
    k = _rejected(base.size, new.size, alpha / 2)
    if k < 1:
        return -math.inf, math.inf
    return float(pairs[k - 1]), float(pairs[pairs.size - k])


def _rejected(few: int, many: int, probability: float) -> int:
    """How many values of U from 0 on have together at most that probability."""
    if not few or not many:
        return 0
    few, many = sorted((few, many))
    if few * many <= EXACT_PAIRS:
        below = _below(few, many)
        return int(np.searchsorted(below, probability * (1 + 1e-12), side="right"))
    mean, deviation = few * many / 2, math.sqrt(few * many * (few + many + 1) / 12)
    quantile = statistics.NormalDist().inv_cdf(probability)
    return max(math.floor(mean - 0.5 + quantile * deviation) + 1, 0)


def p_value(base: Floats, new: Floats, shift: float = 0.0) -> float:
    """How probable groups as far from `shift` apart are by chance, two-sided, 1 at most.

    Exact where no two values tie and there are few, else by the normal distribution, corrected for
    ties and for U being whole.
    """
    pairs = differences(base, new)
    if not pairs.size:
        return 1.0
    above = float(np.count_nonzero(pairs > shift)) + np.count_nonzero(pairs == shift) / 2
    extreme = max(above, pairs.size - above)
    values = np.concatenate([base + shift, new])
    _, ties = np.unique(values, return_counts=True)
    is_tied = ties.size < values.size or not extreme.is_integer()
    few, many = sorted((base.size, new.size))
    if not is_tied and pairs.size <= EXACT_PAIRS:
        return min(1.0, 2 * float(_below(few, many)[pairs.size - int(extreme)]))
    total = few + many
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    deviation = math.sqrt(pairs.size / 12 * (total + 1 - tied))
    if not deviation:
        return 1.0
    z = (extreme - pairs.size / 2 - 0.5) / deviation
    return min(1.0, math.erfc(z / math.sqrt(2)))


def superiority(base: Floats, new: Floats) -> float:
    """P(B > A) + P(B = A)/2: how often a value of `new` is above one of `base`; nan of none."""
    pairs = differences(base, new)
    if not pairs.size:
        return math.nan
    return float(np.count_nonzero(pairs > 0) + np.count_nonzero(pairs == 0) / 2) / pairs.size


def brunner_munzel(base: Floats, new: Floats) -> float | None:
    """How probable a `superiority` so far from one half is by chance, however either scatters.

    By Student's t with Satterthwaite's degrees of freedom. Never below 2/C(n+m, n), which is as
    rare as any order of n + m values is: groups that don't overlap have no scatter to judge by.
    None with fewer than two values on a side.
    """
    if min(base.size, new.size) < 2:
        return None
    rarest = 2 / math.comb(base.size + new.size, base.size)
    ranks = _ranks(np.concatenate([base, new]))
    of_base, of_new = ranks[: base.size], ranks[base.size :]
    scatter_base = _variance(of_base - _ranks(base)) / new.size**2
    scatter_new = _variance(of_new - _ranks(new)) / base.size**2
    share_base, share_new = scatter_base / base.size, scatter_new / new.size
    distance = superiority(base, new) - 0.5
    if not share_base + share_new:
        return rarest if distance else 1.0
    t = distance / math.sqrt(share_base + share_new)
    degrees = (share_base + share_new) ** 2 / (
        share_base**2 / (base.size - 1) + share_new**2 / (new.size - 1)
    )
    return max(two_sided_probability(t, degrees), rarest)


def _variance(values: Floats) -> float:
    return float(np.var(values, ddof=1))


def _ranks(values: Floats) -> Floats:
    """From 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


@functools.cache
def _below(few: int, many: int) -> Floats:
    """P(U ≤ u) for u = 0 … few·many: U counts the pairs whose value of the one group is greater.

    The greatest of all values belongs to either group with the probability of its share, and is
    then above all of the other: so each distribution is made of two smaller ones.
    """
    row = [np.ones(1) for _ in range(many + 1)]  # of 0 and j
    for i in range(1, few + 1):
        fresh = [np.ones(1)]
        for j in range(1, many + 1):
            chances = np.zeros(i * j + 1)
            chances[j:] += i / (i + j) * row[j]
            chances[: i * (j - 1) + 1] += j / (i + j) * fresh[j - 1]
            fresh.append(chances)
        row = fresh
    summed: Floats = np.minimum(np.cumsum(row[many]), 1.0)
    return summed
