"""What a command prints of a comparison of stored results, and the exit code it means."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import msgspec
import typer

from latbench.comparing import StoredComparison
from latbench.comparison import Comparison, Verdict
from latbench.errors import ExitCode
from latbench.render.comparison_report import ComparisonReport
from latbench.render.comparison_words import (
    Labels,
    Told,
    stored_limits,
    stored_notes,
    why_no_verdict,
)
from latbench.render.console import open_console
from latbench.stored_sides import Side

TITLE: Final = "latbench compare"

_UNDECIDED: Final = {
    Verdict.INCONCLUSIVE: "inconclusive: nothing is decided",
    Verdict.INCOMPARABLE: "incomparable: nothing was compared",
}


def tell(line: str) -> None:
    """A line on stderr."""
    typer.echo(line, err=True)


def show(stored: StoredComparison, base: Side, new: Side, title: str = TITLE) -> None:
    """Print what two sides say of each other."""
    open_console(sys.stdout, os.environ).print(ComparisonReport(worded(stored, base, new, title)))


def show_json(stored: StoredComparison, base: Side, new: Side) -> None:
    """The same as JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(as_builtins(stored, base, new)), indent=2))


def worded(stored: StoredComparison, base: Side, new: Side, title: str = TITLE) -> Told:
    """The comparison with its words."""
    return Told(
        stored.comparison,
        (title,),
        Labels(base.label, new.label),
        reason=why_no_verdict(stored),
        notes=tuple(stored_notes(stored)),
        open_ends=tuple(stored_limits(stored)),
    )


def as_builtins(stored: StoredComparison, base: Side, new: Side) -> dict[str, Any]:
    """The whole comparison, what goes with it, and everything in words."""
    told: dict[str, Any] = msgspec.to_builtins(stored.comparison)
    told["labels"] = {"base": base.label, "new": new.label}
    told["files"] = {
        name: [each.path for each in side.stored] for name, side in (("base", base), ("new", new))
    }
    told["dominances"] = msgspec.to_builtins(stored.dominances)
    told["within_runs"] = stored.within_runs
    words = worded(stored, base, new)
    told["answer"] = words.answer
    told["notes"] = list(words.notes)
    told["limits"] = words.limits
    return told


def exit_code(comparison: Comparison | None, *, strict: bool, hint: str = "") -> int:
    """0, 3 for a regression; without a verdict a line on stderr, and 4 if `strict`.

    None: nothing could be compared. `hint`: what to do where different things were measured.
    """
    verdict = Verdict.INCONCLUSIVE if comparison is None else comparison.verdict
    if verdict is Verdict.REGRESSION:
        return ExitCode.REGRESSION
    if verdict in _UNDECIDED:
        told = _UNDECIDED[verdict]
        tell(
            f"error: {told} (--strict)" if strict else f"warning: {told}; --strict makes it exit 4"
        )
        is_unlike = comparison is not None and bool(comparison.mismatches)
        if is_unlike and verdict is Verdict.INCOMPARABLE and hint:
            tell(f"hint: {hint}")
        return ExitCode.INVALID if strict else ExitCode.OK
    return ExitCode.OK
