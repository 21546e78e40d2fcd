"""`latbench compare`: stored results of runs against stored results of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latbench.cli import comparison_output, github, options
from latbench.cli.writing import choose_output
from latbench.comparing import compare as compare_stored
from latbench.errors import UsageError
from latbench.gates import parse_gates
from latbench.stored_sides import check_apart, read_side, split


def compare(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="BASE… [vs] NEW…",
            help="Result files, or directories of them. The word vs stands between the sides; two "
            "paths, and files of two directories, need none.",
        ),
    ],
    gate: options.Gates = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", metavar="", help="Compare also what did not measure the same thing."
        ),
    ] = False,
    strict: options.Strict = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="All of it as JSON on stdout.")
    ] = False,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Both sides drawn over one another, below the verdict, as one HTML file.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Replace --html FILE if it is there.")
    ] = False,
) -> int:
    """Compare stored results: did it get worse, by how much, and in which hop."""
    gates = parse_gates(gate or [])
    base_paths, new_paths = split(files)
    base, new = (read_side(paths, comparison_output.tell) for paths in (base_paths, new_paths))
    check_apart(base, new)
    if html_file is not None:
        inputs = [Path(each.path) for side in (base, new) for each in side.stored]
        choose_output(html_file, inputs, overwrite=overwrite, option="--html")
    elif overwrite:
        raise UsageError("--overwrite has no meaning without --html", "leave it out")
    stored = compare_stored(base.stored, new.stored, gates, force=force)
    (comparison_output.show_json if as_json else comparison_output.show)(stored, base, new)
    if not as_json:
        told = comparison_output.worded(stored, base, new)
        github.annotate(github.of_comparison(told, comparison_output.TITLE))
    if html_file is not None:
        from latbench.cli.comparison_html import write_compared  # noqa: PLC0415 (Plotly's page)

        write_compared(html_file, stored, base, new)
    hint = "--force compares all the same"
    return comparison_output.exit_code(stored.comparison, strict=strict, hint=hint)
