"""`latbench merge`: several runs as one."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from latbench.cli.sources import read_run
from latbench.cli.writing import choose_output, write_file
from latbench.errors import UsageError
from latbench.histogram import Histogram
from latbench.merging import Merged, Part, draw_log, histograms_of, merge_runs
from latbench.render.console import open_console
from latbench.render.merged import MergeReport


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Result files.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.hlog",
            help="Also write the histograms as a log of HdrHistogram.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    take_all: Annotated[
        bool, typer.Option("--all", help="Also runs that failed or are no valid measurement.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> int:
    """Add the histograms of several runs: percentiles of all their ticks together."""
    if output is not None:
        choose_output(output, files, overwrite=overwrite)
        if output.suffix == ".parquet":
            raise UsageError(
                f"{output} would be no result file: a merge writes a log of HdrHistogram",
                "write --output merged.hlog",
            )
    results = [(path, read_run(path, "merge")) for path in files]
    parts = [
        Part(str(path), result, functools.partial(histograms_of, path, result))
        for path, result in results
    ]
    merged, histograms = merge_runs(parts, take_all=take_all)
    if output is not None:
        write_file(output, functools.partial(_write_log, merged, histograms))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(merged), indent=2))
    else:
        open_console(sys.stdout, os.environ).print(MergeReport(merged))
    if output is not None:
        typer.echo(f"histograms written to {output}", err=True)
    return 0


def _write_log(merged: Merged, histograms: Mapping[str, Histogram], sink: IO[bytes]) -> None:
    sink.write(draw_log(merged, histograms).encode())
