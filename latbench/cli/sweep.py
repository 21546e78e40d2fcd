"""`latbench sweep`: the highest tick rate that holds a latency."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from latbench import config as configuration
from latbench.arrivals import Arrivals
from latbench.batch import wasm
from latbench.broker import check_options
from latbench.cli import kafka_options, options, results, sweep_output
from latbench.config import RunConfig
from latbench.errors import ExitCode, UsageError
from latbench.render.console import open_console
from latbench.render.curve_svg import draw_curve_svg
from latbench.render.sweep_progress import SweepProgress
from latbench.render.sweep_words import answer
from latbench.signals import Interrupted
from latbench.sweep import (
    DEFAULT_COOL_DOWN_NS,
    DEFAULT_DURATION_NS,
    DEFAULT_FROM_HZ,
    DEFAULT_RESOLUTION,
    DEFAULT_TO_HZ,
    MAX_RESOLUTION,
    MIN_RESOLUTION,
    SweepOutcome,
    check_plan,
    longest_point_ns,
)
from latbench.sweep import sweep as find
from latbench.sweep_file import write_sweep
from latbench.sweep_result import SweepPlan, SweepResult, SweepStatus
from latbench.thresholds import EXAMPLE, parse_threshold
from latbench.units import parse_duration_ns

_SEARCH: Final = "Search"
_EXIT_CODES: Final = {
    SweepStatus.FOUND: ExitCode.OK,
    SweepStatus.NONE_HOLDS: ExitCode.REGRESSION,
    SweepStatus.INCONCLUSIVE: ExitCode.INVALID,
    SweepStatus.FAILED: ExitCode.FAILURE,
}


def sweep(
    # --- search
    slo: Annotated[
        list[str],
        typer.Option(
            metavar="'HOP.STAT < TIME'",
            help=f"What must hold, such as '{EXAMPLE}'; repeatable: all of them must.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ],
    from_rate: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="N",
            help="The lowest rate; each step doubles it until the SLO breaks.",
            rich_help_panel=_SEARCH,
        ),
    ] = f"{DEFAULT_FROM_HZ}",
    to_rate: Annotated[
        str,
        typer.Option("--to", metavar="N", help="The highest rate to try.", rich_help_panel=_SEARCH),
    ] = f"{DEFAULT_TO_HZ}",
    resolution: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="How far above the answer a rate that fails may lie.",
            rich_help_panel=_SEARCH,
        ),
    ] = f"{DEFAULT_RESOLUTION:.0%}",
    duration: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Measured time of each point, at least; more where a percentile takes more ticks.",
            rich_help_panel=_SEARCH,
        ),
    ] = f"{DEFAULT_DURATION_NS // 10**9}s",
    warmup: Annotated[
        str,
        typer.Option(
            metavar="TIME|auto",
            help="Of each point, sent but not counted; auto: until the latency has settled.",
            rich_help_panel=_SEARCH,
        ),
    ] = configuration.AUTO,
    cool_down: Annotated[
        str,
        typer.Option(metavar="TIME", help="Rest between points.", rich_help_panel=_SEARCH),
    ] = f"{DEFAULT_COOL_DOWN_NS // 10**9}s",
    # --- load
    symbols: options.Symbols = options.DEFAULT_SYMBOLS,
    arrivals: options.ArrivalsOption = Arrivals.CONSTANT,
    # --- pipeline
    ws_engine: options.WsEngine = "picows",
    pin: options.Pin = "",
    profile: options.Profile = None,
    coalesce: options.Coalesce = "0",
    spin: options.Spin = False,
    realtime: options.Realtime = False,
    compiled: options.Compiled = True,
    hiccups: options.Hiccups = True,
    # --- Kafka
    broker: kafka_options.Broker = configuration.EMBEDDED,
    topic: kafka_options.Topic = "tick-data",
    partitions: kafka_options.Partitions = None,
    acks: kafka_options.Acks = "all",
    linger: kafka_options.Linger = "0",
    compression: kafka_options.Compression = "none",
    kafka: kafka_options.Kafka = None,
    producer: kafka_options.Producer = None,
    consumer: kafka_options.Consumer = None,
    drain_timeout: kafka_options.DrainTimeout = "10s",
    # --- output
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="The points as Parquet; the picture goes beside it, as .svg (default: "
            "bench-results/TIME-sweep.parquet).",
            rich_help_panel=options.OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    keep_runs: options.KeepRuns = False,
    as_json: options.AsJson = False,
    config: options.Config = None,
) -> int:
    """Find the highest tick rate that holds a latency, and see why no higher one does."""
    del config, profile
    plan = SweepPlan(
        slos=tuple(parse_threshold(text) for text in slo),
        from_hz=_rate_hz(from_rate, "--from"),
        to_hz=_rate_hz(to_rate, "--to"),
        resolution=_resolution(resolution),
        duration_ns=parse_duration_ns(duration),
        warmup_ns=None
        if warmup == configuration.AUTO
        else parse_duration_ns(warmup, "warm-up", zero_allowed=True),
        cool_down_ns=parse_duration_ns(cool_down, "cool-down", zero_allowed=True),
    )
    of_producer, of_consumer = kafka_options.parse_clients(kafka, producer, consumer)
    run_config = RunConfig(
        symbols=configuration.parse_symbols(symbols),
        arrivals=arrivals,
        ws_engine=configuration.parse_choice(ws_engine, "--ws-engine", configuration.WS_ENGINES),
        pin=configuration.parse_cpus(pin, os.sched_getaffinity(0)),
        coalesce_ns=configuration.parse_coalesce_ns(coalesce),
        spin=spin,
        realtime=realtime,
        compiled=compiled and wasm.is_available(),
        hiccups=hiccups,
        broker=broker,
        topic=configuration.parse_topic(topic),
        partitions=kafka_options.parse_partitions(partitions),
        **kafka_options.parse_producing(acks, linger, compression),
        producer=of_producer,
        consumer=of_consumer,
        drain_timeout_ns=parse_duration_ns(drain_timeout, "drain time-out"),
        name="sweep",
    )
    check_plan(plan, arrivals)
    check_options(run_config)
    path = results.choose_path(output_file, "sweep", overwrite=overwrite)
    if path.suffix == ".svg":
        raise UsageError(f"{path} is where the picture would go", "write --output FILE.parquet")
    progress = SweepProgress(open_console(sys.stderr, os.environ), plan)
    progress.start(longest_point_ns(plan, arrivals))
    runs = path.with_name(f"{path.stem}.runs")
    try:
        outcome = find(plan, run_config, runs, progress, keep=keep_runs)
    except Interrupted as interrupted:
        progress.close()
        typer.echo("interrupted before the first point was measured", err=True)
        return 128 + interrupted.signum
    finally:
        progress.close()
    picture = path.with_suffix(".svg")
    _write(outcome.result, path, picture)
    files = [path, picture, *([runs] if keep_runs else [])]
    sweep_output.show_sweep(outcome.result, files, as_json=as_json)
    return _exit_code(outcome)


def _rate_hz(text: str, option: str) -> int:
    try:
        return configuration.parse_tick_rate(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error.message}", f"write {option} 1000") from None


def _resolution(text: str) -> float:
    """A share, of `5%` or `5`."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not MIN_RESOLUTION <= value <= MAX_RESOLUTION:
        raise UsageError(
            f"--resolution {text!r} is not between {MIN_RESOLUTION:.1%} and {MAX_RESOLUTION:.0%}",
            f"write --resolution {DEFAULT_RESOLUTION:.0%}",
        )
    return value


def _write(result: SweepResult, path: Path, picture: Path) -> None:
    write_sweep(path, result)
    slos = " and ".join(str(slo) for slo in result.plan.slos)
    svg = draw_curve_svg(result, title=f"latbench sweep · {slos}", subtitle=answer(result)[0])
    picture.write_text(svg, encoding="utf-8")


def _exit_code(outcome: SweepOutcome) -> int:
    if outcome.signal:
        return 128 + outcome.signal
    if outcome.result.status is SweepStatus.FAILED:
        typer.echo(f"error: {outcome.result.failure}", err=True)
        if outcome.hint:
            typer.echo(f"hint: {outcome.hint}", err=True)
    return _EXIT_CODES[outcome.result.status]
