"""The command line: options to configuration, one call, output, exit code. No arithmetic."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from latbench import __version__
from latbench.errors import ExitCode, LatbenchError

if TYPE_CHECKING:
    from latbench.processes import Crew

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Run the pipeline and measure every tick's way through it.",
    "report": "Print a run's report from its file alone.",
    "selftest": "Prove on this machine that what is measured is true: known delays, hop by hop.",
    "sweep": "Find the highest tick rate that holds a latency, and see why no higher one does.",
    "ab": "Tell whether B is slower than A: runs of both in turn, and a verdict with its "
    "confidence.",
    "compare": "Compare stored results: did it get worse, by how much, and in which hop.",
    "history": "Show results over time and git revision, and where they changed.",
    "floor": "Measure what no pipeline gets under here: timer, sockets, the broker, each on its "
    "own.",
    "export": "Write results as HTML, Markdown, JUnit, CSV, Arrow, JSON, and for HdrHistogram.",
    "relay": "Take ticks from WebSocket clients, produce them to Kafka, send them to subscribers.",
    "generate": "Send ticks to a relay, each when it is due.",
    "consume": "Take ticks off a topic and measure their way there by the stamps in them.",
    "subscribe": "Take ticks from a relay as many clients, and measure the fan-out: relay to each "
    "of them.",
    "broker": "Serve an embedded broker (librdkafka's mock, not Kafka) until interrupted.",
    "merge": "Add the histograms of several runs: percentiles of all their ticks together.",
}
"""Each is a function and a module here of that name; the sentence is its docstring's first."""

_TAKES_OPTIONS_OF_RUN: Final = frozenset({"ab"})
"""Commands that pass on what they don't know."""


def build_app(words: Container[str] = COMMANDS) -> typer.Typer:
    """The commands named among `words` as they are, of the others name and sentence.

    Importing all of them takes several times as long as `latbench --help` should.
    """
    app = typer.Typer(
        name="latbench",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Measures how long a market tick takes from the moment it was due, hop by hop: "
        "generator, WebSocket relay, Kafka, consumer.",
    )
    app.callback()(_root)
    for name, sentence in COMMANDS.items():
        if name in words:
            function = getattr(importlib.import_module(f"latbench.cli.{name}"), name)
            passes_on = name in _TAKES_OPTIONS_OF_RUN
            settings = {"allow_extra_args": passes_on, "ignore_unknown_options": passes_on}
            app.command(name, context_settings=settings)(function)
        else:
            app.command(name, help=sentence)(_elsewhere)
    return app


def _elsewhere() -> None:
    """Stands for a command that the command line doesn't name: never called."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latbench {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version


def run_cli(crew: Crew | None = None) -> None:
    """Run the command line and exit; every error becomes a line, a hint and an exit code.

    `crew`: processes that were started ahead, for a run; none of them is left.
    """
    try:
        if sys.platform != "linux":
            raise LatbenchError(
                f"latbench needs Linux (timerfd, memfd, prctl); this is {sys.platform}",
                "a virtual machine will do, at the price of its jitter",
            )
        if any("=" in word or word.startswith("--token") for word in sys.argv[1:]):
            from latbench.cli.process_list import blot_secrets  # noqa: PLC0415 (20 ms)

            blot_secrets()
        completing = "_LATBENCH_COMPLETE" in os.environ  # its words stand in the environment
        app = build_app(COMMANDS if completing else sys.argv[1:])
        code = app(standalone_mode=False, obj=crew)
    except LatbenchError as error:
        _complain(error.message, error.hint)
        code = error.exit_code
    except typer.TyperException as error:
        # that of a missing choice has a line for each; "Value error, " is Pydantic's
        message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        if message:  # none where the help has been printed instead
            asked = [word for word in sys.argv[1:2] if word in COMMANDS]
            hint = " ".join(["latbench", *asked, "--help"])
            _complain(message[:1].lower() + message[1:], hint)
        code = error.exit_code
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # who read our output has gone: as for any filter, no reason to complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILURE
    finally:
        if crew is not None:
            crew.dismiss_spares()
    sys.exit(int(code or 0))


def _complain(message: str, hint: str) -> None:
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
