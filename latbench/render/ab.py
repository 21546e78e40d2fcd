"""The report of an A/B session (the comparison's body comes with the compare report)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from latbench.ab_result import AbResult
from latbench.render.ink import Drawn, Ink, Line, paragraph


class AbReport(Drawn):
    """A placeholder body until the shared comparison report is merged."""

    def __init__(self, result: AbResult, files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._result = result
        self._files = files

    def draw(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        comparison = self._result.comparison
        if comparison is None:
            return lines
        for each in comparison.gates:
            lines += paragraph(repr(each), width, ink)
        for b in comparison.blames:
            lines += paragraph(repr(b), width, ink)
        return lines
