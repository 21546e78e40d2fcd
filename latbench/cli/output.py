"""What a command prints of a result: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from latbench import advice
from latbench.export.summary import draw_json
from latbench.findings import describe, severity
from latbench.render.console import open_console
from latbench.render.plot import Plot, most_intervals
from latbench.render.report import ALLOWED, Report
from latbench.result import RunResult
from latbench.series import read_series


def show(
    result: RunResult,
    path: Path,
    *,
    as_json: bool,
    plotted: bool = False,
    besides: Mapping[str, Any] | None = None,
) -> None:
    """Print a result that lies at `path`.

    `plotted`: and below it what its rows look like; `besides`: what its JSON has in addition.
    """
    if as_json:
        typer.echo(draw_json(result, str(path), besides))
        return
    console = open_console(sys.stdout, os.environ)
    # read before anything is printed: a file whose rows are damaged is told in one line
    series = read_series(path, most_intervals(console.width)) if plotted else None
    console.print(worded(result, path))
    if series is not None:
        console.print()
        console.print(Plot(result, series))


def worded(result: RunResult, path: str | os.PathLike[str]) -> Report:
    """The report with findings and advice in words."""
    return Report(result, findings_of(result), path, advice=advice_of(result))


def findings_of(result: RunResult) -> list[tuple[str, str]]:
    """The findings in words, each with its severity."""
    return [
        (ALLOWED if finding.allowed else str(severity(finding)), describe(finding))
        for finding in result.findings
    ]


def advice_of(result: RunResult) -> list[str]:
    """The advice in words."""
    return [advice.describe(piece) for piece in result.advice]
