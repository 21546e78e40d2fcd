"""What is drawn: one side, or two against one another, each of one run or of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from latbench.pooling import Pool, pool
from latbench.render.report import INVALID, SEVERITIES
from latbench.result import RunResult
from latbench.series import Bins, PercentileCurve, Series, bins_of, curves_of

LETTERS: Final = ("A", "B")


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """One or several runs of the same scenario.

    `results` and `series` belong together, one by one. `findings` are worded already, (severity,
    text) each, with the severities of `render.report`; so is `advice`. `sources` says where the
    runs lie.
    """

    label: str
    results: tuple[RunResult, ...]
    series: tuple[Series, ...]
    findings: Sequence[tuple[str, str]] = ()
    advice: Sequence[str] = ()
    sources: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """A side with what is the same for all charts of it."""

    letter: str
    """`A` or `B`; "" where there is one side."""
    label: str
    """The side's, after its letter; "" where there is one side."""
    colour: str
    side: Side
    pool: Pool
    curves: Mapping[str, PercentileCurve]
    bins: Mapping[str, Bins]

    @property
    def is_valid(self) -> bool:
        """Whether no finding says that the figures can't be believed."""
        return all(severity != INVALID for severity, _ in self.side.findings)

    @property
    def findings(self) -> list[tuple[str, str]]:
        """The gravest first."""
        return sorted(self.side.findings, key=lambda finding: SEVERITIES.index(finding[0]))

    @property
    def dash(self) -> str:
        """Of its lines, where they are told apart by more than colour."""
        return "5px,3px" if self.letter == "A" else "solid"

    @property
    def is_one_run(self) -> bool:
        """Whether there is one."""
        return len(self.side.results) == 1

    def prefixed(self, name: str) -> str:
        """The name of a line in a chart: `A p99` where there are two sides."""
        return f"{self.letter} {name}" if self.letter else name


def prepare(sides: Sequence[Side]) -> tuple[Shown, ...]:
    """One side or two: pooled, with bins that have the same edges."""
    if not 1 <= len(sides) <= len(LETTERS):
        raise ValueError(f"{len(sides)} sides: there can be one or two")
    pools = [
        pool(side.results, [each.distributions for each in side.series]) for side in sides
    ]  # fmt: skip
    bins = bins_of([each.distributions for each in pools])
    return tuple(
        Shown(
            letter=letter if len(sides) > 1 else "",
            label=_label(letter, side.label) if len(sides) > 1 else "",
            colour=f"--side-{letter.lower()}",
            side=side,
            pool=pooled,
            curves=curves_of(pooled.distributions),
            bins=binned,
        )
        for letter, side, pooled, binned in zip(LETTERS, sides, pools, bins, strict=False)
    )


def _label(letter: str, label: str) -> str:
    return f"{letter} · {label}" if label and label != letter else letter
