"""Several runs as one, as a person reads it: which runs, the table of hops, what differed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

from latbench.clock import NS_PER_S
from latbench.merging import Merged, MergedRun
from latbench.render.hops import HopTable
from latbench.render.ink import GUTTER, Drawn, Ink, Line, paragraph
from latbench.render.scenario import whole_s
from latbench.units import format_count, format_duration

_VALUES_SHOWN: Final = 4


class MergeReport(Drawn):
    """What several runs' ticks give together."""

    def __init__(self, merged: Merged) -> None:
        self._merged = merged

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """The sections, a blank line between them."""
        merged = self._merged
        used = [run for run in merged.runs if not run.left_out]
        ticks = format_count(sum(run.count for run in used))
        title = (
            f"latbench merge of {len(used)} run{'s' if len(used) != 1 else ''}: {ticks} ticks, "
            f"{format_duration(whole_s(merged.measured_ns))} measured"
        )
        lines = paragraph(title, width, ink, style="bold")
        for run in merged.runs:
            label, style = ("left out", "yellow") if run.left_out else ("run", "")
            lines += paragraph(
                _told(run), width, ink, label=label, label_style=style or "dim", gutter=GUTTER
            )
        table = HopTable(merged.hops, embedded=merged.embedded, hiccups=merged.hiccups)
        lines += [[], [("Latency by hop, all ticks together", "bold")], *table.draw(width, ink)]
        note = "Histograms were added; no percentile is a mean of others."
        lines += paragraph(note, width, ink, style="dim")
        doubts = list(self._doubts())
        if doubts:
            lines.append([])
        for text in doubts:
            lines += paragraph(
                text, width, ink, label="warning", label_style="yellow", gutter=GUTTER
            )
        return lines

    def _doubts(self) -> Iterator[str]:
        for each in self._merged.differences:
            shown = ", ".join(each.values[:_VALUES_SHOWN])
            more = len(each.values) - _VALUES_SHOWN
            yield f"the runs differ in {each.what}: {shown}{f' and {more} more' * (more > 0)}"


def _told(run: MergedRun) -> str:
    started = datetime.datetime.fromtimestamp(run.started_unix_ns // NS_PER_S, datetime.UTC)
    told = (
        f"{run.file}: {run.run_id}, {started:%Y-%m-%d %H:%M:%S} UTC, "
        f"{format_count(run.count)} ticks"
    )
    return f"{told}; {run.left_out}" if run.left_out else told
