"""What a command prints of an A/B session: the report, or all of it as JSON, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer

from latbench.ab_result import AbResult
from latbench.render.ab import AbReport
from latbench.render.console import open_console


def show_ab(result: AbResult, files: Sequence[Path], *, as_json: bool) -> None:
    """Print what a session found; `files`: where it lies."""
    if not as_json:
        open_console(sys.stdout, os.environ).print(AbReport(result, files))
        return
    told = msgspec.to_builtins(result)
    for run in told["runs"]:
        del run["histograms"]  # 20 kB a run, for programs that read the file
    told["files"] = [str(path) for path in files]
    typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
