"""`latbench floor`: what this machine and this broker take with next to nothing in between."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from latbench import config as configuration
from latbench.broker import check_options
from latbench.cli import kafka_options, options
from latbench.clock import NS_PER_MS
from latbench.config import RunConfig
from latbench.errors import ExitCode, UsageError
from latbench.floor import (
    INTERVAL_NS,
    MAX_INTERVAL_NS,
    MAX_SAMPLES,
    MIN_INTERVAL_NS,
    MIN_SAMPLES,
    SAMPLES,
    floor_ns_by_hop,
)
from latbench.floor_session import FloorResult, measure_alone
from latbench.render.console import open_console
from latbench.render.floor import FloorProgress, FloorReport
from latbench.signals import Interrupted
from latbench.units import format_latency, parse_duration_ns


def floor(
    ws_engine: options.WsEngine = "picows",
    pin: options.Pin = "",
    broker: kafka_options.Broker = configuration.EMBEDDED,
    topic: Annotated[
        str,
        typer.Option(
            envvar="KAFKA_TOPIC",
            metavar="NAME",
            help="The probes' messages go to NAME-floor, made when missing.",
            rich_help_panel=kafka_options.KAFKA,
        ),
    ] = "tick-data",
    acks: kafka_options.Acks = "all",
    linger: kafka_options.Linger = "0",
    compression: kafka_options.Compression = "none",
    kafka: kafka_options.Kafka = None,
    producer: kafka_options.Producer = None,
    consumer: kafka_options.Consumer = None,
    samples: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Of each probe; p99 needs 10,000, p90 1,000.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = str(SAMPLES),
    interval: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Between two samples; 1ms is the pace of 1,000 ticks/s.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = f"{INTERVAL_NS / NS_PER_MS:g}ms",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="All figures as JSON on stdout, nothing else there.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> int:
    """Measure what no pipeline gets under here: timer, sockets, the broker, each on its own."""
    count = configuration.parse_whole(samples, "--samples", MIN_SAMPLES, MAX_SAMPLES)
    interval_ns = _parse_interval_ns(interval)
    of_producer, of_consumer = kafka_options.parse_clients(kafka, producer, consumer)
    config = RunConfig(
        ws_engine=configuration.parse_choice(ws_engine, "--ws-engine", configuration.WS_ENGINES),
        pin=configuration.parse_cpus(pin, os.sched_getaffinity(0)),
        broker=broker,
        topic=configuration.parse_topic(topic),
        **kafka_options.parse_producing(acks, linger, compression),
        producer=of_producer,
        consumer=of_consumer,
    )
    check_options(config)
    progress = FloorProgress(open_console(sys.stderr, os.environ), count)
    try:
        result = _measure(config, count, interval_ns, progress)
    except Interrupted as interrupted:
        typer.echo("interrupted: the floor is measured whole or not at all", err=True)
        return 128 + interrupted.signum
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(_as_json(result)), indent=2))
    else:
        open_console(sys.stdout, os.environ).print(FloorReport(result))
    return ExitCode.OK


def _parse_interval_ns(text: str) -> int:
    interval_ns = parse_duration_ns(text, "--interval")
    if not MIN_INTERVAL_NS <= interval_ns <= MAX_INTERVAL_NS:
        raise UsageError(
            f"--interval {text!r} is not between {format_latency(MIN_INTERVAL_NS)} and "
            f"{format_latency(MAX_INTERVAL_NS)}",
            "write --interval 1ms",
        )
    return interval_ns


def _measure(
    config: RunConfig, samples: int, interval_ns: int, progress: FloorProgress
) -> FloorResult:
    """Measure; nothing is left on the disk."""
    with tempfile.TemporaryDirectory(prefix="latbench-") as directory:
        try:
            return measure_alone(config, samples, interval_ns, Path(directory), progress.update)
        finally:
            progress.stop()


def _as_json(result: FloorResult) -> dict[str, Any]:
    """The result with what follows from it."""
    told: dict[str, Any] = msgspec.to_builtins(result)
    told["floor"]["floor_ns"] = floor_ns_by_hop(result.floor)
    return told
