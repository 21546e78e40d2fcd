"""Making the run that `latbench run` was asked for, and showing it.

Apart from the options, for it imports all that a run needs: `latbench run --help` needs none.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from latbench.assignment import Assignment, assign
from latbench.broker import check_options
from latbench.cli import results
from latbench.config import RunConfig
from latbench.errors import ExitCode
from latbench.findings import is_valid
from latbench.processes import Crew
from latbench.render.console import open_console
from latbench.render.lines import LineView
from latbench.render.view import RunView, open_view
from latbench.result import RunStatus
from latbench.signals import Interrupted
from latbench.spool import NameTakenError
from latbench.supervisor import Outcome
from latbench.supervisor import run as supervise

if TYPE_CHECKING:
    from latbench.run_checks import Checks


def conduct(
    config: RunConfig,
    output_file: Path | None,
    checks: Checks | None,
    *,
    overwrite: bool,
    live: bool,
    as_json: bool,
    crew: Crew | None,
) -> int:
    """Make the run, show it while it goes on and its result, hold that against `checks`.

    Gives the exit code. `crew` has the processes that were started ahead, if any.
    """
    check_options(config)
    path = results.choose_path(output_file, config.name, overwrite=overwrite)
    assignment = assign(config, path)
    view = _open_view(config, live=live)
    with contextlib.suppress(BrokenPipeError):  # who reads it has gone: not the run's concern
        view.start()
    try:
        outcome, path = _supervise(assignment, view, crew, may_rename=output_file is None)
    except Interrupted as interrupted:
        view.stop()
        typer.echo("interrupted before the first tick: nothing was measured", err=True)
        return 128 + interrupted.signum
    finally:
        view.stop()
    code = _show(outcome, path, checks, as_json=as_json)
    return _exit_code(outcome) or code


def _show(outcome: Outcome, path: Path, checks: Checks | None, *, as_json: bool) -> int:
    """Print the result and what its checks came to; the exit code that those mean."""
    from latbench.cli import output  # noqa: PLC0415 (what the first tick need not wait for)

    result = outcome.result
    if checks is None:
        output.show(result, path, as_json=as_json)
        _explain_failure(outcome)
        return ExitCode.OK
    from latbench.cli.checked import Checked  # noqa: PLC0415

    if not as_json:  # whatever becomes of the checks
        output.show(result, path, as_json=False)
        _explain_failure(outcome)
    checked = Checked(checks, result, path)
    if as_json:
        output.show(result, path, as_json=True, besides=checked.as_builtins())
        _explain_failure(outcome)
    checked.show(as_json=as_json)
    return checked.exit_code()


def _supervise(
    assignment: Assignment, view: RunView, crew: Crew | None, *, may_rename: bool
) -> tuple[Outcome, Path]:
    """Make the run; how it ended, and where its result lies."""
    while True:
        try:
            return supervise(assignment, view.update, crew=crew), assignment.output
        except NameTakenError:
            if not may_rename:
                raise
        # another run, begun in the same second, was the first to take the name
        path = results.choose_path(None, assignment.config.name, overwrite=False)
        assignment = msgspec.structs.replace(assignment, output=path)


def _open_view(config: RunConfig, *, live: bool) -> RunView:
    console = open_console(sys.stderr, os.environ)
    title = f"latbench {config.name}".rstrip()
    return open_view(console, title, embedded=config.is_embedded) if live else LineView(console)


def _explain_failure(outcome: Outcome) -> None:
    if outcome.result.status is not RunStatus.FAILED:
        return
    typer.echo(f"error: {outcome.result.failure}", err=True)
    for line in outcome.log_tail:
        typer.echo(f"  {line}", err=True)
    typer.echo("hint: the ticks up to then are in the result file, marked as failed", err=True)


def _exit_code(outcome: Outcome) -> int:
    if outcome.result.status is RunStatus.FAILED:
        return ExitCode.FAILURE
    if outcome.signal:
        return 128 + outcome.signal
    return ExitCode.OK if is_valid(outcome.result) else ExitCode.INVALID
