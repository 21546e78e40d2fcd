"""`latbench ab`: whether B is slower than A."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from latbench import ab as sessions
from latbench import config as configuration
from latbench.ab_file import write_ab
from latbench.ab_result import MOST_PAIRS, PAIRS, AbPlan, AbStatus, Variant
from latbench.assignment import assign
from latbench.broker import check_options
from latbench.cli import ab_output, comparison_output, options, results
from latbench.cli.asked import Asked, read_run_options
from latbench.comparison import Difference
from latbench.config import RunConfig
from latbench.errors import ExitCode, UsageError
from latbench.gates import Gate, check_ticks, parse_gates
from latbench.likeness import load_differences
from latbench.render.ab_progress import AbProgress
from latbench.render.console import open_console
from latbench.signals import Interrupted

_COMPARED: Final = "What is compared"

DEFAULTS: Final = (("tick_rate", "4000"), ("duration", "3s"), ("warmup", "1s"))
"""Of the runs of a simulated market, where nothing else is said: 12,000 ticks each, and 10 pairs
in under two minutes."""

_OWN: Final = (
    *("--output", "--overwrite", "--json", "--live", "--no-live", "--name", "--floor"),
    *("--fail-on", "--baseline", "--max-regression", "--help", "-h"),
)
"""Options of `run` that a session sees to itself."""

_MOST_ALLOWED: Final = 200


def ab(
    context: typer.Context,
    # --- what is compared
    a: Annotated[
        str,
        typer.Option(
            "--a",
            metavar="'OPTIONS'",
            help="Options of `latbench run` for A, the base, alone.",
            rich_help_panel=_COMPARED,
            show_default=False,
        ),
    ] = "",
    b: Annotated[
        str,
        typer.Option(
            "--b",
            metavar="'OPTIONS'",
            help="Options for B, what is new, alone.",
            rich_help_panel=_COMPARED,
            show_default=False,
        ),
    ] = "",
    a_cmd: Annotated[
        str,
        typer.Option(
            "--a-cmd",
            metavar="COMMAND",
            help="Another installation's latbench to run A with, such as /old/bin/latbench.",
            rich_help_panel=_COMPARED,
            show_default=False,
        ),
    ] = "",
    b_cmd: Annotated[
        str,
        typer.Option(
            "--b-cmd",
            metavar="COMMAND",
            help="The same for B.",
            rich_help_panel=_COMPARED,
            show_default=False,
        ),
    ] = "",
    # --- decision
    gate: options.Gates = None,
    pairs: Annotated[
        str,
        typer.Option(
            metavar="N", help="Pairs before the first look.", rich_help_panel=options.VERDICT
        ),
    ] = f"{PAIRS}",
    most_pairs: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help=f"Pairs when the first look does not decide (default: twice --pairs: "
            f"{MOST_PAIRS}).",
            rich_help_panel=options.VERDICT,
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            metavar="",
            help="First run A against A, and allow at least what that differs by.",
            rich_help_panel=options.VERDICT,
        ),
    ] = False,
    strict: options.Strict = False,
    order: Annotated[
        str,
        typer.Option(
            "--order-seed",
            metavar="N",
            help="Of the order within pairs, ABBA or BAAB.",
            rich_help_panel=options.VERDICT,
        ),
    ] = "1",
    # --- output
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="All runs' figures and the verdict (default: bench-results/TIME-ab.parquet).",
            rich_help_panel=options.OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    keep_runs: options.KeepRuns = False,
    as_json: options.AsJson = False,
) -> int:
    """Tell whether B is slower than A: runs of both in turn, and a verdict with its confidence.

    All other options are those of `latbench run`, for both sides.
    """
    variants = _variant(a, a_cmd, "--a"), _variant(b, b_cmd, "--b")
    source = context.get_parameter_source("b")
    if variants[0] == variants[1] and (source is None or source.name == "DEFAULT"):
        raise UsageError("A and B are the same", "write --b '--linger 5', or --b-cmd")
    first = configuration.parse_whole(pairs, "--pairs", 1, _MOST_ALLOWED)
    plan = AbPlan(
        a=variants[0],
        b=variants[1],
        common=tuple(context.args),
        gates=parse_gates(gate or []),
        pairs=first,
        most_pairs=2 * first
        if most_pairs is None
        else configuration.parse_whole(most_pairs, "--most-pairs", first, 2 * _MOST_ALLOWED),
        seed=configuration.parse_whole(order, "--order-seed", 0, configuration.MAX_SEED),
        calibrate=calibrate,
    )
    sessions.check_plan(plan)
    plan, asked = _with_defaults(plan)
    path = results.choose_path(output_file, "ab", overwrite=overwrite)
    progress = AbProgress(open_console(sys.stderr, os.environ), plan)
    progress.start(sessions.expected_run_ns(asked.config))
    runs = path.with_name(f"{path.stem}.runs")
    embedded = asked.config is not None and asked.config.broker == configuration.EMBEDDED
    try:
        outcome = sessions.session(plan, runs, progress, embedded=embedded, keep=keep_runs)
    except Interrupted as interrupted:
        progress.close()
        typer.echo("interrupted before the first run had ended", err=True)
        return 128 + interrupted.signum
    finally:
        progress.close()
    write_ab(path, outcome.result)
    ab_output.show_ab(outcome.result, [path, *([runs] if keep_runs else [])], as_json=as_json)
    ab_output.annotate_ab(outcome.result, as_json=as_json)
    return _exit_code(outcome, strict=strict)


def _variant(text: str, command: str, option: str) -> Variant:
    words = _split(text, option, "'--linger 5'")
    program = _split(command, f"{option}-cmd", "/old/bin/latbench")
    if program and shutil.which(program[0]) is None:
        raise UsageError(
            f"{option}-cmd {program[0]!r} is no command that can be run",
            "name a latbench that is there, such as /old/bin/latbench",
        )
    return Variant(command=program, options=words)


def _split(text: str, option: str, example: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        told = str(error)[:1].lower() + str(error)[1:]
        raise UsageError(
            f"{option} {text!r} can't be split into words: {told}", f"write {option} {example}"
        ) from None


def _with_defaults(plan: AbPlan) -> tuple[AbPlan, Asked]:
    """The plan with the runs' defaults, all options read once; what A's runs will do.

    Raises `UsageError` for what can't be run, or not be compared.
    """
    for words in (plan.common, plan.a.options, plan.b.options):
        for word in words:
            if word.partition("=")[0] in _OWN:
                raise UsageError(
                    f"{word} has no meaning for the runs of a session",
                    "leave it out; --output and --json after `latbench ab` are the session's own",
                )
    common = plan.common
    own = [side for side in (plan.a, plan.b) if not side.command] or [plan.a]
    asked = [read_run_options([*common, *side.options]) for side in own]
    given = frozenset.union(*(each.given for each in asked))
    is_replay = any(each.config is not None and each.config.is_replay for each in asked)
    for name, value in DEFAULTS if not is_replay else ():
        if name not in given:
            common = (f"--{name.replace('_', '-')}", value, *common)
    asked = [read_run_options([*common, *side.options]) for side in own]
    _check_load(plan.gates, asked)
    return msgspec.structs.replace(plan, common=common), asked[0]


def _check_load(gates: Sequence[Gate], asked: Sequence[Asked]) -> None:
    configs = [each.config for each in asked if each.config is not None]
    if len(configs) > 1:
        for unlike in _must_not_differ(configs[0], configs[1]):
            raise UsageError(
                f"A and B differ in {unlike.name} ({unlike.base}, {unlike.new}): nothing can be "
                "said of which is slower then",
                "give such options for both sides, after `latbench ab`",
            )
    for config in configs:
        check_ticks(gates, config)
        check_options(config)
    for config in configs[:1]:  # the source is the same
        assign(config, Path())


def _must_not_differ(base: RunConfig, new: RunConfig) -> Iterator[Difference]:
    """What would make the session incomparable and is known before it begins."""
    yield from load_differences(base, new)
    if base.is_embedded != new.is_embedded:
        yield Difference(name="broker", base=base.broker, new=new.broker)


def _exit_code(outcome: sessions.AbOutcome, *, strict: bool) -> int:
    result = outcome.result
    if outcome.signal:
        return 128 + outcome.signal
    if result.status is AbStatus.FAILED:
        typer.echo(f"error: {result.failure}", err=True)
        if outcome.hint:
            typer.echo(f"hint: {outcome.hint}", err=True)
        return ExitCode.FAILURE
    return comparison_output.exit_code(result.comparison, strict=strict)
