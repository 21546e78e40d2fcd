"""Result files in, one HTML report out: of a run, of several, or of two sides."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from latbench.cli.output import advice_of, findings_of
from latbench.cli.writing import choose_output, write_file, write_stdout
from latbench.render.html.page import draw_page
from latbench.render.html.sides import Side
from latbench.result import Finding, RunResult
from latbench.series import Series, read_series
from latbench.store import read_result

LABELS: Final = ("A", "B")
MOST_INTERVALS: Final = 240
LEAST_INTERVALS: Final = 20


def write_html(
    base: Sequence[Path],
    new: Sequence[Path] = (),
    output: Path | None = None,
    *,
    labels: tuple[str, str] = LABELS,
    verdict_html: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the report of `base`, against `new` where that is given; to stdout without `output`.

    A file appears whole or not at all. Several files on a side are runs of one scenario. Raises
    `LatbenchError` for what is no result file, and where the report can't be written; `UsageError`
    where one is there already.
    """
    if output is not None:
        choose_output(output, [*base, *new], overwrite=overwrite)

    def write(sink: IO[bytes]) -> None:
        sink.write(draw_html(base, new, labels=labels, verdict_html=verdict_html).encode())

    if output is None:
        write_stdout(write, binary=False, option="html")
    else:
        write_file(output, write)


def draw_html(
    base: Sequence[Path],
    new: Sequence[Path] = (),
    *,
    labels: tuple[str, str] = LABELS,
    verdict_html: str | None = None,
) -> str:
    """The report as text; raises `LatbenchError` for what is no result file."""
    sides = [read_side(base, labels[0])]
    if new:
        sides.append(read_side(new, labels[1]))
    return draw_page(sides, plotly_js=plotly_bundle(), verdict_html=verdict_html)


def plotly_bundle() -> str:
    """Plotly's own script from its package, 4.8 MB; only who draws a page needs it."""
    bundle: str = importlib.import_module("plotly.offline").get_plotlyjs()
    return bundle


def read_side(paths: Sequence[Path], label: str = "") -> Side:
    """A side from its result files."""
    results = [read_result(path) for path in paths]
    intervals = intervals_of(len(paths))
    series = [read_series(path, intervals) for path in paths]
    return told_side(results, series, label, [str(path) for path in paths])


def intervals_of(runs: int) -> int:
    """How many each run's lines have: many over one another are only readable with few points."""
    return max(MOST_INTERVALS // runs, LEAST_INTERVALS)


def told_side(
    results: Sequence[RunResult], series: Sequence[Series], label: str, sources: Sequence[str]
) -> Side:
    """A side with findings and advice in words."""
    return Side(
        label=label,
        results=tuple(results),
        series=tuple(series),
        findings=once(results, findings_of, lambda result: result.findings),
        advice=[
            words
            for _, words in once(
                results,
                lambda result: [("", words) for words in advice_of(result)],
                lambda result: result.advice,
            )
        ],
        sources=sources,
    )


def once(
    results: Sequence[RunResult],
    word: Callable[[RunResult], Sequence[tuple[str, str]]],
    read: Callable[[RunResult], Sequence[Finding]],
) -> list[tuple[str, str]]:
    """Each kind of finding once in words, of several runs with how many have it."""
    found: dict[tuple[str, bool, str], list[tuple[str, str]]] = {}
    for result in results:
        for finding, worded in zip(read(result), word(result), strict=True):
            # what distinguishes two of a kind in one run: whose they are
            whose = "/".join(each for each in finding.values.values() if isinstance(each, str))
            found.setdefault((finding.code, finding.allowed, whose), []).append(worded)
    if len(results) == 1:
        return [each for alike in found.values() for each in alike]
    told = []
    for alike in found.values():
        gravity, words = alike[0]
        such = "" if len(set(alike)) == 1 else ", one of them"
        told.append((gravity, f"{len(alike)} of {len(results)} runs{such}: {words}"))
    return told
