"""What a command prints of a result: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from latbench import advice, saturation
from latbench.findings import describe, severity
from latbench.floor import floor_ns_by_hop, times_floor
from latbench.render.console import open_console
from latbench.render.report import ALLOWED, Report
from latbench.render.sweep import SweepReport
from latbench.render.sweep_words import answer, predictions
from latbench.result import RunResult
from latbench.sweep_points import describe_reason
from latbench.sweep_result import SweepResult


def show(result: RunResult, path: Path, *, as_json: bool) -> None:
    """Print a result that lies at `path`."""
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
    open_console(sys.stdout, os.environ).print(worded(result, path))


def worded(result: RunResult, path: str | os.PathLike[str]) -> Report:
    """The report with findings and advice in words."""
    findings = [
        (ALLOWED if finding.allowed else str(severity(finding)), describe(finding))
        for finding in result.findings
    ]
    told = [advice.describe(piece) for piece in result.advice]
    return Report(result, findings, path, advice=told)


def show_sweep(result: SweepResult, files: Sequence[Path], *, as_json: bool) -> None:
    """Print what a sweep found; `files`: where it lies."""
    if as_json:
        told = _as_builtins(result, files)
        typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
    else:
        open_console(sys.stdout, os.environ).print(SweepReport(result, files))


def _as_builtins(result: SweepResult, files: Sequence[Path]) -> dict[str, Any]:
    """The result with what follows from it, and everything in words."""
    told: dict[str, Any] = msgspec.to_builtins(result)
    told["answer"] = answer(result)
    told["files"] = [str(path) for path in files]
    told["predictions"] = [
        {"rate_hz": rate_hz, "latency_ns": value_ns} for rate_hz, value_ns in predictions(result)
    ]
    for point, of_point in zip(result.points, told["points"], strict=True):
        for reason, of_reason in zip(point.reasons, of_point["reasons"], strict=True):
            of_reason["text"] = describe_reason(reason)
    if result.fit is not None:
        told["fit"]["median_error"] = result.fit.median_error
        told["fit"]["worst_error"] = result.fit.worst_error
    if result.saturation is not None:
        told["saturation"]["text"] = saturation.headline(result.saturation)
        for sign, of_sign in zip(
            result.saturation.evidence, told["saturation"]["evidence"], strict=True
        ):
            of_sign["text"] = saturation.describe(sign)
    return told
