"""`latbench run`: measure a pipeline once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from latbench import config as configuration
from latbench.arrivals import Arrivals
from latbench.batch import wasm
from latbench.cli import kafka_options, options
from latbench.cli.asked import Asked
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.findings import parse_allowed
from latbench.units import parse_duration_ns


def run(
    context: typer.Context,
    # --- load
    tick_rate: options.TickRate = "1000",
    duration: options.Duration = None,
    warmup: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|auto",
            help="Time before that, sent but not counted (default: 2s; at --speed max: 0); auto: "
            "until the latency has settled, 2 min at most.",
            rich_help_panel=options.LOAD,
            show_default=False,
        ),
    ] = None,
    symbols: options.Symbols = options.DEFAULT_SYMBOLS,
    arrivals: options.ArrivalsOption = Arrivals.CONSTANT,
    seed: options.Seed = "1",
    # --- replay
    source: options.Source = configuration.SIMULATED,
    speed: options.Speed = "1",
    loop: options.Loop = False,
    # --- pipeline
    ws_engine: options.WsEngine = "picows",
    ws_host: options.WsHost = "127.0.0.1",
    ws_port: options.WsPort = "0",
    subscribers: options.Subscribers = "0",
    slow_client: options.SlowClient = configuration.DROP_OLDEST,
    subscriber_queue: options.SubscriberQueue = str(configuration.DEFAULT_SUBSCRIBER_QUEUE),
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
    kafka_client: kafka_options.KafkaClient = "librdkafka",
    acks: kafka_options.Acks = "all",
    linger: kafka_options.Linger = "0",
    compression: kafka_options.Compression = "none",
    kafka: kafka_options.Kafka = None,
    producer: kafka_options.Producer = None,
    consumer: kafka_options.Consumer = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FINDING",
            help="Accept a finding, such as ticks-lost, that else makes the run invalid; "
            "repeatable; the file remembers it.",
            rich_help_panel=options.OUTPUT,
            show_default=False,
        ),
    ] = None,
    drain_timeout: kafka_options.DrainTimeout = "10s",
    # --- verdict
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'HOP.STATISTIC > TIME'",
            help="Exit 3 where that is so: 'p99 > 15ms', 'kafka.p50 > 2ms'; repeatable.",
            rich_help_panel=options.VERDICT,
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Compare the result with those of the same load in DIR; exit 3 for a regression.",
            rich_help_panel=options.VERDICT,
            show_default=False,
        ),
    ] = None,
    max_regression: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOP.STATISTIC=PERCENT",
            help="How much worse than the baseline it may be (default: p50=5%, p99=10%; 50 µs "
            "always may be); repeatable.",
            rich_help_panel=options.VERDICT,
            show_default=False,
        ),
    ] = None,
    strict: options.Strict = False,
    # --- output
    publish_stats: Annotated[
        bool,
        typer.Option(
            "--publish-stats",
            metavar="",
            help="Each second's figures to the topics latency-stats and system-health, as JSON.",
            rich_help_panel=kafka_options.KAFKA,
        ),
    ] = False,
    floor: Annotated[
        bool,
        typer.Option(
            "--floor",
            metavar="",
            help="Before the run measure what this machine and this broker take at the least, at "
            "the run's pace (7 s at 1,000 ticks/s); the report sets each hop beside it.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    output_file: options.OutputFile = None,
    overwrite: options.Overwrite = False,
    name: options.Name = "",
    live: options.Live = True,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="The summary as JSON on stdout, nothing else there.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    config: options.Config = None,
) -> int:
    """Run the pipeline and measure every tick's way through it."""
    del config, profile
    of_producer, of_consumer = kafka_options.parse_clients(kafka, producer, consumer)
    run_config = RunConfig(
        tick_rate_hz=configuration.parse_tick_rate(tick_rate),
        duration_ns=parse_duration_ns(duration) if duration is not None else None,
        warmup_ns=_warmup_ns(warmup, source, speed, loop=loop),
        warmup_auto=warmup == configuration.AUTO,
        symbols=configuration.parse_symbols(symbols),
        arrivals=arrivals,
        seed=configuration.parse_whole(seed, "--seed", 0, configuration.MAX_SEED),
        source=source,
        speed=configuration.parse_speed(speed),
        loop=loop,
        ws_engine=configuration.parse_choice(ws_engine, "--ws-engine", configuration.WS_ENGINES),
        ws_host=ws_host,
        ws_port=configuration.parse_whole(ws_port, "--ws-port", 0, configuration.MAX_PORT),
        pin=configuration.parse_cpus(pin, os.sched_getaffinity(0)),
        broker=broker,
        topic=configuration.parse_topic(topic),
        partitions=kafka_options.parse_partitions(partitions),
        **kafka_options.parse_producing(acks, linger, compression),
        producer=of_producer,
        consumer=of_consumer,
        drain_timeout_ns=parse_duration_ns(drain_timeout, "drain time-out"),
        name=configuration.parse_name(name),
        hiccups=hiccups,
        kafka_client=configuration.parse_choice(
            kafka_client, "--kafka-client", configuration.KAFKA_CLIENTS
        ),
        coalesce_ns=configuration.parse_coalesce_ns(coalesce),
        spin=spin,
        realtime=realtime,
        compiled=compiled and wasm.is_available(),
        floor=floor,
        publish_stats=publish_stats,
        subscribers=options.parse_subscribers(subscribers),
        slow_client=options.parse_slow_client(slow_client),
        subscriber_queue=options.parse_subscriber_queue(subscriber_queue),
        allow=parse_allowed(allow or []),
    )
    _check_together(context, run_config)
    if isinstance(context.obj, Asked):
        context.obj.take(context, run_config)
        return 0
    from latbench.cli.conduct import conduct  # noqa: PLC0415 (numpy, Kafka: not for `--help`)

    checks = None
    if fail_on or baseline or max_regression or strict:
        from latbench.run_checks import prepare  # noqa: PLC0415 (else the first tick waits for it)

        checks = prepare(
            run_config,
            fail_on=fail_on or [],
            baseline=baseline,
            max_regression=max_regression or [],
            strict=strict,
            tell=lambda line: typer.echo(line, err=True),
        )
    return conduct(
        run_config,
        output_file,
        checks,
        overwrite=overwrite,
        live=live,
        as_json=as_json,
        crew=context.obj,
    )


def _warmup_ns(warmup: str | None, source: str, speed: str, *, loop: bool) -> int:
    if warmup == configuration.AUTO:
        return configuration.MAX_AUTO_WARMUP_NS
    if warmup is not None:
        return parse_duration_ns(warmup, "warm-up", zero_allowed=True)
    # a file sent as fast as it goes is over before anything is warm
    at_once = configuration.parse_speed(speed) == configuration.MAX_SPEED and not loop
    return 0 if source != configuration.SIMULATED and at_once else configuration.DEFAULT_WARMUP_NS


def _check_together(context: typer.Context, config: RunConfig) -> None:
    """Refuse options that contradict each other when they were written by hand."""

    def given(option: str) -> bool:
        found = context.get_parameter_source(option)
        return found is not None and found.name == "COMMANDLINE"

    if config.is_replay:
        for option in ("tick_rate", "arrivals", "symbols", "seed"):
            if given(option):
                raise UsageError(
                    f"--{option.replace('_', '-')} has no meaning for a replay",
                    "a replay has its own symbols and spacing; --speed changes its pace",
                )
    else:
        for option in ("speed", "loop"):
            if given(option):
                raise UsageError(
                    f"--{option} is for a replay", f"add --source FILE, or leave --{option} out"
                )
