"""One run against one run: what their own seconds tell, as `Samples` and `Sides`.

That is how exactly each run's figures are known, not how much two runs of the same thing differ,
which is more. So nothing is decided by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latbench.block_bootstrap import interval
from latbench.deciding import SHOWN, Samples, Sides, logarithms
from latbench.gates import Gate
from latbench.groups import Groups
from latbench.result import RunResult
from latbench.seconds import SecondHistograms
from latbench.thresholds import Statistic
from latbench.tick import HOPS

Floats = npt.NDArray[np.float64]

_SEEDS = (1, 2)
"""Of A and B: they must not draw the same seconds."""


class Redrawn:
    """A statistic of both runs, and what it is with other seconds of theirs."""

    def __init__(
        self, base_ns: float, new_ns: float, redrawn_base: Floats, redrawn_new: Floats
    ) -> None:
        self.base, self.new = np.array([base_ns]), np.array([new_ns])
        self._ratios = logarithms(redrawn_new) - logarithms(redrawn_base)
        self._shifts = redrawn_new - redrawn_base

    def ratio(self) -> float:
        """The estimate of B over A, as its natural logarithm."""
        return float(logarithms(self.new)[0] - logarithms(self.base)[0])

    def ratio_interval(self, alpha: float) -> tuple[float, float]:
        """What that logarithm lies between with probability 1 − `alpha`; may be infinite."""
        return interval(self._ratios, alpha)

    def ratio_p(self, centre: float) -> float:
        """How much of what was drawn lies beyond `centre`, twice."""
        if not self._ratios.size:
            return 1.0
        below = float(np.mean(self._ratios <= centre))
        above = float(np.mean(self._ratios >= centre))
        return min(1.0, 2 * min(below, above))

    def shift(self) -> float:
        """B less A, in nanoseconds."""
        return float(self.new[0] - self.base[0])

    def shift_interval(self, alpha: float) -> tuple[float, float]:
        """What that lies between with probability 1 − `alpha`; may be infinite."""
        return interval(self._shifts, alpha)


class SecondsSides(Sides):
    """Both runs, with intervals from their own seconds.

    Files are read one after the other, for each may take 100 MB until its seconds are drawn.
    """

    def __init__(
        self,
        base: tuple[Path, RunResult],
        new: tuple[Path, RunResult],
        gates: Sequence[Gate],
    ) -> None:
        """Raises `LatbenchError` for a file that can't be read."""
        self._results = base[1], new[1]
        super().__init__((base[1],), (new[1],), Groups)
        shown = itertools.product((hop.name for hop in HOPS), SHOWN)
        subjects = list(dict.fromkeys([*((g.hop, g.statistic) for g in gates), *shown]))
        self._redrawn: list[Mapping[tuple[str, str], Floats]] = []
        counts = []
        for (path, result), seed in zip((base, new), _SEEDS, strict=True):
            run = SecondHistograms(path, result)
            counts.append(run.intervals)
            self._redrawn.append(run.resampled(subjects, seed))
        self.interval_counts = counts[0], counts[1]

    def samples(self, hop: str, statistic: str) -> Samples | None:
        """Of a hop's statistic; None where a run has too few ticks to tell it."""
        wanted = Statistic(hop=hop, statistic=statistic)
        base_ns, new_ns = (wanted.read(result.hops) for result in self._results)
        if base_ns is None or new_ns is None:
            return None
        base, new = (each.get((hop, statistic), np.array([])) for each in self._redrawn)
        both = base.size and new.size
        none = np.array([])
        return Redrawn(base_ns, new_ns, base if both else none, new if both else none)
