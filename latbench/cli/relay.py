"""`latbench relay`: from WebSocket clients to Kafka, and to subscribers."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Final

import typer

from latbench import config as configuration
from latbench.broker import producer_properties
from latbench.cli import kafka_options, options
from latbench.cli.alone import conduct_stage, reach_broker
from latbench.config import RunConfig
from latbench.control import Ready
from latbench.errors import UsageError
from latbench.launch import in_url
from latbench.plan import MAX_MESSAGE_BYTES, MAX_REPLAYED_BYTES, RelayPlan, ServerSettings
from latbench.render.alone import RelayWords

_CLIENTS: Final = "Clients"
_MAX_RATE_HZ: Final = 10_000_000


def relay(
    ws_host: options.WsHost = "127.0.0.1",
    ws_port: options.WsPort = "8080",
    ws_engine: options.WsEngine = "picows",
    pin: options.Pin = "",
    spin: options.Spin = False,
    realtime: options.Realtime = False,
    # --- clients
    slow_client: options.SlowClient = configuration.DROP_OLDEST,
    subscriber_queue: options.SubscriberQueue = str(configuration.DEFAULT_SUBSCRIBER_QUEUE),
    max_clients: Annotated[
        str,
        typer.Option(metavar="N", help="Connections at a time.", rich_help_panel=_CLIENTS),
    ] = "10000",
    max_message: Annotated[
        str,
        typer.Option(metavar="BYTES", help="The largest message taken.", rich_help_panel=_CLIENTS),
    ] = str(MAX_MESSAGE_BYTES),
    client_rate: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Messages a second that one client may send; 0: any number.",
            rich_help_panel=_CLIENTS,
        ),
    ] = "0",
    deflate: Annotated[
        bool,
        typer.Option(
            "--deflate",
            metavar="",
            help="Agree on permessage-deflate (with --ws-engine websockets).",
            rich_help_panel=_CLIENTS,
        ),
    ] = False,
    token: options.Token = "",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Whose pages may connect, besides the relay's own; repeatable.",
            rich_help_panel=_CLIENTS,
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate chain (PEM): wss instead of ws.",
            rich_help_panel=_CLIENTS,
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Its key, if that is not in the same file.",
            rich_help_panel=_CLIENTS,
            show_default=False,
        ),
    ] = None,
    # --- Kafka
    broker: kafka_options.Broker = "localhost:9092",
    topic: kafka_options.Topic = "tick-data",
    partitions: kafka_options.Partitions = None,
    kafka_client: kafka_options.KafkaClient = "librdkafka",
    acks: kafka_options.Acks = "all",
    linger: kafka_options.Linger = "0",
    compression: kafka_options.Compression = "none",
    kafka: kafka_options.Kafka = None,
    producer: kafka_options.Producer = None,
    config: options.Config = None,
) -> int:
    """Take ticks from WebSocket clients, produce them to Kafka, send them to subscribers."""
    del config
    run_config = RunConfig(
        ws_engine=configuration.parse_choice(ws_engine, "--ws-engine", configuration.WS_ENGINES),
        ws_host=ws_host,
        ws_port=configuration.parse_whole(ws_port, "--ws-port", 0, configuration.MAX_PORT),
        broker=broker,
        topic=configuration.parse_topic(topic),
        partitions=kafka_options.parse_partitions(partitions),
        **kafka_options.parse_producing(acks, linger, compression),
        producer=kafka_options.parse_clients(kafka, producer, None)[0],
        kafka_client=configuration.parse_choice(
            kafka_client, "--kafka-client", configuration.KAFKA_CLIENTS
        ),
    )
    cpus = configuration.parse_cpus(pin, os.sched_getaffinity(0))
    settings = ServerSettings(
        max_message_bytes=configuration.parse_whole(
            max_message, "--max-message", 1024, MAX_REPLAYED_BYTES
        ),
        max_clients=configuration.parse_whole(
            max_clients, "--max-clients", 1, configuration.MAX_SUBSCRIBERS
        ),
        client_rate_hz=configuration.parse_whole(client_rate, "--client-rate", 0, _MAX_RATE_HZ),
        subscriber_queue=options.parse_subscriber_queue(subscriber_queue),
        slow_client=options.parse_slow_client(slow_client),
        deflate=deflate,
        token=token,
        origins=tuple(origin or ()),
        tls_cert=str(tls_cert or ""),
        tls_key=str(tls_key or ""),
    )
    _check_together(run_config, settings)
    facts = reach_broker(run_config, "relay")
    plan = RelayPlan(
        run_id="",
        cpu=cpus[0] if cpus else None,
        hiccups=False,
        spin=spin,
        realtime=realtime,
        host=ws_host,
        port=run_config.ws_port,
        ws_engine=run_config.ws_engine,
        kafka_client=run_config.kafka_client,
        topic=run_config.topic,
        producer=producer_properties(run_config, facts.bootstrap),
        partitions=facts.partitions if run_config.is_embedded or facts.partitions == 1 else None,
        server=settings,
    )
    scheme = "wss" if settings.tls_cert else "ws"

    def tell_address(ready: Ready) -> str:
        return (
            f"the relay listens at {scheme}://{in_url(ws_host)}:{ready.port}, "
            f"topic {run_config.topic} at {facts.bootstrap}; Ctrl-C ends it"
        )

    return conduct_stage(plan, "relay", RelayWords(), on_ready=tell_address)


def _check_together(config: RunConfig, settings: ServerSettings) -> None:
    if not _is_loopback(config.ws_host) and not settings.token:
        raise UsageError(
            f"on {config.ws_host} others can reach the relay, and it has no token",
            "set LATBENCH_TOKEN (or --token) here and for generate, or --ws-host 127.0.0.1",
        )
    if settings.deflate and config.ws_engine != "websockets":
        raise UsageError(
            f"--deflate is not there with --ws-engine {config.ws_engine}",
            "add --ws-engine websockets",
        )
    if settings.tls_key and not settings.tls_cert:
        raise UsageError("--tls-key is given without --tls-cert", "give both")
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if path and not Path(path).is_file():
            raise UsageError(f"{option} {path} is no file", "give a PEM file")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
