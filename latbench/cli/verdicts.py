"""What a verdict means for the exit code."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from latbench.comparison import Verdict
from latbench.errors import ExitCode

Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        metavar="",
        help="Exit 4 where there is no verdict (inconclusive, incomparable); else that is a "
        "warning and 0.",
        rich_help_panel="Decision",
    ),
]

_UNDECIDED: Final = {
    Verdict.INCONCLUSIVE: "inconclusive: neither a regression nor its absence is shown",
    Verdict.INCOMPARABLE: "incomparable: the figures say nothing about which side is slower",
}


def exit_code_of(verdict: Verdict, *, strict: bool) -> ExitCode:
    """0, 3 for a regression, 4 where nothing was decided and `strict`; warns where it is not."""
    if verdict is Verdict.REGRESSION:
        return ExitCode.REGRESSION
    if verdict is Verdict.PASS:
        return ExitCode.OK
    if strict:
        return ExitCode.INVALID
    typer.echo(f"warning: {_UNDECIDED[verdict]} (--strict makes it exit 4)", err=True)
    return ExitCode.OK
