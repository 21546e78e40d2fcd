"""`latbench consume`: ticks off a topic, measured by the stamps in them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated

import typer

from latbench import config as configuration
from latbench.batch import wasm
from latbench.cli import kafka_options, options, output, results
from latbench.cli.alone import reach_broker
from latbench.config import RunConfig
from latbench.consuming import consume as consume_topic
from latbench.errors import ExitCode, LatbenchError
from latbench.findings import is_valid
from latbench.render.console import open_console
from latbench.render.lines import LineView
from latbench.render.view import open_view
from latbench.signals import Interrupted
from latbench.units import format_duration, parse_duration_ns


def consume(
    broker: kafka_options.Broker = "localhost:9092",
    topic: kafka_options.Topic = "tick-data",
    partitions: kafka_options.Partitions = None,
    kafka_client: kafka_options.KafkaClient = "librdkafka",
    kafka: kafka_options.Kafka = None,
    consumer: kafka_options.Consumer = None,
    duration: options.DurationOfListening = None,
    warmup: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time before that: its ticks are recorded and not counted.",
            rich_help_panel=options.LOAD,
        ),
    ] = "0",
    pin: options.Pin = "",
    spin: options.Spin = False,
    realtime: options.Realtime = False,
    compiled: options.Compiled = True,
    hiccups: options.Hiccups = True,
    output_file: options.OutputFile = None,
    overwrite: options.Overwrite = False,
    name: options.Name = "",
    live: options.Live = True,
    as_json: options.AsJson = False,
    config: options.Config = None,
) -> int:
    """Take ticks off a topic and measure their way there by the stamps in them."""
    del config
    run_config = RunConfig(
        broker=broker,
        topic=configuration.parse_topic(topic),
        partitions=kafka_options.parse_partitions(partitions),
        kafka_client=configuration.parse_choice(
            kafka_client, "--kafka-client", configuration.KAFKA_CLIENTS
        ),
        consumer=kafka_options.parse_clients(kafka, None, consumer)[1],
        duration_ns=parse_duration_ns(duration) if duration is not None else None,
        warmup_ns=parse_duration_ns(warmup, "warm-up", zero_allowed=True),
        pin=configuration.parse_cpus(pin, os.sched_getaffinity(0)),
        spin=spin,
        realtime=realtime,
        compiled=compiled and wasm.is_available(),
        hiccups=hiccups,
        name=configuration.parse_name(name),
        symbols=(),
        consumer_alone=True,
    )
    facts = reach_broker(run_config, "consumer")
    path = results.choose_path(output_file, run_config.name, overwrite=overwrite)
    console = open_console(sys.stderr, os.environ)
    title = f"latbench consume {run_config.name}".rstrip()
    embedded = run_config.is_embedded
    view = open_view(console, title, embedded=embedded) if live else LineView(console)
    with contextlib.suppress(BrokenPipeError):
        view.start()
    try:
        result = consume_topic(run_config, facts, path, view.update)
    except Interrupted as interrupted:
        view.stop()
        typer.echo("interrupted before the consumer was ready: nothing was measured", err=True)
        return 128 + interrupted.signum
    finally:
        view.stop()
    if result is None:
        raise LatbenchError(
            f"no tick came to {run_config.topic} at {facts.bootstrap}{_within(run_config)}",
            "latbench generate and latbench relay send some; consume hears what comes from now on",
        )
    output.show(result, path, as_json=as_json)
    return ExitCode.OK if is_valid(result) else ExitCode.INVALID


def _within(config: RunConfig) -> str:
    if config.duration_ns is None:
        return ""
    return f" within {format_duration(config.warmup_ns + config.duration_ns)}"
