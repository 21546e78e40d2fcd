"""Runs of two sides made at any time, none of one belonging to one of the other: as `Samples`."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from latbench import rank_sum
from latbench.deciding import logarithms

Floats = npt.NDArray[np.float64]

GROSS_SPREAD: Final = 4.0
"""Where one side's middle half is so many times as wide as the other's, they don't scatter alike:
the rank-sum test then finds in 7 % (10 and 10 runs) to 16 % (40 and 10) a change that is not there,
instead of 5 %. By chance 2 of 100 pairs of sides of ten like runs are so far apart."""


class Groups:
    """Two groups of runs: every one of the one is held against every one of the other.

    What the machine did meanwhile is in the scatter of both, so it takes more runs than pairs do.
    Decided by the Hodges–Lehmann interval of the rank-sum test, exact for up to 100 runs a side.
    """

    def __init__(self, base: Floats, new: Floats) -> None:
        self.base, self.new = base, new
        self._logs = logarithms(base), logarithms(new)

    def ratio(self) -> float:
        """The estimate of B over A, as its natural logarithm."""
        return rank_sum.hodges_lehmann(*self._logs)

    def ratio_interval(self, alpha: float) -> tuple[float, float]:
        """What that logarithm lies between with probability 1 − `alpha`; may be infinite."""
        return rank_sum.interval(*self._logs, alpha)

    def ratio_p(self, centre: float) -> float:
        """How probable such groups are where the logarithm is `centre`, two-sided."""
        return rank_sum.p_value(*self._logs, centre)

    def shift(self) -> float:
        """The estimate of B less A, in nanoseconds."""
        return rank_sum.hodges_lehmann(self.base, self.new)

    def shift_interval(self, alpha: float) -> tuple[float, float]:
        """What that lies between with probability 1 − `alpha`; may be infinite."""
        return rank_sum.interval(self.base, self.new, alpha)


def spread_ratio(base: Floats, new: Floats) -> float | None:
    """How many times as wide B scatters as A, by the middle halves of their logarithms.

    None where a side has fewer than four values, or no scatter at all.
    """
    if min(base.size, new.size) < 4:
        return None
    widths = [np.subtract(*np.quantile(logarithms(side), [0.75, 0.25])) for side in (base, new)]
    return float(widths[1] / widths[0]) if min(widths) > 0 else None
