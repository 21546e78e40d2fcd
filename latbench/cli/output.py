"""What a command prints of a result: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from latbench import advice
from latbench.export.summary import draw_json
from latbench.findings import describe, severity
from latbench.render.console import open_console
from latbench.render.report import ALLOWED, Report
from latbench.result import RunResult


def show(result: RunResult, path: Path, *, as_json: bool) -> None:
    """Print a result that lies at `path`."""
    if as_json:
        typer.echo(draw_json(result, str(path)))
        return
    open_console(sys.stdout, os.environ).print(worded(result, path))


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
