"""What a command prints of a sweep: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from latbench import saturation
from latbench.render.console import open_console
from latbench.render.sweep import SweepReport
from latbench.render.sweep_words import answer, predictions
from latbench.sweep_points import describe_reason
from latbench.sweep_result import SweepResult


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
