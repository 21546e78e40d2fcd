"""The report of an A/B session: what two sides say of each other, pair by pair."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from latbench.ab_result import AbResult
from latbench.comparison import Comparison
from latbench.render.ab_words import NOTHING, TITLE, noise_of, origin_of, ratios_of, told_session
from latbench.render.comparison_report import ComparisonReport
from latbench.render.ink import Drawn, Ink, Line, fields, paragraph
from latbench.render.pairs import draw_pairs


class AbReport(Drawn):
    """The verdict first; then gates, hops, pairs, and the machine's noise."""

    def __init__(self, result: AbResult, files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._result = result
        self._files = files

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Complete at 80 cells."""
        result = self._result
        told = told_session(result)
        if told is None:
            lines = paragraph(TITLE, width, ink, style="bold")
            lines += paragraph(NOTHING, width, ink, style="yellow")
        else:
            lines = ComparisonReport(told).draw(width, ink)
            lines += self._pairs(told.comparison, width, ink)
            noise = fields(noise_of(result), width, ink)
            if noise:
                lines += [[], [("How much A scatters", "bold")], *noise]
        return [*lines, [], *fields(self._origin(), width, ink)]

    def _pairs(self, comparison: Comparison, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for gate in comparison.gates:
            ratios = ratios_of(self._result, gate.gate)
            if ratios:
                name = gate.gate.short_subject
                lines.append(draw_pairs(name, ratios, gate.allowed, width, ink))
        if not lines:
            return []
        legend = "Each mark a pair (a digit: so many), B over A; | no change, ! what is allowed."
        return [
            [],
            [("Pairs", "bold")],
            *lines,
            *paragraph(legend, width, ink, style="dim"),
        ]

    def _origin(self) -> Iterator[tuple[str, str]]:
        yield from origin_of(self._result)
        for path in self._files:
            name = os.fspath(path)
            yield ("file" if name.endswith(".parquet") else "runs"), name
