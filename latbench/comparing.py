"""Stored results against stored results: who counts, what is held against what, the verdict.

- 10 runs or more on each side: the rank-sum interval of each gate's ratio decides (`groups`).
- One new run against many of the base: it decides as well, once its exact interval is finite. A
  single value is the least or the greatest of n + 1 with probability 2/(n + 1), so at 5 % that
  takes 39 base runs for one gate and 79 for two.
- Fewer: the figures with what interval there is, and no verdict.
- One run a side: intervals from each run's own seconds (`within_runs`), and no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from latbench import deciding, likeness, rank_sum
from latbench.comparison import (
    Comparison,
    Difference,
    GateResult,
    Unfit,
    Verdict,
    overall,
)
from latbench.gates import Gate
from latbench.groups import GROSS_SPREAD, Groups, spread_ratio
from latbench.result import RunResult
from latbench.stored import Stored
from latbench.within_runs import SecondsSides

MIN_RUNS: Final = 10
"""Of each side, for a verdict."""


class Dominance(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a gate's statistic even where the sides scatter differently."""

    subject: str
    superiority: float
    """How often a run of B is above one of A, equal ones half."""
    p_value: float | None
    """How probable so much or so little is by chance (Brunner–Munzel); None: one run on a side."""
    spread_ratio: float | None
    """How many times as wide B scatters as A; None: not known."""

    @property
    def is_gross(self) -> bool:
        """Whether the sides scatter so differently that the interval is not to be relied on."""
        ratio = self.spread_ratio
        return ratio is not None and not 1 / GROSS_SPREAD <= ratio <= GROSS_SPREAD


class StoredComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What two sides' files say of each other."""

    comparison: Comparison
    dominances: tuple[Dominance, ...]
    """Of the gates, where there are several runs on a side."""
    within_runs: bool
    """Whether the intervals are of each run's own seconds: one run a side."""
    interval_counts: tuple[int, int] | None
    """How many intervals each of the two runs has; None with more runs."""
    enough_runs: bool
    """Whether there are enough for a verdict."""
    least_ticks: int
    """Measured ticks of the run that has the fewest; 0 where none counts."""


def compare(
    base: Sequence[Stored], new: Sequence[Stored], gates: Sequence[Gate], *, force: bool = False
) -> StoredComparison:
    """All that the files of A and of B say; `force`: also where they measured different things."""
    left_out = tuple(
        found
        for side, stored in (("A", base), ("B", new))
        for each in stored
        if (found := likeness.unfit(each.result, each.path, side)) is not None
    )
    bad = {each.run for each in left_out}
    fit = [[each for each in side if each.path not in bad] for side in (base, new)]
    results = [[each.result for each in side] for side in fit]
    known = bool(results[0] and results[1])
    mismatches = likeness.mismatches(*results) if known else ()
    differences = likeness.differences(*results) if known else ()
    if not known or (mismatches and not force):
        return _incomparable(results, mismatches, differences, left_out)
    one_each = len(fit[0]) == len(fit[1]) == 1
    intervals = None
    if one_each:
        base_run, new_run = ((Path(side[0].path), side[0].result) for side in fit)
        sides: deciding.Sides = (within := SecondsSides(base_run, new_run, gates))
        intervals = within.interval_counts
    else:
        sides = deciding.Sides(results[0], results[1], Groups)
    enough = _is_enough(len(fit[0]), len(fit[1]))
    decided = deciding.decide(gates, sides, deciding.ALPHA)
    if not enough:
        decided = tuple(map(_undecided, decided))
    return StoredComparison(
        comparison=Comparison(
            verdict=overall(decided),
            base_runs=len(fit[0]),
            new_runs=len(fit[1]),
            gates=decided,
            changes=deciding.changes(sides),
            blames=() if one_each else deciding.blame(decided, sides),
            mismatches=mismatches,
            differences=differences,
            unfit=left_out,
        ),
        dominances=() if one_each else _dominances(gates, sides),
        within_runs=one_each,
        interval_counts=intervals,
        enough_runs=enough,
        least_ticks=min(each.counts.measured for side in results for each in side),
    )


def _is_enough(base_runs: int, new_runs: int) -> bool:
    """Whether there may be a verdict. Of one new run the interval tells: it is infinite or not."""
    return base_runs >= MIN_RUNS and (new_runs >= MIN_RUNS or new_runs == 1)


def _undecided(result: GateResult) -> GateResult:
    return msgspec.structs.replace(result, verdict=Verdict.INCONCLUSIVE)


def _dominances(gates: Sequence[Gate], sides: deciding.Sides) -> tuple[Dominance, ...]:
    found = []
    for gate in gates:
        samples = sides.samples(gate.hop, gate.statistic)
        if samples is not None:
            found.append(
                Dominance(
                    subject=gate.subject,
                    superiority=rank_sum.superiority(samples.base, samples.new),
                    p_value=rank_sum.brunner_munzel(samples.base, samples.new),
                    spread_ratio=spread_ratio(samples.base, samples.new),
                )
            )
    return tuple(found)


def _incomparable(
    results: Sequence[Sequence[RunResult]],
    mismatches: tuple[Difference, ...],
    differences: tuple[Difference, ...],
    left_out: tuple[Unfit, ...],
) -> StoredComparison:
    return StoredComparison(
        comparison=Comparison(
            verdict=Verdict.INCOMPARABLE,
            base_runs=len(results[0]),
            new_runs=len(results[1]),
            gates=(),
            changes=(),
            blames=(),
            mismatches=mismatches,
            differences=differences,
            unfit=left_out,
        ),
        dominances=(),
        within_runs=False,
        interval_counts=None,
        enough_runs=False,
        least_ticks=0,
    )
