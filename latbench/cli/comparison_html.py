"""Comparisons as HTML: both sides over one another, the verdict at their head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from latbench.ab_result import AbResult, AbRun
from latbench.ab_result import Side as Letter
from latbench.cli.comparison_output import worded
from latbench.cli.html import (
    intervals_of,
    plotly_bundle,
    read_side,
    told_side,
)
from latbench.cli.writing import write_file
from latbench.comparing import StoredComparison
from latbench.errors import LatbenchError
from latbench.render.ab_words import label_of, ratios_of, told_session
from latbench.render.html.page import draw_page
from latbench.render.html.sides import Side
from latbench.render.html.verdict import draw_verdict
from latbench.series import read_series, series_without_rows
from latbench.store import read_result
from latbench.stored import Stored
from latbench.stored_sides import Side as StoredSide

# --- stored results -----------------------------------------------------------------------------


def write_compared(path: Path, stored: StoredComparison, base: StoredSide, new: StoredSide) -> None:
    """Write the page of two sides of stored results; raises `LatbenchError` where it can't be."""
    left_out = {each.run for each in stored.comparison.unfit}
    sides = [read_side(_counting(side.stored, left_out), side.label) for side in (base, new)]
    page = draw_page(
        sides, plotly_js=plotly_bundle(), verdict_html=draw_verdict(worded(stored, base, new))
    )

    def write(sink: IO[bytes]) -> None:
        sink.write(page.encode())

    write_file(path, write)


def _counting(stored: Sequence[Stored], left_out: set[str]) -> list[Path]:
    """The files of a side that count; all where none does, for there is nothing else to draw."""
    counting = [Path(each.path) for each in stored if each.path not in left_out]
    return counting or [Path(each.path) for each in stored]


# --- sessions -----------------------------------------------------------------------------------


def draw_session(path: Path, result: AbResult) -> str:
    """The page of a session: both sides of its whole pairs.

    Over time they are drawn where the runs' own files were kept and are still there. Raises
    `LatbenchError` where no pair was measured.
    """
    told = told_session(result)
    if told is None or not result.results(Letter.A):
        raise LatbenchError(
            f"{path} has no whole pair to draw", f"latbench report {path} tells what there is"
        )
    runs = {side: result.runs_of(side) for side in Letter}
    files = _kept([run for side in Letter for run in runs[side]], path)
    labels = (label_of(result.plan.a), label_of(result.plan.b))
    sides = [
        _session_side(runs[side], files, label, path)
        for side, label in zip(Letter, labels, strict=True)
    ]
    ratios = [ratios_of(result, each.gate) for each in told.comparison.gates]
    return draw_page(sides, plotly_js=plotly_bundle(), verdict_html=draw_verdict(told, ratios))


def _kept(runs: Sequence[AbRun], session: Path) -> dict[int, Path]:
    """Where the runs' own files lie, by number; none where one of them is missing or another's."""
    found: dict[int, Path] = {}
    for run in runs:
        if not run.file:
            return {}
        # as it was named when it ran, or beside the session's file, wherever that was moved
        beside = session.with_name(f"{session.stem}.runs") / Path(run.file).name
        for path in (Path(run.file), beside):
            if path.is_file() and read_result(path).run_id == run.result.run_id:
                found[run.number] = path
                break
        else:
            return {}
    return found


def _session_side(runs: Sequence[AbRun], files: dict[int, Path], label: str, session: Path) -> Side:
    intervals = intervals_of(len(runs))
    series = [
        read_series(files[run.number], intervals)
        if files
        else series_without_rows(run.result, run.histograms)
        for run in runs
    ]
    sources = [str(files[run.number]) for run in runs] if files else [str(session)]
    return told_side([run.result for run in runs], series, label, sources)
