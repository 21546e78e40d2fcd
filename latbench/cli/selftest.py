"""`latbench selftest`: put known delays into a pipeline and see that they are measured."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from latbench import config as configuration
from latbench.assignment import assign
from latbench.broker import check_options
from latbench.cli import kafka_options, options, results
from latbench.config import RunConfig
from latbench.endings import ASKING_TO_END
from latbench.errors import ExitCode, LatbenchError
from latbench.findings import Severity, describe, severity
from latbench.render.console import open_console
from latbench.render.selftest import SelftestProgress, SelftestReport
from latbench.result import RunStatus, Snapshot
from latbench.selftest import Proxies, selftest_config
from latbench.selftest_result import SelftestResult, allowed_ns, judge, read_columns
from latbench.selftest_turns import DEFAULT_STEP_NS, Turn, make_turns
from latbench.signals import Interrupted
from latbench.supervisor import Outcome
from latbench.supervisor import run as supervise
from latbench.units import parse_duration_ns


def selftest(
    broker: kafka_options.Broker = configuration.EMBEDDED,
    topic: kafka_options.Topic = "tick-data",
    ws_engine: options.WsEngine = "picows",
    kafka: kafka_options.Kafka = None,
    producer: kafka_options.Producer = None,
    consumer: kafka_options.Consumer = None,
    step: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How long each of the 12 delays lasts in all; more is surer.",
            rich_help_panel=options.LOAD,
        ),
    ] = f"{DEFAULT_STEP_NS // 10**9}s",
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Keep the run's result file (default: none is kept).",
            rich_help_panel=options.OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="All shifts as JSON on stdout, nothing else.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> int:
    """Prove on this machine that what is measured is true: known delays, hop by hop."""
    step_ns = parse_duration_ns(step, "step")
    turns = make_turns(step_ns)
    of_producer, of_consumer = kafka_options.parse_clients(kafka, producer, consumer)
    config = selftest_config(
        RunConfig(
            ws_engine=configuration.parse_choice(
                ws_engine, "--ws-engine", configuration.WS_ENGINES
            ),
            broker=broker,
            topic=configuration.parse_topic(topic),
            producer=of_producer,
            consumer=of_consumer,
        ),
        turns,
    )
    check_options(config)
    if output_file is not None:
        results.choose_path(output_file, "", overwrite=overwrite)
    try:
        result = _run(config, turns, step_ns, output_file)
    except Interrupted as interrupted:
        typer.echo("interrupted: a selftest is judged whole or not at all", err=True)
        return 128 + interrupted.signum
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(_as_json(result)), indent=2))
    else:
        open_console(sys.stdout, os.environ).print(SelftestReport(result))
    return ExitCode.OK if result.agrees else ExitCode.INVALID


def _run(
    config: RunConfig, turns: tuple[Turn, ...], step_ns: int, output_file: Path | None
) -> SelftestResult:
    """Make the run and judge it; nothing but `output_file` is left."""
    progress = SelftestProgress(open_console(sys.stderr, os.environ), turns)
    with contextlib.ExitStack() as afterwards:
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        afterwards.callback(signal.pthread_sigmask, signal.SIG_SETMASK, signals)
        directory = Path(afterwards.enter_context(tempfile.TemporaryDirectory(prefix="latbench-")))
        path = output_file or directory / "selftest.parquet"
        proxies = Proxies(config, turns, directory)
        afterwards.callback(proxies.close)
        afterwards.callback(progress.stop)

        def observe(snapshot: Snapshot) -> None:
            if failure := proxies.failure():  # Kafka's clients would try for ever to get through
                raise failure
            progress.update(snapshot)

        try:
            outcome = supervise(assign(config, path), observe, proxies)
        finally:
            # the run's own handlers are gone: a signal waits until everything is put away
            signal.pthread_sigmask(signal.SIG_BLOCK, ASKING_TO_END)
        _check(outcome, proxies)
        columns = read_columns(path)
    result = outcome.result
    return SelftestResult(
        broker=result.broker,
        ws_engine=config.ws_engine,
        step_ns=step_ns,
        shifts=judge(columns, result.start_ns, turns),
        problems=tuple(
            describe(found) for found in result.findings if severity(found) is Severity.INVALID
        ),
    )


def _check(outcome: Outcome, proxies: Proxies) -> None:
    """Raise what kept the run from being whole."""
    if failure := proxies.failure():
        raise failure
    result = outcome.result
    if result.status is RunStatus.FAILED:
        tail = "; ".join(outcome.log_tail)
        raise LatbenchError(result.failure, f"its log ends: {tail}" if tail else "")
    if outcome.signal:
        raise Interrupted(outcome.signal)


def _as_json(result: SelftestResult) -> dict[str, Any]:
    """The result with what follows from it."""
    told: dict[str, Any] = msgspec.to_builtins(result)
    told["agrees"] = result.agrees
    for shift, of_shift in zip(result.shifts, told["shifts"], strict=True):
        of_shift["error_ns"] = shift.error_ns
        of_shift["allowed_ns"] = allowed_ns(shift.delay_ns)
        of_shift["verdict"] = str(shift.verdict)
    return told
