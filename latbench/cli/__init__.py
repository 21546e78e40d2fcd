"""The command line: options to configuration, one call, output, exit code. No arithmetic."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated, Final

import typer

from latbench import __version__
from latbench.cli import floor, report, run, selftest
from latbench.errors import ExitCode, LatbenchError

app: Final = typer.Typer(
    name="latbench",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures how long a market tick takes from the moment it was due, hop by hop: generator, "
    "WebSocket relay, Kafka, consumer.",
)
app.command("run")(run.run)
app.command("report")(report.report)
app.command("selftest")(selftest.selftest)
app.command("floor")(floor.floor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version


def run_cli() -> None:
    """Run the command line and exit; every error becomes a line, a hint and an exit code."""
    try:
        if platform.system() != "Linux":
            raise LatbenchError(
                f"latbench needs Linux (timerfd, memfd, prctl); this is {platform.system()}",
                "a virtual machine will do, at the price of its jitter",
            )
        code = app(standalone_mode=False)
    except LatbenchError as error:
        _complain(error.message, error.hint)
        code = error.exit_code
    except typer.TyperException as error:
        message = error.format_message().strip().rstrip(".")
        if message:  # none where the help has been printed instead
            _complain(message[:1].lower() + message[1:], "latbench --help, latbench run --help")
        code = error.exit_code
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # who read our output has gone: as for any filter, no reason to complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILURE
    sys.exit(int(code or 0))


def _complain(message: str, hint: str) -> None:
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
