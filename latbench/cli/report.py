"""`latbench report`: print the report of a result file, or of what a killed run left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latbench import verification
from latbench.ab_file import read_ab
from latbench.cli import ab_output, output, sweep_output
from latbench.conclude import conclude
from latbench.errors import LatbenchError, UsageError
from latbench.result import RunStatus
from latbench.spool import SUFFIX, SpoolReader, spool_path
from latbench.store import read_result
from latbench.summary_kinds import SummaryKind, summary_kind
from latbench.sweep_file import read_sweep


def report(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A result file, or the directory FILE.partial of a run that was killed.",
        ),
    ],
    save: Annotated[
        bool, typer.Option("--save", help="Make a result file of FILE.partial and remove that.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Count all figures anew from FILE's rows; exit 4 where they differ."
        ),
    ] = False,
    plot: Annotated[
        bool,
        typer.Option("--plot", help="Draw FILE's rows below: over time, and as distributions."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> int:
    """Print a run's report from its file alone."""
    if plot and as_json:
        raise UsageError("--plot and --json exclude each other", "--json has no pictures")
    if file.name.endswith(SUFFIX) and file.is_dir():
        if plot and not save:
            raise LatbenchError(
                f"{file} is no result file yet: there are no rows in order to draw",
                f"once its run has ended: latbench report {file} --save --plot",
            )
        if verify:
            raise LatbenchError(
                f"{file} holds no figures yet: a report of it is made from its rows",
                "leave --verify out",
            )
        _report_spool(file, save=save, as_json=as_json, plot=plot)
        return 0
    if not file.exists() and spool_path(file).is_dir():
        raise LatbenchError(
            f"{file} is not there, but what its run has recorded is",
            f"latbench report {spool_path(file)}",
        )
    if save:
        raise LatbenchError(f"{file} is a result file already", "leave --save out")
    if kind := summary_kind(file):
        _report_summary(file, kind, verify=verify, as_json=as_json, plot=plot)
        return 0
    result = read_result(file)
    output.show(result, file, as_json=as_json, plotted=plot)
    if verify:
        rows = verification.verify(file, result)
        typer.echo(f"verified: {rows:,} rows give the same figures", err=True)
    return 0


def _report_summary(
    path: Path, kind: SummaryKind, *, verify: bool, as_json: bool, plot: bool
) -> None:
    """Of a file of several runs: it has no ticks."""
    if verify:
        raise LatbenchError(f"{path} is of {kind.words}: it has no rows", "leave --verify out")
    if kind is SummaryKind.SWEEP:
        sweep_output.show_sweep(read_sweep(path), [path], as_json=as_json)
    else:
        ab_output.show_ab(read_ab(path), [path], as_json=as_json)
    if plot:
        typer.echo(
            f"{path} is of {kind.words}: the picture above is all there is to draw", err=True
        )


def _report_spool(path: Path, *, save: bool, as_json: bool, plot: bool) -> None:
    result_path = path.with_name(path.name.removesuffix(SUFFIX))
    if save and result_path.exists():
        raise LatbenchError(f"{result_path} is there already", "move it away first")
    spool = SpoolReader(path)
    if save and spool.is_live:
        raise LatbenchError(f"{path} is still written to: its run goes on", "wait for its end")
    status = RunStatus.RUNNING if spool.is_live else RunStatus.RECOVERED
    result = conclude(spool, status, "", result_path if save else None)
    if save:
        spool.remove()
    output.show(result, result_path if save else path, as_json=as_json, plotted=plot)
