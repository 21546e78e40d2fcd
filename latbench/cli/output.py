"""What a command prints of a result: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import typer

from latbench import advice
from latbench.findings import describe, severity
from latbench.floor import floor_ns_by_hop, times_floor
from latbench.render.console import open_console
from latbench.render.plot import Plot, most_intervals
from latbench.render.report import ALLOWED, Report
from latbench.result import RunResult
from latbench.series import read_series


def show(result: RunResult, path: Path, *, as_json: bool, plotted: bool = False) -> None:
    """Print a result that lies at `path`; `plotted`: and below it what its rows look like."""
    if as_json:
        summary = msgspec.to_builtins(result)
        summary["file"] = str(path)
        if result.floor is not None:
            summary["floor"]["floor_ns"] = floor_ns_by_hop(result.floor)
            summary["floor"]["times_floor"] = times_floor(result.floor, result.hops)
        for finding, told in zip(result.findings, summary["findings"], strict=True):
            told["severity"] = str(severity(finding))
            told["text"] = describe(finding)
        for piece, told in zip(result.advice, summary["advice"], strict=True):
            told["text"] = advice.describe(piece)
        typer.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2))
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
    findings = [
        (ALLOWED if finding.allowed else str(severity(finding)), describe(finding))
        for finding in result.findings
    ]
    told = [advice.describe(piece) for piece in result.advice]
    return Report(result, findings, path, advice=told)
