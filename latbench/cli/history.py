"""`latbench history`: results over time, and where they changed."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from latbench.config import parse_choice
from latbench.errors import ExitCode, LatbenchError
from latbench.history import SUBJECTS, build_history
from latbench.history_result import History
from latbench.render.console import open_console
from latbench.render.history import HistoryReport
from latbench.result_folder import Kind, Skipped, read_folders
from latbench.thresholds import PERCENTILE_NAMES

_WHAT: Final = {
    Kind.SWEEP: ("sweep", "sweeps"),
    Kind.SESSION: ("A/B session", "A/B sessions"),
    Kind.FOREIGN: ("foreign Parquet file", "foreign Parquet files"),
    Kind.UNREADABLE: ("unreadable", "unreadable"),
    Kind.UNFINISHED: ("unfinished run", "unfinished runs"),
    Kind.COPY: ("copy", "copies"),
}
_MOST_TOLD: Final = 5


def history(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILE…", help="Folders of results, with their subfolders, and result files."
        ),
    ],
    hop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOP",
            help="Draw this hop's trend, or hiccup's (end_to_end); repeatable.",
        ),
    ] = None,
    percentile: Annotated[
        list[str] | None,
        typer.Option(metavar="pN", help="Draw this percentile's trend (p50 and p99); repeatable."),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(metavar="ID|NAME", help="Show this scenario.", show_default=False),
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Show all scenarios, not only the one with most runs.")
    ] = False,
    any_host: Annotated[
        bool,
        typer.Option(
            "--any-host", help="Compare runs of hosts of any name, if CPU and number are the same."
        ),
    ] = False,
    with_runs: Annotated[bool, typer.Option("--runs", help="List every run.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything as JSON on stdout, nothing else there.")
    ] = False,
) -> int:
    """Show results over time and git revision, and where they changed."""
    hops = [parse_choice(name, "--hop", SUBJECTS) for name in hop or ["end_to_end"]]
    percentiles = [
        parse_choice(name, "--percentile", PERCENTILE_NAMES)
        for name in percentile or ["p50", "p99"]
    ]
    stored, skipped = read_folders(paths)
    _tell(skipped)
    where = ", ".join(map(str, paths))
    if not stored:
        raise LatbenchError(
            f"no run's result in {where}", "latbench run writes them to bench-results/"
        )
    found = build_history(
        stored, wanted=scenario, everything=everything or as_json, any_host=any_host
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(_as_json(found, skipped)), indent=2))
    else:
        subjects = list(itertools.product(dict.fromkeys(hops), dict.fromkeys(percentiles)))
        report = HistoryReport(found, where, subjects, with_runs=with_runs)
        open_console(sys.stdout, os.environ).print(report)
    return ExitCode.OK


def _as_json(found: History, skipped: Sequence[Skipped]) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(found)
    told["skipped"] = msgspec.to_builtins(skipped)
    return told


def _tell(skipped: Sequence[Skipped]) -> None:
    """One line for all that was passed over, and one for each of the first unreadable ones."""
    if not skipped:
        return
    counts = {kind: sum(each.kind is kind for each in skipped) for kind in Kind}
    listed = ", ".join(
        f"{count:,} {_WHAT[kind][count != 1]}" for kind, count in counts.items() if count
    )
    typer.echo(f"skipped: {listed}", err=True)
    unreadable = [each for each in skipped if each.kind is Kind.UNREADABLE]
    for each in unreadable[:_MOST_TOLD]:
        typer.echo(f"  {each.why}", err=True)
    if len(unreadable) > _MOST_TOLD:
        typer.echo(f"  … and {len(unreadable) - _MOST_TOLD:,} more", err=True)
