"""A run in pictures made of text, below its report."""

from __future__ import annotations

from typing import Final

from latbench.render.axes import side_by_side
from latbench.render.distribution import draw_histogram, draw_percentiles
from latbench.render.ink import Drawn, Ink, Line, paragraph
from latbench.render.over_time import columns_of, draw_over_time, draw_shares_over_time
from latbench.result import RunResult
from latbench.series import Series

_TWO_ABREAST: Final = 150
"""From so many cells on, what is not over time stands side by side."""
_GAP: Final = 4


def most_intervals(width: int) -> int:
    """How many intervals a terminal has room for: a cell each."""
    return columns_of(width)


class Plot(Drawn):
    """Latency over time, where the time went, percentile curves and a histogram."""

    def __init__(self, result: RunResult, series: Series) -> None:
        self._result = result
        self._series = series

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """The pictures, a blank line between them."""
        series, result = self._series, self._result
        timeline = series.timeline
        if "end_to_end" not in series.distributions:
            told = "No tick was measured from end to end: there is nothing to draw."
            return paragraph(told, width, ink)
        embedded = result.config.is_embedded
        sections = []
        if timeline is not None:
            sections += [
                draw_over_time(timeline, width, ink, embedded=embedded),
                draw_shares_over_time(timeline, width, ink),
            ]
        each = (width - _GAP) // 2 if width >= _TWO_ABREAST else width
        percentiles = draw_percentiles(series, each, ink)
        histogram = draw_histogram(series, result.hop("end_to_end"), each, ink)
        if width >= _TWO_ABREAST:
            sections.append(side_by_side(percentiles, histogram, each + _GAP))
        else:
            sections += [percentiles, histogram]
        lines: list[Line] = []
        for section in filter(None, sections):
            lines += [*([[]] if lines else []), *section]
        return lines
