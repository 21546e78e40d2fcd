"""Result files in, one HTML report out: of a run, of several, or of two sides."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from latbench import advice
from latbench.errors import LatbenchError, UsageError, reason
from latbench.findings import describe, severity
from latbench.render.html.page import draw_page
from latbench.render.html.sides import Side
from latbench.render.report import ALLOWED
from latbench.result import Finding, RunResult
from latbench.series import read_series
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
    if output is not None and output.is_dir():
        raise UsageError(f"{output} is a directory", f"write --output {output / 'report.html'}")
    if output is not None and output.exists() and not overwrite:
        raise UsageError(f"{output} is there already", "choose another --output, or move it away")
    page = draw_html(base, new, labels=labels, verdict_html=verdict_html)
    if output is None:
        sys.stdout.write(page)
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(output)
    except OSError as error:
        raise LatbenchError(
            f"can't write {output}: {reason(error)}", "make room, or choose another --output"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


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
    """A side from its result files, with findings and advice in words."""
    results = tuple(read_result(path) for path in paths)
    # lines of many runs over one another are only readable if each has few points
    intervals = max(MOST_INTERVALS // len(paths), LEAST_INTERVALS)
    return Side(
        label=label,
        results=results,
        series=tuple(read_series(path, intervals) for path in paths),
        findings=_worded_findings(results),
        advice=[
            words
            for _, words in _once(
                results, lambda each: each.advice, lambda piece: ("", advice.describe(piece))
            )
        ],
        sources=[str(path) for path in paths],
    )


def _worded_findings(results: Sequence[RunResult]) -> list[tuple[str, str]]:
    return _once(
        results,
        lambda each: each.findings,
        lambda finding: (
            ALLOWED if finding.allowed else str(severity(finding)),
            describe(finding),
        ),
    )


def _once(
    results: Sequence[RunResult],
    read: Callable[[RunResult], Sequence[Finding]],
    word: Callable[[Finding], tuple[str, str]],
) -> list[tuple[str, str]]:
    """Each kind of finding once, of several runs with how many have it."""
    found: dict[tuple[str, bool, str], list[tuple[str, str]]] = {}
    for result in results:
        for finding in read(result):
            # what distinguishes two of a kind in one run: whose they are
            whose = "/".join(str(value) for value in finding.values.values() if _is_name(value))
            found.setdefault((finding.code, finding.allowed, whose), []).append(word(finding))
    if len(results) == 1:
        return [each for alike in found.values() for each in alike]
    worded = []
    for alike in found.values():
        gravity, words = alike[0]
        whose = "" if len(set(alike)) == 1 else ", one of them"
        worded.append((gravity, f"{len(alike)} of {len(results)} runs{whose}: {words}"))
    return worded


def _is_name(value: float | str) -> bool:
    return isinstance(value, str)
